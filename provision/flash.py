"""A root that many share and nobody writes: each path that must be written becomes a link into /flash, made in RAM at boot.

The prototype's scheme. What lay there goes into the archive `TEMPLATE`, which the first stage unpacks into /flash
(files/boot-init).
"""

from __future__ import annotations

import re
import stat

from provision.cpio import archive
from provision.tree import Tree

TEMPLATE = "usr/share/vmherd-image/flash.cpio"
LOCKS, TEMPORARY = "var/lock", "var/tmp"  # as links, where the packages make none
WRITTEN = (
    "etc/hosts", "etc/resolv.conf", "etc/vmherd", "etc/vmherd-image", "etc/dropbear", "etc/xen", "root", "tmp", "srv", "mnt",
    "var/lib/vmherd-client", "var/lib/xen", "var/lib/xenstored", "var/log",
)  # fmt: skip
FILES = ("etc/hosts", "etc/resolv.conf")  # the rest are folders, where the packages have none of the name
IN_RAM_ANYWAY = ("run", "dev", "proc", "sys", "var/run", LOCKS, TEMPORARY, "flash", "tmp")
_WRITES = re.compile(rb"(?<![\w./-])/((?:var|etc|srv|opt|root|mnt)/[\w.+/-]{2,80})")
TEXT_BYTES_MAX = 8_000_000


def linked(tree: Tree) -> None:
    """Puts the links in place; what they hide becomes the template."""
    tree.folder("flash")
    for place, where in ((LOCKS, "../run/lock"), (TEMPORARY, "../tmp")):
        if place not in tree:
            tree.link(place, where)
    tree.folder(TEMPLATE)
    held = Tree(merged=False)
    for place in WRITTEN:
        found = tree.matching(place)
        for path in found:
            held.add(path, tree[path])
        if not found and place in FILES:
            held.file(place, "")
        elif not found:
            held.folder(place)
        tree.remove(place)
        tree.link(place, f"/flash/{place}")
    tree.file(TEMPLATE, b"".join(archive(held)))


def would_write(tree: Tree) -> dict[str, list[str]]:
    """Paths in /var, /etc and the like that programs name and that no link covers -> who names them. Where a shared root is
    read-only, these are what may fail; what only reads there does no harm."""
    found: dict[str, set[str]] = {}
    for path in tree:
        node = tree[path]
        if not stat.S_ISREG(node.mode) or len(node.content) > TEXT_BYTES_MAX or path.endswith(".pyc"):
            continue
        for each in _WRITES.findall(node.content):
            named = each.decode().rstrip("/.")
            if not _covered(named) and named.startswith("var/"):
                found.setdefault(named, set()).add(node.origin or path)
    return {path: sorted(who) for path, who in sorted(found.items())}


def _covered(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in (*WRITTEN, *IN_RAM_ANYWAY))
