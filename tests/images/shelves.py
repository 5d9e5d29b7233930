"""Folders of images for tests: sources, publications, a share that hangs, a process that dies at a chosen step."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.images import Draft, Manifest, Repository
from common.images.manifest import Role
from common.images.repository import unheard

DIED = 77
ENDED = 0
FAILED = 1
_STEPS = ("open", "os.", "shutil.")  # what changes or reads a folder (sys.addaudithook)
_FAN_CLASS_CONTENT = 0x04  # fanotify(7), linux/fanotify.h
_FAN_CLOEXEC = 0x01
_FAN_MARK_ADD = 0x01
FAN_OPEN_PERM = 0x00010000
FAN_ACCESS_PERM = 0x00020000


def draft(folder: Path, name: str = "node", version: str = "", text: str = "", **more: str) -> Draft:
    """A kernel and an initrd, in `folder`, that say `text`."""
    folder.mkdir(exist_ok=True, parents=True)
    files: dict[Role, Path] = {"kernel": folder / "vmlinuz", "initrd": folder / "initrd.gz"}
    for role, path in files.items():
        path.write_text(f"{role} {text or version}\n" * 200)
    return Draft(name, files, "tester@here", version, **more)


def contents(repository: Repository, name: str = "node") -> dict[str, int]:
    """Version -> number. Every one of them is whole; nothing else lies there."""
    found, faults = repository.versions(name, unheard)
    assert faults == []
    for manifest in found:
        repository.verify(manifest, unheard)
    return {manifest.version: manifest.sequence for manifest in found}


def newest(repository: Repository, name: str = "node") -> Manifest:
    return repository.find(name, unheard)


def child(work: Callable[[], object]) -> int:
    """Runs `work` in a process of its own: ENDED, FAILED, or DIED."""
    pid = os.fork()
    if pid == 0:
        code = FAILED
        with contextlib.suppress(Exception):
            work()
            code = ENDED
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def dies_at(step: int, work: Callable[[], object]) -> int:
    """As `child`, but the process is gone before its step number `step` on files."""
    left = [step]

    def hook(event: str, arguments: object) -> None:
        if event.startswith(_STEPS) and not event.startswith(("os.fork", "os.putenv")):
            left[0] -= 1
            if left[0] < 0:
                os._exit(DIED)

    def hooked() -> None:
        sys.addaudithook(hook)
        work()

    return child(hooked)


@contextlib.contextmanager
def hanging(path: Path, event: int) -> Iterator[None]:
    """Whoever opens (FAN_OPEN_PERM) or reads (FAN_ACCESS_PERM) this file waits in the kernel until the block ends.

    fanotify(7): the kernel asks a listener for leave, and this one never answers."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or not hasattr(libc, "fanotify_init"):
        pytest.skip("a file that hangs needs root, and fanotify")
    number = libc.fanotify_init(_FAN_CLASS_CONTENT | _FAN_CLOEXEC, os.O_RDONLY)
    libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)
    if number < 0 or libc.fanotify_mark(number, _FAN_MARK_ADD, event, -100, os.fsencode(path)) != 0:
        pytest.skip(f"this kernel lets no file hang (fanotify: {os.strerror(ctypes.get_errno())})")
    try:
        yield
    finally:
        os.close(number)
