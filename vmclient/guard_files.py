"""What the guard has in the state folder: the book of protected VMs, the end of the lease for a successor, its socket.

The book is replaced as a whole and synced. A damaged one is not guessed at: then all domains of ours count as protected.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from common.leases import Terms

BOOK, LEASE, SOCKET, LOCK = "protected", "lease", "guard", "guard.lock"
BYTES_MAX = 1_048_576


class Kept(Struct, frozen=True):
    """`terms`: the last that a leader told."""

    names: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    terms: Terms | None = None


class _Lease(Struct, frozen=True):
    boot_id: str
    until: float


class BookFault(Exception):
    """The book is there and cannot be read; the text names it and why."""


def load(state: Path) -> Kept:
    """Raises BookFault."""
    path = state / BOOK
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(BYTES_MAX), type=Kept)
    except FileNotFoundError:
        return Kept()
    except OSError as fault:
        raise BookFault(f"{path}: {fault.strerror}") from None
    except (msgspec.DecodeError, ValueError) as fault:
        raise BookFault(f"{path}: is damaged ({fault})") from None


def save(state: Path, kept: Kept) -> None:
    """On disk when it returns. Raises OSError."""
    path = state / BOOK
    draft = path.with_name(f"{BOOK}.new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        data = msgspec.json.encode(kept)
        if os.write(file, data) != len(data):
            raise OSError(0, "not all of it was written")
        os.fsync(file)
    finally:
        os.close(file)
    draft.replace(path)
    folder = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_of_another_boot(state: Path, boot_id: str) -> bool:
    """What the book names ran before the machine was started anew. False where that cannot be told."""
    with contextlib.suppress(OSError, msgspec.DecodeError, ValueError):
        kept = msgspec.json.decode((state / LEASE).read_bytes(), type=_Lease)
        return bool(kept.boot_id and boot_id) and kept.boot_id != boot_id
    return False


def lease_until(state: Path, boot_id: str) -> float:
    """As remembered in this boot; 0: there is none. safety: what cannot be read is none."""
    with contextlib.suppress(OSError, msgspec.DecodeError, ValueError):
        kept = msgspec.json.decode((state / LEASE).read_bytes(), type=_Lease)
        return kept.until if kept.boot_id == boot_id and boot_id else 0.0
    return 0.0


def remember(state: Path, boot_id: str, until: float) -> None:
    """Not synced: it is of no use after a reboot. Raises OSError."""
    draft = state / f"{LEASE}.new"
    draft.write_bytes(msgspec.json.encode(_Lease(boot_id, until)))
    draft.replace(state / LEASE)


def socket_path(state: Path) -> Path:
    return state / SOCKET


@contextlib.contextmanager
def short_path(state: Path) -> Iterator[str]:
    """A name of the socket that is short enough for one (unix(7): 107 bytes), however long that of the folder is."""
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
