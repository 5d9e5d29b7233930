"""Load for a bus daemon: raw sessions of Spread's protocol over one epoll, as cheap as Python can. Measures, prints nothing."""

from __future__ import annotations

import select
import socket
import statistics
import struct
import time
from dataclasses import dataclass

LITTLE = 0x80000080
AGREED, JOIN = 0x10, 0x10000
WINDOW_MESSAGES = 150  # in flight at most, and ...
WINDOW_BYTES = 20_000_000
BUFFER_BYTES = 256 * 1024
GIVE_UP_S = 30.0
Address = tuple[str, int]


class LoadError(Exception):
    """The daemon cut us, or did not deliver in time."""


@dataclass(frozen=True)
class Rate:
    """One point of the table: what a sender and its receivers got through."""

    sent_per_s: float
    delivered_per_s: float
    mb_per_s: float  # out of the daemon, headers included


def pad(name: bytes) -> bytes:
    return name.ljust(32, b"\0")


def packet(kind: int, private: bytes, group: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<I32siIi", kind | LITTLE, private, 1, LITTLE, len(data)) + pad(group) + data


class Session:
    """A session without membership messages; blocking until `sock` is made otherwise."""

    def __init__(self, address: Address, name: bytes = b"") -> None:
        self.sock = sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(GIVE_UP_S), 0))
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
        sock.sendall(bytes((5, 0, 1, 0, len(name))) + name)
        self.read(self.read(1)[0])
        sock.sendall(b"NULL".ljust(90, b"\0"))
        self.private = self.read(self.read(5)[4])

    def read(self, size: int) -> bytes:
        data = self.sock.recv(size)
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise LoadError("the daemon closed the connection")
            data += piece
        return data

    def join(self, group: bytes) -> None:
        """Returns when the daemon has carried it out: the session's next message comes after it in the one order."""
        self.sock.sendall(packet(JOIN, self.private, group))
        ping = packet(AGREED, self.private, self.private, b"joined?")
        self.sock.sendall(ping)
        self.read(len(ping))

    def close(self) -> None:
        self.sock.close()


def fan_out(address: Address, receivers: int, size: int, seconds: float) -> Rate:
    """One sender to `receivers` members of a group for about `seconds`, then until everything is delivered."""
    sender = Session(address)
    members = [Session(address) for _ in range(receivers)]
    for member in members:
        member.join(b"load")
        member.sock.setblocking(False)
    sender.sock.setblocking(False)
    try:
        return _FanOut(sender, members, size).run(seconds)
    finally:
        for session in (sender, *members):
            session.close()


class _FanOut:
    def __init__(self, sender: Session, members: list[Session], size: int) -> None:
        self._message = packet(AGREED, sender.private, b"load", bytes(size))
        self._unit = len(self._message)
        self._window = min(WINDOW_MESSAGES, WINDOW_BYTES // self._unit) * self._unit
        self._blob = memoryview(self._message * max(1, BUFFER_BYTES // self._unit))
        self._sender = sender.sock
        self._sockets = {member.sock.fileno(): member.sock for member in members}
        self._got = dict.fromkeys(self._sockets, 0)
        self._sent = 0
        self._epoll = select.epoll()
        for fd in self._sockets:
            self._epoll.register(fd, select.EPOLLIN)

    def run(self, seconds: float) -> Rate:
        fd, buffer, wanted = self._sender.fileno(), memoryview(bytearray(BUFFER_BYTES)), 0
        got, sockets, poll = self._got, self._sockets, self._epoll.poll
        began = time.perf_counter()
        until, limit, sending = began + seconds, began + seconds + GIVE_UP_S, True
        while sending or min(got.values()) < self._sent:
            now = time.perf_counter()
            if now > limit:
                raise LoadError("not everything was delivered in time")
            sending = sending and (now < until or self._sent % self._unit != 0)
            if sending:
                self._send(now < until)
            blocked = sending and self._may_send() > 0
            if blocked != bool(wanted):
                wanted = select.EPOLLOUT if blocked else 0
                self._epoll.register(fd, wanted) if blocked else self._epoll.unregister(fd)
            for ready, _ in poll(1.0):
                if ready != fd:
                    count = sockets[ready].recv_into(buffer)
                    if not count:
                        raise LoadError("the daemon cut a receiver")
                    got[ready] += count
        seconds = time.perf_counter() - began
        self._epoll.close()
        messages = self._sent // self._unit
        delivered = sum(got.values())
        if delivered != self._sent * len(got):
            raise LoadError(f"{delivered} bytes delivered of {self._sent * len(got)}")
        return Rate(messages / seconds, messages * len(got) / seconds, delivered / seconds / 1e6)

    def _may_send(self) -> int:
        return self._window - (self._sent - min(self._got.values()))

    def _send(self, more: bool) -> None:
        """As much as the window and the kernel take; when there is to be no more, the rest of the message begun."""
        try:
            while True:
                begun = self._sent % self._unit
                length = self._may_send() if more else (self._unit - begun) % self._unit
                length = min(length, len(self._blob) - begun)
                if length <= 0:
                    return
                self._sent += self._sender.send(self._blob[begun : begun + length])
        except BlockingIOError:
            return


def fan_in(address: Address, senders: int, size: int) -> float:
    """Seconds from the first byte until one group member has one message of each of `senders`."""
    member = Session(address)
    member.join(b"in")
    sessions = [Session(address) for _ in range(senders)]
    try:
        epoll = select.epoll()
        out: dict[int, tuple[socket.socket, memoryview]] = {}
        for session in sessions:
            session.sock.setblocking(False)
            data = memoryview(packet(AGREED, session.private, b"in", bytes(size)))
            out[session.sock.fileno()] = session.sock, data
            epoll.register(session.sock, select.EPOLLOUT)
        missing = sum(len(data) for _, data in out.values())
        buffer = memoryview(bytearray(BUFFER_BYTES))
        epoll.register(member.sock, select.EPOLLIN)
        began = time.perf_counter()
        while missing:
            events = epoll.poll(GIVE_UP_S)
            if not events:
                raise LoadError("not everything was delivered in time")
            for fd, _ in events:
                if fd == member.sock.fileno():
                    count = member.sock.recv_into(buffer)
                    if not count:
                        raise LoadError("the daemon cut the receiver")
                    missing -= count
                    continue
                sock, data = out[fd]
                data = data[sock.send(data) :]
                if data:
                    out[fd] = sock, data
                else:
                    epoll.unregister(fd)
        seconds = time.perf_counter() - began
        epoll.close()
        return seconds
    finally:
        for session in (member, *sessions):
            session.close()


def round_trips(address: Address, size: int, count: int) -> tuple[float, float]:
    """Median and 99th percentile, in seconds, of sending to oneself and reading it back."""
    session = Session(address)
    try:
        data = packet(AGREED, session.private, session.private, bytes(size))
        times = []
        for _ in range(count):
            began = time.perf_counter()
            session.sock.sendall(data)
            session.read(len(data))
            times.append(time.perf_counter() - began)
        return statistics.median(times), statistics.quantiles(times, n=100)[98]
    finally:
        session.close()


def connects(address: Address, count: int) -> float:
    """Seconds to connect `count` sessions, one after the other, all held open."""
    began = time.perf_counter()
    sessions = [Session(address) for _ in range(count)]
    seconds = time.perf_counter() - began
    for session in sessions:
        session.close()
    return seconds
