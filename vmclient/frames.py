"""What the client and a worker process say to each other, and how it is framed. No process, no socket.

A frame is four bytes of length, big-endian, and JSON: `["done", {...}]`. JSON and dataclasses, because both come with Python: a
worker that loads nothing more stays small. What a worker says may be forged by a plugin, so the client checks it (hearing.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from common.config.model import BatchConfig, HypervisorConfig, ProgramConfig, Where
from common.value import Value

FRAME_BYTES_MAX = 40 * 1024 * 1024  # a value of 16 MiB, escaped, and what is around it
HEAD_BYTES = 4
TEXT_CHARS_MAX = 500  # of one line of progress
Kind = Literal["reader", "command"]
_Model = TypeVar("_Model", HypervisorConfig, BatchConfig)


class FrameFault(Exception):
    """Bytes that the other side cannot have meant."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The first frame to a worker: which modules to import, and what the client's file lets plugins know.

    `excluded`: modules that ended or held up an earlier worker while being imported, and how."""

    client: str
    modules: tuple[str, ...] = ()
    folder: str = ""
    excluded: dict[str, str] = field(default_factory=dict)
    programs: tuple[ProgramConfig, ...] = ()
    services: tuple[str, ...] = ()
    hypervisor: HypervisorConfig = field(default_factory=HypervisorConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    data_bytes_max: int = 0  # 0: no limit


@dataclass(frozen=True, slots=True)
class Job:
    """One read or one command. `check`: would its parameters do? Nothing is run, the answer is `ok` or `refused`."""

    id: int
    kind: Kind
    plugin: str
    positional: tuple[str, ...]
    named: dict[str, Value]
    timeout_s: float
    bytes_max: int
    check: bool = False


@dataclass(frozen=True, slots=True)
class Importing:
    """Said before each module, so that one that kills the worker is known by name."""

    module: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One plugin found."""

    kind: Kind
    name: str
    module: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """All modules are imported, or are not, and why."""

    plugins: tuple[Entry, ...]
    faults: dict[str, str]


@dataclass(frozen=True, slots=True)
class Done:
    """A job ended. `refused`: its parameters do not suit, nothing was run; `spoiled`: why this worker should go."""

    id: int
    kind: Literal["ok", "error", "refused"]
    value: Value = None
    reason: str = ""
    output: str = ""
    unit: str = ""
    elapsed_s: float = 0.0
    spoiled: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """A line for the client's log."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the job at hand is: a few words, and a share from 0 to 1 where it is known."""

    text: str
    share: float | None = None


ToWorker = Setup | Job
FromWorker = Importing | Ready | Done | Log | Progress


def frame(what: ToWorker | FromWorker) -> bytes:
    """Raises TypeError, ValueError or RecursionError for what JSON cannot carry, FrameFault for too much."""
    body = json.dumps([type(what).__name__.lower(), what], default=_members, allow_nan=False).encode()
    if len(body) > FRAME_BYTES_MAX:
        raise FrameFault(f"{len(body)} bytes, the limit is {FRAME_BYTES_MAX}")
    return len(body).to_bytes(HEAD_BYTES, "big") + body


def told(body: bytes) -> ToWorker:
    """What the client told a worker; that one is believed."""
    name, members = json.loads(body)
    if name == "job":
        return Job(**members | {"positional": tuple(members["positional"])})
    programs = tuple(
        ProgramConfig(**one | {"argv": tuple(one["argv"]), "where": Where(**one["where"])}) for one in members["programs"]
    )
    lists = {key: tuple(members[key]) for key in ("modules", "services")}
    engines = {
        "hypervisor": _engine(HypervisorConfig, members["hypervisor"]),
        "batch": _engine(BatchConfig, members["batch"]),
    }
    return Setup(**members | lists | {"programs": programs, **engines})


def _engine(model: type[_Model], members: Mapping[str, Any]) -> _Model:
    """Lists are tuples again, and what the model has as a path is one."""
    made: dict[str, Any] = {}
    for one in fields(model):
        value = members[one.name]
        if isinstance(value, list):
            value = tuple(value)
        made[one.name] = Path(value) if value is not None and one.default is None else value
    return model(**made)


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


def _members(what: Any) -> Any:
    if isinstance(what, Path):
        return str(what)
    return {one.name: getattr(what, one.name) for one in fields(what)}
