"""Archives that the kernel unpacks at boot (cpio `newc`): the same tree gives the same bytes, and back. Knows no disk.

Format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux. Archives may follow each other in one file: that is
how what belongs to one machine alone, keys above all, is laid over an image that everybody may read.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator

from provision import progress
from provision.tree import Node, Tree

ALIGN = 4
BLOCK = 512  # the end of an archive: whatever follows begins at a place that suits it
FILE_BYTES_MAX = 0xFFFFFFFF  # eight hexadecimal digits
TRAILER = "TRAILER!!!"
HEAD_BYTES = 110
GZIP = 16 + zlib.MAX_WBITS  # zlib.h, deflateInit2: with a gzip header


def archive(tree: Tree) -> Iterator[bytes]:
    """In pieces, one for each file. All belongs to root, all times are 0. Raises ValueError for a file that is too large."""
    written = 0
    for number, path in enumerate(tree, 1):
        piece = _entry(path, tree[path], number)
        written += len(piece)
        yield piece
    end = _entry(TRAILER, Node(0), 0)
    yield end + bytes(-(written + len(end)) % BLOCK)


def packed(tree: Tree, level: int) -> bytes:
    """An archive in gzip's form, without name and time."""
    packer = zlib.compressobj(level, wbits=GZIP)
    pieces = progress.counted("packing", archive(tree), len(tree) + 1)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


def _entry(path: str, node: Node, number: int) -> bytes:
    if len(node.content) > FILE_BYTES_MAX:
        raise ValueError(f"/{path}: {len(node.content)} bytes are too many for a cpio archive")
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(node.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device of the file (2), the device it is (2), length of the name, checksum
    fields = (number, node.mode, 0, 0, links, 0, len(node.content), 0, 0, *node.device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(node.content)


def read(data: bytes) -> Tree:
    """What `archive` wrote, one after the other; whose each file was is not in it. Raises ValueError."""
    tree = Tree(merged=False)
    at = 0
    while (at := _skip(data, at)) < len(data):
        if data[at : at + 6] != b"070701":
            raise ValueError(f"no cpio archive at byte {at}")
        fields = [int(data[at + 6 + 8 * number : at + 14 + 8 * number], 16) for number in range(13)]
        mode, size, device, name_bytes = fields[1], fields[6], (fields[9], fields[10]), fields[11]
        name_at = at + HEAD_BYTES
        path = data[name_at : name_at + name_bytes - 1].decode()
        content_at = _aligned(name_at + name_bytes)
        if path != TRAILER:
            tree.add(path, Node(mode, data[content_at : content_at + size], "", device))
        at = _aligned(content_at + size)
    return tree


def _skip(data: bytes, at: int) -> int:
    """Beyond the zeros that fill a block up."""
    while data[at : at + ALIGN] == bytes(ALIGN):
        at += ALIGN
    return at if data[at : at + 1] != b"" else len(data)


def _aligned(at: int) -> int:
    return at + -at % ALIGN


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGN)
