"""The byte stream of an open session, cut into messages. Bytes in, messages out; no socket, no clock."""

from __future__ import annotations

from typing import Final

from common.bus.spread.codec import Header, Message, decode_body, decode_header
from common.bus.spread.constants import HEADER_BYTES, RECEIVED_BYTES_MAX

BUFFER_BYTES: Final = 256 * 1024  # taken by one system call where many messages wait; more only for a larger message
START_BYTES: Final = 8 * 1024  # until a read fills it: a session at rest, or thousands in one process, cost little


class Stream:
    """Holds at most one message that is not complete yet; complete ones never stay here.

    Write into `space()`, then say how much with `filled()`. The buffer is used again and again, so that a large message
    costs one copy and no fresh memory."""

    def __init__(self, bytes_max: int = RECEIVED_BYTES_MAX, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._bytes_max = bytes_max
        self._usual_bytes = buffer_bytes
        self._view = memoryview(bytearray(min(START_BYTES, buffer_bytes)))
        self._header: Header | None = None
        self.pending_bytes = 0

    @property
    def missing(self) -> int:
        """How many bytes complete the header, or the message once its header is known. Never 0."""
        if self._header is None:
            return HEADER_BYTES - self.pending_bytes
        return HEADER_BYTES + self._header.rest_bytes - self.pending_bytes

    def space(self) -> memoryview:
        """Where the next bytes go: at least `missing` of them."""
        missing = self.missing
        if self.pending_bytes + missing > len(self._view):
            self._resize(self.pending_bytes + missing)
        return self._view[self.pending_bytes :]

    def filled(self, count: int) -> list[Message]:
        """The messages that `count` more bytes complete. Raises ProtocolError; the stream is of no use after that."""
        missing, end = self.missing, self.pending_bytes + count
        if count < missing:
            self.pending_bytes = end
            return []
        at, messages = self._cut(end)
        self.pending_bytes = end - at
        if at and end > at:
            self._view[: end - at] = self._view[at:end]
        if len(self._view) > self._usual_bytes:
            if self.pending_bytes <= self._usual_bytes:
                self._resize(self._usual_bytes)
        elif end == len(self._view) < self._usual_bytes:
            self._resize(min(4 * end, self._usual_bytes))
        return messages

    def feed(self, chunk: bytes) -> list[Message]:
        """The same from bytes that somebody else holds."""
        messages = []
        while chunk:
            space = self.space()
            count = min(len(chunk), len(space))
            space[:count] = chunk[:count]
            chunk = chunk[count:]
            messages += self.filled(count)
        return messages

    def _cut(self, end: int) -> tuple[int, list[Message]]:
        """The complete messages of the buffer and where the rest begins."""
        view, header, at = self._view, self._header, 0
        messages = []
        self._header = None
        while end - at >= HEADER_BYTES:
            if header is None:
                header = decode_header(view, at, self._bytes_max)
            body = at + HEADER_BYTES
            stop = body + header.rest_bytes
            if stop > end:
                self._header = header
                break
            messages.append(decode_body(header, view[body:stop]))
            at, header = stop, None
        return at, messages

    def _resize(self, size: int) -> None:
        fresh = memoryview(bytearray(size))
        fresh[: self.pending_bytes] = self._view[: self.pending_bytes]
        self._view = fresh
