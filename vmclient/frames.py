"""What the client and a worker process say to each other: structs and their frames. No process, no socket.

A frame is four bytes of length, big-endian, and msgpack. Neither side trusts the other's length: FrameFault at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Struct

from common.config.model import ProgramConfig
from common.protocol import Value

FRAME_BYTES_MAX = 20 * 1024 * 1024  # a value of 16 MiB and what is around it
HEAD_BYTES = 4


class FrameFault(Exception):
    """Bytes that the other side cannot have meant."""


class Setup(Struct, frozen=True, tag="setup"):
    """The first frame to a worker: which modules to import, and what the client's file lets plugins know.

    `excluded`: modules that ended or held up an earlier worker while being imported, and how."""

    client: str
    modules: tuple[str, ...]
    folder: str
    excluded: dict[str, str]
    programs: dict[str, ProgramConfig]
    services: tuple[str, ...]
    data_bytes_max: int  # 0: no limit


class Job(Struct, frozen=True, tag="job"):
    """One read or one command. `check`: would its parameters do? Nothing is run, the answer is `ok` or `refused`."""

    id: int
    kind: Literal["reader", "command"]
    plugin: str
    positional: tuple[str, ...]
    named: dict[str, Value]
    timeout_s: float
    bytes_max: int
    check: bool = False


class Importing(Struct, frozen=True, tag="importing"):
    """Said before each module, so that one that kills the worker is known by name."""

    module: str


class Entry(Struct, frozen=True):
    """One plugin found."""

    kind: Literal["reader", "command"]
    name: str
    module: str
    subject: str


class Ready(Struct, frozen=True, tag="ready"):
    """All modules are imported, or are not, and why."""

    plugins: tuple[Entry, ...]
    faults: dict[str, str]


class Done(Struct, frozen=True, tag="done"):
    """A job ended. `refused`: its parameters do not suit, nothing was run; `spoiled`: why this worker
    should take no more jobs."""

    id: int
    kind: Literal["ok", "error", "refused"]
    value: Value = None
    reason: str = ""
    output: str = ""
    unit: str = ""
    elapsed_s: float = 0.0
    spoiled: str = ""


class Log(Struct, frozen=True, tag="log"):
    """A line for the client's log."""

    level: str
    text: str


ToWorker = Setup | Job
FromWorker = Importing | Ready | Done | Log

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frame(what: ToWorker | FromWorker) -> bytes:
    """Raises TypeError, ValueError, OverflowError or RecursionError for what msgpack cannot carry, FrameFault for too much."""
    body = _encoder.encode(what)
    if len(body) > FRAME_BYTES_MAX:
        raise FrameFault(f"{len(body)} bytes, the limit is {FRAME_BYTES_MAX}")
    return len(body).to_bytes(HEAD_BYTES, "big") + body


class Frames:
    """Cuts a byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies that are complete now. Raises FrameFault."""
        self._buffer += data
        while len(self._buffer) >= HEAD_BYTES:
            size = int.from_bytes(self._buffer[:HEAD_BYTES], "big")
            if size > FRAME_BYTES_MAX:
                raise FrameFault(f"a frame of {size} bytes, the limit is {FRAME_BYTES_MAX}")
            if len(self._buffer) < HEAD_BYTES + size:
                return
            body = bytes(self._buffer[HEAD_BYTES : HEAD_BYTES + size])
            del self._buffer[: HEAD_BYTES + size]
            yield body


def heard(body: bytes) -> FromWorker:
    """Raises FrameFault."""
    try:
        return from_worker.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as fault:
        raise FrameFault(f"not a frame: {fault}") from None
