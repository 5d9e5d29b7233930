"""One block of a file on a share, read past every cache and written in place. Either call may hang as long as the share does.

Opened anew each time: an NFS client checks its cache at open (nfs(5), close-to-open), and O_DIRECT goes past it where the file
system has it (open(2)); where it has not (tmpfs), it is no network's.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from common.storagebeat import BLOCK_BYTES


def read_block(path: Path) -> bytes:
    """What is there, up to one block. Raises OSError."""
    with _opened(path, os.O_RDONLY) as file, mmap.mmap(-1, BLOCK_BYTES) as page:  # a page of its own: O_DIRECT wants it aligned
        return page[: os.preadv(file, [page], 0)]


def write_block(path: Path, block: bytes) -> None:
    """On the storage when it returns. The folder must be there. Raises OSError."""
    assert len(block) == BLOCK_BYTES
    with _opened(path, os.O_WRONLY | os.O_CREAT) as file, mmap.mmap(-1, BLOCK_BYTES) as page:
        page[:] = block
        if (written := os.pwritev(file, [page], 0)) != BLOCK_BYTES:
            raise OSError(errno.EIO, f"only {written} bytes were written", str(path))
        os.fsync(file)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    flags |= os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        file = os.open(path, flags | os.O_DIRECT, 0o644)
    except OSError as fault:
        if fault.errno != errno.EINVAL:
            raise
        file = os.open(path, flags, 0o644)
    try:
        yield file
    finally:
        os.close(file)
