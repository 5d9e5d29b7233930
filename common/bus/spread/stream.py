"""The byte stream of an open session, cut into messages. Bytes in, messages out; no socket, no clock."""

from __future__ import annotations

from common.bus.spread.codec import Header, Message, decode_header, decode_rest
from common.bus.spread.constants import HEADER_BYTES, RECEIVED_BYTES_MAX


class Stream:
    """Holds at most one message that is not complete yet; complete ones never stay here."""

    def __init__(self, bytes_max: int = RECEIVED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._pending: list[bytes] = []
        self._header: Header | None = None
        self.pending_bytes = 0

    @property
    def missing(self) -> int:
        """How many bytes complete the header, or the message once its header is known. Never 0."""
        if self._header is None:
            return HEADER_BYTES - self.pending_bytes
        return HEADER_BYTES + self._header.rest_bytes - self.pending_bytes

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes. Raises ProtocolError; the stream is of no use after that."""
        self.pending_bytes += len(chunk)
        self._pending.append(chunk)
        wanted = HEADER_BYTES if self._header is None else HEADER_BYTES + self._header.rest_bytes
        if self.pending_bytes < wanted:
            return []
        data = chunk if len(self._pending) == 1 else b"".join(self._pending)
        at, messages = self._cut(data)
        rest = data[at:]
        self._pending = [rest] if rest else []
        self.pending_bytes = len(rest)
        return messages

    def _cut(self, data: bytes) -> tuple[int, list[Message]]:
        """The complete messages of `data` and where the rest begins."""
        at, end, messages = 0, len(data), []
        header, self._header = self._header, None
        while end - at >= HEADER_BYTES:
            if header is None:
                header = decode_header(data, at, self._bytes_max)
            stop = at + HEADER_BYTES + header.rest_bytes
            if stop > end:
                self._header = header
                break
            messages.append(decode_rest(header, data[at + HEADER_BYTES : stop]))
            at, header = stop, None
        return at, messages
