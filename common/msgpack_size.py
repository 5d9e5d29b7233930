"""Counts the objects in msgpack bytes before they are decoded. Bytes in, a verdict out; checks nothing else.

One byte can be an empty dict of 64 bytes and its place in a list: 16 MiB of them would be over a gigabyte of memory.
Format: github.com/msgpack/msgpack/blob/master/spec.md.
"""

from __future__ import annotations

# First byte -> (bytes of the length that follows it, bytes of content beside that length), for 0xc0 to 0xdf. `None`: the
# length counts elements, not bytes (array, map).
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
          0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}  # fmt: skip
_SIZED = {
    0xC4: (1, 0),
    0xC5: (2, 0),
    0xC6: (4, 0),
    0xC7: (1, 1),
    0xC8: (2, 1),
    0xC9: (4, 1),
    0xD9: (1, 0),
    0xDA: (2, 0),
    0xDB: (4, 0),
}
_COUNTED = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}  # what they hold is counted when it comes


def objects_over(data: bytes, limit: int) -> bool:
    """Are there more than `limit` objects? Looks at no more than that many; bytes that are no msgpack count as they come."""
    if len(data) <= limit:  # each has one byte at least
        return False
    at = count = 0
    while at < len(data):
        count += 1
        if count > limit:
            return True
        at += _length(data, at)
    return False


def _length(data: bytes, at: int) -> int:
    """Bytes from this object's first to the next object, which may be its first element."""
    first = data[at]
    if first in _SIZED:
        width, more = _SIZED[first]
        return 1 + width + more + int.from_bytes(data[at + 1 : at + 1 + width], "big")
    if 0xA0 <= first <= 0xBF:
        return 1 + (first & 0x1F)
    return 1 + _FIXED.get(first, 0) + _COUNTED.get(first, 0)
