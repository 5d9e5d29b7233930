"""How something new appears in a folder of images: made aside, on the disk, then there by one rename. Knows no manifest.

rename(2) is atomic on every file system, NFS included, and does not replace a folder that holds something. What a crash leaves
lies in `.incoming`, where nobody looks for images.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from common.images.shelf import INCOMING, folder

LEFTOVER_S = 86_400.0  # something unfinished that nobody has written to for a day is nobody's any more
FLUSH_BYTES = 16 * 1024 * 1024  # to the disk in such pieces: the last fsync must not look like a share that hangs
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}
_FILE_MODE = 0o444  # nobody changes what is published; umask takes away what the site wants to be taken away


@contextlib.contextmanager
def unfinished(root: Path, label: str) -> Iterator[Path]:
    """A new empty folder in `.incoming`, gone at the end unless it was put into its place. Its name says whose it is.

    Raises OSError."""
    path = root / INCOMING / f"{label}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class NewFile:
    """A file of which nothing is seen before it is whole on the disk: bytes in, count and SHA-256 out. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        self._digest = hashlib.sha256()
        self._unflushed = 0
        self.bytes = 0

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *fault: object) -> None:
        try:
            if fault[0] is None:
                os.fsync(self._number)
        finally:
            os.close(self._number)  # on NFS, here a full disk is told

    def write(self, data: bytes) -> None:
        self.bytes += len(data)
        self._digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._number, rest) :]
        self._unflushed += len(data)
        if self._unflushed >= FLUSH_BYTES:
            os.fsync(self._number)
            self._unflushed = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """A new file, on the disk. Raises OSError."""
    with NewFile(path) as file:
        file.write(data)


def put(made: Path, root: Path, name: str, version: str) -> bool:
    """Moves a finished folder to NAME/VERSION. False: there is one already. Raises OSError.

    An NFS server that answers twice says that nothing is there to be moved although it has moved it; then it is there, with our
    manifest in it, which no other has: it holds the number of the publication."""
    sync(made)
    above = root / name
    with contextlib.suppress(FileExistsError):
        above.mkdir()
        sync(root)
    identity = made.stat().st_ino
    with folder(root) as at, folder(name, at) as into, folder(made.parent) as aside:
        try:
            os.rename(made.name, version, src_dir_fd=aside, dst_dir_fd=into)
        except OSError as fault:
            if fault.errno in _TAKEN:
                return False
            if fault.errno != errno.ENOENT or os.stat(version, dir_fd=into, follow_symlinks=False).st_ino != identity:
                raise
        os.fsync(into)
    return True


def sync(path: Path) -> None:
    """The entries of a folder, on the disk. Raises OSError."""
    with folder(path) as number:
        os.fsync(number)


def leftovers(root: Path, older_s: float = LEFTOVER_S) -> tuple[list[Path], list[Path]]:
    """In `.incoming`: (what somebody may be at work on, what nobody has touched for `older_s`). Raises OSError.

    The age is told by the clock of the file system itself, with a new file: those of two hosts may differ by hours."""
    probe = root / INCOMING / f".now-{secrets.token_hex(8)}"
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        now = probe.stat().st_mtime
    finally:
        probe.unlink()
    young: list[Path] = []
    old: list[Path] = []
    for path in sorted((root / INCOMING).iterdir()):
        with contextlib.suppress(FileNotFoundError):  # its owner was quicker
            touched = max(each.lstat().st_mtime for each in (path, *(path.iterdir() if path.is_dir() else ())))
            (old if now - touched > older_s else young).append(path)
    return [path for path in young if not path.name.startswith(".now-")], old


def sweep(root: Path) -> None:
    """Removes what nobody is at work on any more. Raises OSError."""
    for path in leftovers(root)[1]:
        erase(path)


def erase(path: Path) -> None:
    """A folder with all that is in it, or a file; as far as it can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
