"""One client's socket: what it sent that is not whole yet, and what it has not read yet. Knows no group and no other client."""

from __future__ import annotations

import socket
import struct
from collections import deque
from itertools import islice

from .hub import Member
from .pressure import CHUNK_COST
from .wire import Hello

IOV_MAX = 256  # pieces handed to the kernel in one call; its own limit is 1,024
READ_BYTES_MIN = 16 * 1024
PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)


class Chunk:
    """Bytes that wait in the queues of `waiting` connections; one object for all of them."""

    __slots__ = ("data", "messages", "waiting")

    def __init__(self, data: bytes, messages: int) -> None:
        self.data = data
        self.messages = messages
        self.waiting = 0


class Connection(Member):
    """A client's connection, from accept to close. The server moves it between its states; they are these flags."""

    __slots__ = (
        "address",
        "deaf",
        "fd",
        "gone",
        "hello",
        "moved_at",
        "offset",
        "open",
        "paused",
        "queue",
        "queued_bytes",
        "queued_messages",
        "read_bytes",
        "rest",
        "sock",
        "watched",
    )

    def __init__(self, sock: socket.socket, address: object) -> None:
        super().__init__()
        self.sock = sock
        self.fd = sock.fileno()
        self.address = address
        self.hello: Hello | None = None
        self.open = False  # the handshake is done
        self.paused = False  # not read, because somebody it sends to is behind
        self.deaf = False  # its end takes nothing any more, but what it said before may still come
        self.gone = False  # ended; whoever still holds it must skip it
        self.watched = 0  # the events epoll watches it for
        self.rest = b""  # input not yet carried out
        self.read_bytes = READ_BYTES_MIN
        self.queue: deque[Chunk] = deque()
        self.offset = 0  # how much of the first chunk is out
        self.queued_bytes = 0
        self.queued_messages = 0
        self.moved_at = 0.0  # monotonic time when the kernel last took a byte

    def __str__(self) -> str:
        return f"{self.private.decode() or 'a connection'} from {describe_peer(self.sock, self.address)}"

    def read(self, bytes_max: int) -> bytes:
        """What has come in, at most `bytes_max`; empty at the end. Raises BlockingIOError, OSError.

        The buffer asked for follows the traffic: a quiet client costs no large allocation."""
        wanted = min(self.read_bytes, bytes_max)
        data = self.sock.recv(wanted)
        got = len(data)
        if got == self.read_bytes:
            self.read_bytes *= 4
        elif got < self.read_bytes >> 4 and self.read_bytes > READ_BYTES_MIN:
            self.read_bytes >>= 2
        return data

    def write(self) -> int:
        """Hand the kernel what it takes of the queue; returns the bytes it took. Raises BlockingIOError, OSError."""
        queue = self.queue
        first = queue[0].data
        if self.offset:
            first = memoryview(first)[self.offset :]  # type: ignore[assignment]
        if len(queue) == 1:
            return self.sock.send(first)
        return self.sock.sendmsg([first, *[chunk.data for chunk in islice(queue, 1, IOV_MAX)]])

    def advance(self, taken: int) -> int:
        """Forget `taken` bytes of the queue; returns the cost in bytes of chunks that nobody waits for any more."""
        self.queued_bytes -= taken
        queue, taken, freed = self.queue, taken + self.offset, 0
        while queue and taken >= len(queue[0].data):
            chunk = queue.popleft()
            taken -= len(chunk.data)
            self.queued_messages -= chunk.messages
            chunk.waiting -= 1
            if not chunk.waiting:
                freed += len(chunk.data) + CHUNK_COST
        self.offset = taken
        return freed

    def forget(self) -> int:
        """Throw the queue away; returns the cost in bytes of chunks that nobody waits for any more."""
        freed = 0
        for chunk in self.queue:
            chunk.waiting -= 1
            if not chunk.waiting:
                freed += len(chunk.data) + CHUNK_COST
        self.queue.clear()
        self.offset = self.queued_bytes = self.queued_messages = 0
        return freed


def describe_peer(sock: socket.socket, address: object) -> str:
    """How a log line names the other end of an open socket: 127.0.0.1:40000, or the process on a unix socket."""
    if sock.family == socket.AF_UNIX:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
        pid, uid, _ = PEER_CREDENTIALS.unpack(credentials)
        return f"pid {pid} (uid {uid})"
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return "an unknown address"
