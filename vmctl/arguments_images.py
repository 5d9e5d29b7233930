"""The command line of `vmctl image`: its commands, their options and help. Parses only."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from vmctl.completion import ImageCompleter
from vmctl.options import Commands, add_yes, command


def add_images(commands: Commands) -> None:
    help = "what VMs boot from: add, list, show, verify, remove images; who-uses"
    below = command(commands, "image", help, None).add_subparsers(title="commands", metavar="COMMAND")
    add = command(below, "add", "publish a kernel with its initrd, or a disk, as the newest version of NAME", "images:add")
    _image(add, "name", metavar="NAME")
    add.add_argument("--kernel", metavar="FILE")
    add.add_argument("--initrd", metavar="FILE", help="the initial file system; of a diskless VM, all that it has")
    add.add_argument("--disk", metavar="FILE", help="a raw disk, which VMs only read")
    add.add_argument("--device", default="xvda", metavar="NAME", help="as which they see it (default xvda)")
    add.add_argument("--cmdline", default="", metavar="TEXT", help="the kernel's command line; a VM's own comes behind it")
    add.add_argument("--version", metavar="VERSION", help="its name (default: the date and a counter, as 2026.11.28-1)")
    add.add_argument("--note", default="", metavar="TEXT", help="what is new, for your colleagues")
    add.add_argument("--create", action="store_true", help="begin a repository: the folder is new, or empty")
    listed = command(below, "list", "all images and their versions, the newest last", "images:listing")
    _image(listed, "pattern", nargs="?", metavar="PATTERN", help="a name or a pattern like 'node*'")
    show = command(below, "show", "one version: files, checksums, who made it", "images:show")
    _image(show, "image", versions=True, metavar="NAME[@VERSION]", help="without VERSION the newest")
    verify = command(below, "verify", "read every file and compare it with what was published", "images:verify")
    _image(verify, "image", versions=True, nargs="?", metavar="NAME[@VERSION]", help="none: all of them")
    remove = command(below, "remove", "take a version away for good; refused while a VM uses it", "image_users:remove")
    _image(remove, "image", versions=True, metavar="NAME@VERSION")
    add_yes(remove)
    users = command(below, "who-uses", "the VMs that run from an image, and those defined with it", "image_users:who_uses")
    _image(users, "image", versions=True, metavar="NAME[@VERSION]")


def _image(parser: ArgumentParser, name: str, *, versions: bool = False, **settings: Any) -> None:
    """An image, completed from the folder of images, and the option that names it."""
    parser.add_argument(name, **settings).completer = ImageCompleter(versions)  # type: ignore[attr-defined]
    parser.add_argument(
        "--repository",
        metavar="PATH",
        help="the folder of images (default: VMHERD_IMAGES, else what the manager's file says)",
    )
