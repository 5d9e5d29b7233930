"""The pid file of a daemon, locked as long as it runs. Sends no signal to anybody.

The lock is a POSIX one (fcntl): it goes with the process, whatever its end, and forked children do not inherit it, so a worker
that outlives a killed daemon does not keep the next one from starting. The lock says who runs; the number is for people and
init scripts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

TRIES_MAX = 10  # when another daemon removes its file between our open and our lock


class PidFileFault(Exception):
    """The daemon runs already, or the file cannot be used; the text says which."""


class PidFile:
    """Take it in the process that stays; `took_over` is the pid of a daemon that died and left its file, else 0."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.took_over = 0
        self._descriptor = -1

    def take(self) -> None:
        """Raises PidFileFault."""
        try:
            for _ in range(TRIES_MAX):
                if self._try_take():
                    return
        except OSError as fault:
            raise PidFileFault(f"pid file {self.path}: {fault.strerror}") from None
        raise PidFileFault(f"pid file {self.path}: is replaced again and again by another process")

    def release(self) -> None:
        """Removes the file while it is still ours, then unlocks it."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), os.stat(self.path, follow_symlinks=False)):
                self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def _try_take(self) -> bool:
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            if not self._locked(descriptor):
                os.close(descriptor)
                return False
            self.took_over = _number(os.pread(descriptor, 32, 0))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            os.fchmod(descriptor, 0o644)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _locked(self, descriptor: int) -> bool:
        """False: it was removed meanwhile, try again."""
        fact = os.fstat(descriptor)
        if not stat.S_ISREG(fact.st_mode) or fact.st_nlink > 1:
            raise PidFileFault(f"pid file {self.path}: is no regular file of its own")
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            pid = _number(os.pread(descriptor, 32, 0))
            raise PidFileFault(f"is running already{f' as pid {pid}' if pid else ''} (pid file {self.path})") from None
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path, follow_symlinks=False))
        return False


def _number(data: bytes) -> int:
    text = data.strip()
    return int(text) if text.isdigit() and len(text) < 20 else 0
