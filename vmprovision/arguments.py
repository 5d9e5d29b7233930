"""The command line of vmprovision. Parses only."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from pathlib import Path

DEFAULT = Path("/etc/vmherd/provision.ini")
DESCRIPTION = """\
Makes any machine on the network a Xen host, and diskless VMs, from one inventory: provision.ini.

check, build, write: then power the machines on. All that is written lies below [server] folder."""
EXITS = """\
exit codes:
  0 done   1 it could not be done, and nothing is half done   2 the command line or provision.ini is wrong   130 interrupted"""


def parser() -> ArgumentParser:
    top = ArgumentParser(
        "vmprovision",
        description=DESCRIPTION,
        epilog=EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--file", type=Path, default=DEFAULT, metavar="FILE", help=f"the inventory (default: {DEFAULT})")
    top.add_argument(
        "--cache", type=Path, metavar="FOLDER", help="packages and parts of images (default: [server] folder/cache)"
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    commands.add_parser("check", help="is provision.ini right? nothing is written")
    build = commands.add_parser("build", help="roots of hosts, and GRUB; hosts keep the root they have until `update`")
    build.add_argument("profiles", nargs="*", metavar="PROFILE", help="none: all")
    build.add_argument("--no-grub", action="store_true", help="only roots: GRUB is there, or machines boot by other means")
    write = commands.add_parser("write", help="DHCP, menus, exports, each host's own files")
    write.add_argument("--dry-run", action="store_true", help="only say what would change; exit code 0 all the same")
    write.add_argument("--diff", action="store_true", help="show what changes, line by line")
    publish = commands.add_parser("publish", help="diskless images and gateways, into the image repository")
    publish.add_argument("images", nargs="*", metavar="NAME", help="none: all")
    publish.add_argument("--create", action="store_true", help="make the repository, where there is none")
    writes = commands.add_parser("writes", help="what else wants to write where a profile's root is read-only")
    writes.add_argument("profile", metavar="PROFILE")
    _hosts(commands)
    update = commands.add_parser(
        "update", help="hosts to their profile's newest root: emptied, restarted, looked at, one by one"
    )
    update.add_argument("hosts", nargs="*", metavar="HOST", help="none: all that have another root")
    update.add_argument("--undo", action="store_true", help="back to the root that each had before")
    _restarting(update)
    return top


def _hosts(commands: argparse._SubParsersAction[ArgumentParser]) -> None:
    below = commands.add_parser("host", help="add, remove, reboot").add_subparsers(
        metavar="COMMAND", dest="deed", required=True
    )
    add = below.add_parser("add", help="a new host, into provision.ini")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--mac", required=True, metavar="MAC")
    add.add_argument("--address", required=True, metavar="ADDRESS")
    add.add_argument("--profile", metavar="PROFILE")
    add.add_argument("--groups", metavar="GROUPS", help="with commas between")
    remove = below.add_parser("remove", help="out of provision.ini")
    remove.add_argument("name", metavar="NAME")
    reboot = below.add_parser("reboot", help="empty it, restart it, wait until it has joined again")
    reboot.add_argument("name", metavar="NAME")
    _restarting(reboot)


def _restarting(made: ArgumentParser) -> None:
    made.add_argument("--limit", type=float, default=900.0, metavar="SECONDS", help="for a host to join again (default: 900)")
    made.add_argument("--stay", action="store_true", help="VMs are not moved away first")
    made.add_argument("--vmctl", metavar="PROGRAM", help="another vmctl, with what stands before it (ssh mgr1 vmctl)")
    made.add_argument("--socket", metavar="PATH", help="of the manager, as for vmctl")
