"""A raw client for tests: sends and reads bytes exactly, and knows nothing of what the daemon should do."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from types import TracebackType

TIMEOUT_S = 20.0
LITTLE = 0x80000080
NULL_CHOICE = b"NULL".ljust(90, b"\0")


def pad(name: bytes) -> bytes:
    return name.ljust(32, b"\0")


def packet(
    kind: int,
    sender: bytes,
    groups: list[bytes],
    data: bytes = b"",
    *,
    hint: int = 0,
    order: str = "<",
    data_bytes: int | None = None,
) -> bytes:
    """One client message. `order` '>' writes it as a big-endian machine would."""
    endian = LITTLE if order == "<" else 0
    length = len(data) if data_bytes is None else data_bytes
    head = struct.pack(order + "I32siIi", kind | endian, sender, len(groups), hint << 8 | endian, length)
    return head + b"".join(map(pad, groups)) + data


@dataclass(frozen=True)
class Message:
    """What the daemon sent."""

    kind: int  # without the endian bits
    name: bytes
    groups: tuple[bytes, ...]
    hint: int
    data: bytes
    raw: bytes


class WireClient:
    """A session. All reads time out, so that a test fails and does not hang."""

    def __init__(
        self, address: tuple[str, int] | str, name: bytes = b"", *, membership: bool = True, shake: bool = True
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(address)
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.private = b""
        if shake:
            self.shake(name, membership)

    def __enter__(self) -> WireClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def shake(self, name: bytes, membership: bool = True) -> None:
        self.send(bytes((5, 0, 1, int(membership), len(name))) + name)
        assert self.read(6) == b"\x05NULL "
        self.send(NULL_CHOICE)
        self.finish()

    def finish(self) -> None:
        assert self.read(4) == b"\x01\x05\x00\x01"
        self.private = self.read(self.read(1)[0])

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes. Raises EOFError when the daemon closes before."""
        data = bytearray()
        while len(data) < size:
            try:
                piece = self.sock.recv(size - len(data))
            except ConnectionResetError:
                piece = b""
            if not piece:
                raise EOFError(bytes(data))
            data += piece
        return bytes(data)

    def ended(self) -> bool:
        """Wait for the end of the connection, whatever comes before; True when it came."""
        try:
            while self.sock.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def join(self, group: bytes) -> None:
        self.send(packet(0x10000, self.private, [group]))

    def leave(self, group: bytes) -> None:
        self.send(packet(0x20000, self.private, [group]))

    def multicast(self, groups: list[bytes], data: bytes, *, kind: int = 0x10, hint: int = 0) -> None:
        self.send(packet(kind, self.private, groups, data, hint=hint))

    def receive(self) -> Message:
        head = self.read(48)
        kind, name, groups, hint, length = struct.unpack("<I32siIi", head)
        assert kind & LITTLE == LITTLE
        extra = self.read(4) if kind & 0x400000 else b""
        body = self.read(groups * 32 + length)
        names = tuple(body[at : at + 32].rstrip(b"\0") for at in range(0, groups * 32, 32))
        return Message(kind & ~LITTLE, name.rstrip(b"\0"), names, hint, body[groups * 32 :], head + extra + body)

    def receive_regular(self) -> Message:
        """The next message that is no membership message."""
        while True:
            message = self.receive()
            if message.kind & 0x3F:
                return message
