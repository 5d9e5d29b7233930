"""Executions on disk: what has begun, what has ended and with which answer. One append-only file, synced at each record.

A record is four bytes of length, four of CRC-32, and msgpack. What a crash left half written at the end is cut off at start;
what ended longer ago than `keep_s` is left out when the file is written anew, as are the oldest answers beyond `bytes_max`.
Runner owns it. No clock: times are handed in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from common import protocol
from common.protocol import ExecErr, ExecVal, ProtocolError

KEEP_S = 2 * 86_400.0
KEPT_MIN = 1_000  # so many of the newest stay whatever their age: the clock may have been wrong for a while
BYTES_MAX = 32 * 1024 * 1024
HEAD_BYTES = 8
RECORD_BYTES_MAX = 20 * 1024 * 1024


class JournalFault(Exception):
    """The journal cannot be used; the text names the file and why."""


class Record(Struct, frozen=True, array_like=True):
    """`answer` None: begun, and `request` asked; empty: ended, the answer was dropped for its size."""

    execution: str
    at: float
    request: int
    answer: bytes | None


@dataclass(slots=True)
class _Place:
    at: float
    offset: int
    size: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class Journal:
    """`begun` maps executions without an end to the request that asked; `ended` to the time of their end."""

    def __init__(
        self, path: Path, now_wall: float, *, keep_s: float = KEEP_S, bytes_max: int = BYTES_MAX, keep: int = KEPT_MIN
    ) -> None:
        """Raises JournalFault: not writable, or in use by another process."""
        self._path = path
        self._keep_s = keep_s
        self._keep = keep
        self._bytes_max = bytes_max
        self._begun: dict[str, Record] = {}
        self._ended: dict[str, _Place] = {}
        self._size = 0
        self._fd = -1
        self.cut_bytes = 0
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = self._locked(path)
            _sync_folder(path.parent)
            self._load()
            if len(self._ended) > keep and min(place.at for place in self._ended.values()) < now_wall - keep_s:
                self._rewrite(now_wall)
        except OSError as fault:
            self.close()
            raise JournalFault(f"{path}: {fault.strerror}") from None

    @property
    def begun(self) -> dict[str, int]:
        return {name: record.request for name, record in self._begun.items()}

    @property
    def ended(self) -> dict[str, float]:
        return {name: place.at for name, place in self._ended.items()}

    @property
    def size(self) -> int:
        return self._size

    def begin(self, execution: str, at: float, request: int) -> None:
        """On disk when it returns. Raises OSError; then nothing was noted."""
        record = Record(execution, at, request, None)
        self._append(record)
        self._begun[execution] = record

    def end(self, execution: str, answer: ExecVal | ExecErr, at: float) -> None:
        """On disk when it returns. Raises OSError, ProtocolError (an answer that cannot be sent); then nothing was noted."""
        offset = self._size
        size = self._append(Record(execution, at, 0, protocol.encode(answer)))
        self._begun.pop(execution, None)
        self._ended[execution] = _Place(at, offset, size)
        if self._size > self._bytes_max:
            self._rewrite(at)

    def recall(self, execution: str) -> ExecVal | ExecErr | None:
        """The answer given then; None when it is not kept any more. Raises OSError."""
        place = self._ended.get(execution)
        if place is None:
            return None
        data = os.pread(self._fd, place.size, place.offset)
        for _, _, record in _records(data):
            if record.answer:
                with contextlib.suppress(ProtocolError):
                    answer = protocol.decode(record.answer)
                    return answer if isinstance(answer, (ExecVal, ExecErr)) else None
        return None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _load(self) -> None:
        with open(self._path, "rb") as file:
            data = file.read()
        good = 0
        for start, end, record in _records(data):
            if record.answer is None:
                self._begun[record.execution] = record
            else:
                self._begun.pop(record.execution, None)
                self._ended[record.execution] = _Place(record.at, start, end - start)
            good = end
        self.cut_bytes = len(data) - good
        if self.cut_bytes:
            os.ftruncate(self._fd, good)
        self._size = good

    def _append(self, record: Record) -> int:
        data = _framed(record)
        try:
            written = os.pwrite(self._fd, data, self._size)
            if written != len(data):
                raise OSError(28, "No space left on device")
            os.fdatasync(self._fd)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        return len(data)

    def _rewrite(self, now_wall: float) -> None:
        """Into a new file that then takes the place; a failure leaves the old one in use."""
        fresh = self._path.with_name(self._path.name + ".new")
        newest = set(list(self._ended)[max(0, len(self._ended) - self._keep) :])
        kept = {name: place for name, place in self._ended.items() if name in newest or place.at >= now_wall - self._keep_s}
        room = self._bytes_max // 2
        places: dict[str, _Place] = {}
        parts: list[bytes] = []
        for name, place in sorted(kept.items(), key=lambda item: item[1].at, reverse=True):
            room -= place.size
            data = os.pread(self._fd, place.size, place.offset) if room > 0 else _framed(Record(name, place.at, 0, b""))
            places[name] = _Place(place.at, 0, len(data))
            parts.append(data)
        offset = 0
        for place in reversed(places.values()):
            place.offset = offset
            offset += place.size
        parts.reverse()
        parts += [_framed(record) for record in self._begun.values()]
        fd = self._locked(fresh, os.O_TRUNC)
        try:
            size = 0
            for part in parts:
                if os.write(fd, part) != len(part):
                    raise OSError(28, "No space left on device")
                size += len(part)
            os.fsync(fd)
            fresh.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError:
            os.close(fd)
            fresh.unlink(missing_ok=True)
            return  # the old file is whole and goes on growing until there is room
        os.close(self._fd)
        self._fd, self._size = fd, size
        self._ended = dict(reversed(places.items()))

    @staticmethod
    def _locked(path: Path, flags: int = 0) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise OSError(11, "in use by another vmclient") from None
        return fd


def _framed(record: Record) -> bytes:
    body = _encoder.encode(record)
    return len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body


def _records(data: bytes) -> Iterator[tuple[int, int, Record]]:
    """(offset, offset of its end, record). A damaged one costs only itself where the next is whole; else it ends there."""
    start = 0
    while start + HEAD_BYTES <= len(data):
        end, record = _record(data, start)
        if record is not None:
            yield start, end, record
        elif end + HEAD_BYTES > len(data) or _record(data, end)[1] is None:
            return
        start = end


def _record(data: bytes, start: int) -> tuple[int, Record | None]:
    """(offset of its end by its head, record); None: it is not whole."""
    size = int.from_bytes(data[start : start + 4], "big")
    end = start + HEAD_BYTES + size
    body = data[start + HEAD_BYTES : end]
    if size > RECORD_BYTES_MAX or len(body) != size or zlib.crc32(body) != int.from_bytes(data[start + 4 : start + 8], "big"):
        return end, None
    try:
        return end, _decoder.decode(body)
    except (msgspec.DecodeError, ValueError):
        return end, None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
