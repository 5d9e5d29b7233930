"""Packages unpacked into a tree: nothing of them is run, and nothing of this machine is touched."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from provision.programs import output
from provision.tree import Node, Tree

UNPACK_S = 120.0
KINDS = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.LNKTYPE: stat.S_IFREG,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.DIRTYPE: stat.S_IFDIR,
}


def unpack(tree: Tree, package: Path, only: Iterable[str] = (), without: Iterable[str] = ()) -> None:
    """The files of one .deb that match a pattern of `only` (where there are any) and none of `without`."""
    wanted, left = tuple(only), tuple(without)
    origin = package.name.split("_")[0]
    with tarfile.open(fileobj=io.BytesIO(output(["dpkg-deb", "--fsys-tarfile", str(package)], limit_s=UNPACK_S))) as archive:
        for member in archive:
            path = member.name.removeprefix("./").strip("/")
            if not path or path == "." or _matches(path, left) or (wanted and not _matches(path, wanted)):
                continue
            tree.add(path, node(archive, member, origin))


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, one) or fnmatchcase(path, f"{one}/*") for one in patterns)


def node(archive: tarfile.TarFile, member: tarfile.TarInfo, origin: str) -> Node:
    """A hard link becomes a file with the same bytes. Raises ValueError for a device, which no package has."""
    if member.type not in KINDS:
        raise ValueError(f"{origin}: /{member.name} is neither file nor folder nor link")
    kind = KINDS[member.type]
    if stat.S_ISLNK(kind):
        return Node(kind | 0o777, member.linkname.encode(), origin)
    file = archive.extractfile(member) if stat.S_ISREG(kind) else None
    return Node(kind | member.mode, file.read() if file else b"", origin)
