"""Files that are given, a folder or a tarball, as a tree: overlays, roots of other distributions. Reads, and runs nothing."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

from provision.debs import KINDS, node
from provision.tree import Node, Tree


def folder(path: Path, *, merged: bool = True) -> Tree:
    """Modes are kept, owners are not: in an image all belongs to root. Raises ValueError for sockets and the like, OSError."""
    tree = Tree(merged=merged)
    for above, names, files in os.walk(path):
        for name in sorted((*names, *files)):
            full = Path(above) / name
            tree.add(full.relative_to(path).as_posix(), _node(full, str(path)))
    return tree


def _node(path: Path, origin: str) -> Node:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return Node(stat.S_IFLNK | 0o777, os.readlink(path).encode(), origin)
    if stat.S_ISDIR(mode):
        return Node(stat.S_IFDIR | stat.S_IMODE(mode))
    if stat.S_ISREG(mode):
        return Node(stat.S_IFREG | stat.S_IMODE(mode), path.read_bytes(), origin)
    raise ValueError(f"{path} is neither file nor folder nor link")


def tarball(path: Path) -> Tree:
    """Devices are left out: a machine makes its own. Raises ValueError."""
    tree = Tree()
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.removeprefix("./").strip("/")
                if name and name != "." and member.type in KINDS:
                    tree.add(name, node(archive, member, path.name))
    except tarfile.TarError as fault:
        raise ValueError(f"{path}: {fault}") from None
    return tree


def root(path: Path) -> Tree:
    """Either. Raises ValueError, OSError."""
    return folder(path) if path.is_dir() else tarball(path)
