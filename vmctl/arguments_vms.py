"""The command line of `vmctl vm` and `vmctl host`: every command, its options and its help. Parses only."""

from __future__ import annotations

from argparse import ArgumentParser

from vmctl.arguments_failover import add_fencing
from vmctl.options import Commands, add_yes, command, completed, memory_size, number, span

CONSOLE_LINES = 50
NAMES_HELP = "names, groups, patterns like 'web*', or all"
CHANGES = (
    ("start", "start them; where the manager thinks best, or --on HOST", True),
    ("reboot", "ask the guests to reboot", False),
    ("pause", "halt their CPUs; memory stays where it is", False),
    ("unpause", "let them go on", False),
    ("save", "write their memory to their host's disk, and free it", False),
    ("restore", "let saved ones go on where they were", True),
    ("migrate", "move them to another host, live where the guest can", True),
)
"""(command, help, whether it takes --on)."""


def add_vms(commands: Commands) -> None:
    help = "virtual machines: list, show, start, stop, migrate, ..."
    below = command(commands, "vm", help, None).add_subparsers(title="commands", metavar="COMMAND")
    _add_vm_queries(below)
    for deed, help, somewhere in CHANGES:
        change = _change(below, deed, help, "deeds:change")
        if somewhere:
            names = ("--on", "--to") if deed == "migrate" else ("--on",)
            completed(change, *names, dest="on", by="host", metavar="HOST", help="there, and nowhere else")
        if deed == "start":
            change.add_argument("--discard", action="store_true", help="throw the saved memory of a saved VM away")
    stop = _change(below, "stop", "ask the guests to shut down; those that do not are destroyed after the limit", "deeds:stop")
    limit = stop.add_mutually_exclusive_group()
    limit.add_argument("--limit", type=span, metavar="SPAN", help="how long a guest may take (default: as the manager is set)")
    limit.add_argument("--now", action="store_true", help="destroy at once, as if the plug were pulled; asks first")
    stop.add_argument("--no-destroy", action="store_true", help="a guest that does not shut down goes on, and counts as failed")
    memory = command(below, "memory", "give a running VM another size of memory, up to its memory_max", "deeds:memory")
    completed(memory, "names", by="vm", nargs=1, metavar="NAME")
    memory.add_argument("size", type=memory_size, metavar="SIZE", help="512M, 2G")
    memory.set_defaults(deed="memory")
    _detach(memory)
    add_yes(memory)
    cancel = command(below, "cancel", "take back what is queued and has not begun", "deeds:cancel")
    completed(cancel, "names", by="vm-target", nargs="+", metavar="NAME", help=NAMES_HELP)


def _add_vm_queries(below: Commands) -> None:
    listed = command(below, "list", "all VMs: state, where, what is wanted, why", "vms:vms")
    completed(listed, "pattern", by="vm", nargs="?", metavar="PATTERN", help="a name or a pattern like 'web*'")
    completed(listed, "--on", by="host", metavar="HOST", help="only those on this host")
    completed(listed, "--group", by="vm-group", metavar="GROUP", help="only this group of vms.ini")
    listed.add_argument("--foreign", action="store_true", help="also the domains that are not ours")
    show = command(below, "show", "one VM: state and why, definition, where it is and might go, last events", "vms:show")
    completed(show, "name", by="vm", metavar="NAME")
    console = command(below, "console-log", "what the guest wrote to its console", "vms:console")
    completed(console, "name", by="vm", metavar="NAME")
    console.add_argument(
        "-n", "--number", type=number, default=CONSOLE_LINES, metavar="LINES", help=f"the last LINES (default {CONSOLE_LINES})"
    )
    render = command(below, "render", "the configuration that its host would hand to the hypervisor", "vms:render")
    completed(render, "name", by="vm", metavar="NAME")
    completed(render, "--on", by="host", metavar="HOST", help="as this host would start it")


def _change(below: Commands, deed: str, help: str, run: str) -> ArgumentParser:
    made = command(below, deed, help, run)
    made.set_defaults(deed=deed)
    completed(made, "names", by="vm-target", nargs="+", metavar="NAME", help=NAMES_HELP)
    _detach(made)
    add_yes(made)
    return made


def _detach(parser: ArgumentParser) -> None:
    parser.add_argument("--detach", action="store_true", help="do not wait until it is done")


def add_hosts(commands: Commands) -> None:
    help = "hosts of virtual machines: list, show, maintenance, evacuate, return, fence, confirm-dead"
    below = command(commands, "host", help, None).add_subparsers(title="commands", metavar="COMMAND")
    listed = command(below, "list", "all hosts: memory, load, what runs there", "hosts:hosts")
    completed(listed, "pattern", by="host", nargs="?", metavar="PATTERN", help="a name or a pattern like 'xen*'")
    _one_host(below, "show", "one host: what it has, what it has left, what runs there", "hosts:show")
    help = "let no VM be placed there, or again; what runs there stays"
    maintenance = _one_host(below, "maintenance", help, "hosts:maintenance")
    maintenance.add_argument("switch", choices=("on", "off"), metavar="on|off")
    maintenance.add_argument("--why", metavar="TEXT", help="the reason, for your colleagues; needed for `on`")
    _add_evacuate(below)
    add_fencing(below)
    help = "what the evacuation moved away comes back, and maintenance ends"
    _detach(_one_host(below, "return", help, "hosts:come_back"))


def _add_evacuate(below: Commands) -> None:
    help = "move every VM elsewhere, for maintenance; shows the plan and asks"
    evacuate = _one_host(below, "evacuate", help, "hosts:evacuate")
    evacuate.usage = f"{evacuate.prog} NAME [--to HOST ...] [--why TEXT] [--dry-run | --stop] [options]"
    completed(evacuate, "--to", by="host", nargs="+", metavar="HOST", help="only to these")
    evacuate.add_argument("--why", metavar="TEXT", help="the reason, for your colleagues")
    kind = evacuate.add_mutually_exclusive_group()
    kind.add_argument("--dry-run", action="store_true", help="show the plan, do nothing")
    kind.add_argument("--stop", action="store_true", help="end one that is under way: what has not begun to move stays")
    _detach(evacuate)
    add_yes(evacuate)


def _one_host(below: Commands, name: str, help: str, run: str) -> ArgumentParser:
    made = command(below, name, help, run)
    completed(made, "name", by="host", metavar="NAME")
    return made
