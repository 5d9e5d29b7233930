"""What a client must remember over a restart so that no command is obeyed twice or by a deposed manager: floors and epoch.

One small file, replaced as a whole and synced. safety: written before an EXECUTE or CONTROL is acted upon.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

FILE_BYTES_MAX = 1_048_576


class SeenFault(Exception):
    """The file cannot be used; the text names it and why."""


class Seen(Struct, frozen=True):
    """`floors`: sender -> highest id received; `epoch`: the highest reign; `sent`: no id of ours is above it, where they run
    ahead of a clock that was set back."""

    epoch: int = 0
    floors: dict[str, int] = {}
    sent: int = 0


def load(path: Path) -> Seen:
    """What was saved; nothing yet where no file is. Raises SeenFault: guessing would let old commands in again."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(FILE_BYTES_MAX), type=Seen)
    except FileNotFoundError:
        return Seen()
    except OSError as fault:
        raise SeenFault(f"{path}: {fault.strerror}") from None
    except (msgspec.DecodeError, ValueError) as fault:
        raise SeenFault(f"{path}: is damaged ({fault}); remove it when no manager has sent commands for an hour") from None


def save(path: Path, seen: Seen) -> None:
    """On disk when it returns. Raises SeenFault."""
    draft = path.with_name(path.name + ".new")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(msgspec.json.encode(seen))
            file.flush()
            os.fsync(fd)
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as fault:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise SeenFault(f"{path}: {fault.strerror}") from None
