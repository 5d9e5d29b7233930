"""What the client and its guard say to each other: a line of JSON each <-> frozen structs. Pure.

Times are of CLOCK_MONOTONIC, which all processes of a host share.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from common.leases import Terms

LINE_BYTES_MAX = 1_048_576


class WordsFault(Exception):
    """A line that is none of ours."""


# --- the client says ----------------------------------------------------------------------------------------------------------


class Lease(Struct, frozen=True, tag="lease"):
    """What it holds: the asking `n` was answered, and the lease lasts `until`. n = 0: none yet. `known`: which VMs the leader
    wants protected here; None: it has not said so yet. `storage`: of the Status that the asking was made of."""

    n: int
    until: float
    terms: Terms
    known: tuple[str, ...] | None = None
    storage: int = 0


class Protect(Struct, frozen=True, tag="protect"):
    """The execution `key` is about to bring the VM `name` to life. Answered by Protected."""

    name: str
    key: str


class Settled(Struct, frozen=True, tag="settled"):
    """The execution `key` has ended, whatever became of the VM."""

    name: str
    key: str


# --- the guard says -----------------------------------------------------------------------------------------------------------


class Here(Struct, frozen=True, tag="here"):
    """The first word: which setup it has (GuardSetup.digest)."""

    setup: str


class Protected(Struct, frozen=True, tag="protected"):
    """The VM is in the book, on disk, and the watchdog is armed; or `error` says why not, and it must not run."""

    key: str
    error: str = ""


class Status(Struct, frozen=True, tag="status"):
    """`book`: the protected VMs that may run here. `watchdog_s`: 0 where there is none, and `watchdog` says which or why not.
    `storage`: 0 where the last whole look at it is too old; else a number, a new one after each such gap. `claim`: seen, and
    neither obeyed nor taken back yet; `stopped`: the last obeyed."""

    n: int = 0
    until: float = 0.0
    book: tuple[str, ...] = ()
    watchdog: str = ""
    watchdog_s: float = 0.0
    armed: bool = False
    storage: int = 0
    holds: str = ""  # lease, storage, or nothing
    claim: int = 0
    stopped: int = 0


FromClient = Lease | Protect | Settled
FromGuard = Here | Protected | Status
_from_client = msgspec.json.Decoder(FromClient)
_from_guard = msgspec.json.Decoder(FromGuard)


def line(word: FromClient | FromGuard) -> bytes:
    return msgspec.json.encode(word) + b"\n"


def from_client(data: bytes) -> FromClient:
    """Raises WordsFault."""
    try:
        word: FromClient = _from_client.decode(data)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise WordsFault(str(fault)) from None
    return word


def from_guard(data: bytes) -> FromGuard:
    """Raises WordsFault."""
    try:
        word: FromGuard = _from_guard.decode(data)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise WordsFault(str(fault)) from None
    return word


class Lines:
    """A stream of bytes, cut into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> list[bytes]:
        """Raises WordsFault where a line is too long."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise WordsFault(f"a line of more than {LINE_BYTES_MAX} bytes")
        return whole
