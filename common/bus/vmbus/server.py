"""The daemon's loop: one thread, one epoll; bytes from sockets to the hub and back. Decides nothing about groups.

In each round every session that has something to say is read once, then every session with something queued is written
once: consecutive messages travel together, and nobody who talks much keeps the others waiting. docs/design/0010 explains
the limits and who is paused or cut when.
"""

from __future__ import annotations

import contextlib
import logging
import math
import select
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from types import TracebackType

from common.bus.spread.constants import AUTH_CHOICE_BYTES, JOIN_MESS, KILL_MESS

from . import wire
from .config import BusDaemonConfig
from .connection import Chunk, Connection
from .door import BusDaemonError, Door
from .hub import Hub, Parcel
from .notices import Notices
from .pressure import CHUNK_COST, Pressure, backlog

log = logging.getLogger("vmherd.vmbus")

IN, OUT = select.EPOLLIN, select.EPOLLOUT
TICK_S = 0.25  # how often time limits are looked at, while any is running
ROUND_BYTES = 8 * 1024 * 1024  # read in one round from all sessions together, more or less
READ_BYTES_MIN = 16 * 1024
REQUESTS_PER_ROUND = 100  # joins and leaves of one session: each may mean a long message to many


class Server:
    """One embedded daemon. Made: it is bound and listens. `serve` blocks until `stop`, which any thread or signal may call."""

    def __init__(self, config: BusDaemonConfig) -> None:
        """Raises BusDaemonError when the configuration is impossible or the address is taken."""
        problems = config.problems()
        if problems:
            raise BusDaemonError("; ".join(problems))
        self._config = config
        self._door = Door(config)
        self._hub: Hub[Connection] = Hub(config, (zlib.crc32(config.name.encode()), int(time.time())))
        self._notices = Notices(log, config.cut_log_lines, config.cut_log_s)
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._woken, IN)
        self._rest_s = -1.0  # how long the loop may sleep while nothing happens
        self._listening = False
        self._listen(True)
        self._stopping = False
        self._closed = False
        self._now = time.monotonic()
        self._next_tick = 0.0
        self._connections: dict[int, Connection] = {}
        self._greeting: dict[Connection, float] = {}  # in the handshake -> until when; oldest first
        self._dirty: set[Connection] = set()  # got something to write in this round
        self._doomed: dict[Connection, tuple[int, str]] = {}  # to be ended in this round -> log level, reason
        self._unfinished: list[Connection] = []  # paused until the next round, because they asked for much
        self._blocked: set[Connection] = set()  # wait for the kernel to take more
        self._pressure: Pressure[Connection] = Pressure(config)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port where it listens."""
        return self._door.address

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def serve(self, alive: Callable[[], None] | None = None, alive_every_s: float = math.inf) -> None:
        """Work until `stop` is called; then every session is closed. `alive` is called at least every `alive_every_s`."""
        self._rest_s = alive_every_s if alive_every_s < math.inf else -1.0
        log.info("listening on %s:%d as daemon %s", *self.address, self._config.name)
        try:
            while not self._stopping:
                self._round(self._epoll.poll(self._timeout_s()))
                if alive is not None:
                    alive()
            log.info("stopped with %d sessions", len(self._hub))
        finally:
            self.close()

    def stop(self) -> None:
        """Make `serve` return soon. Thread-safe, and safe in a signal handler."""
        with contextlib.suppress(OSError):  # woken already, or closed
            self._wake.send(b"!")
        self._stopping = True  # not before: the loop would close the socket under us

    def close(self) -> None:
        """Close all sockets; only when `serve` does not run. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._door.close()
        for connection in self._connections.values():
            connection.sock.close()
        self._epoll.close()
        self._woken.close()
        self._wake.close()

    # -- the loop

    def _timeout_s(self) -> float:
        """For ever while no time limit runs: a daemon at rest does not wake up."""
        if self._unfinished:
            return 0
        timed = self._greeting or self._pressure or self._blocked or self._door.full
        return TICK_S if timed or self._notices.kept_back else self._rest_s

    def _round(self, events: list[tuple[int, int]]) -> None:
        self._now = time.monotonic()
        bytes_max = max(READ_BYTES_MIN, min(self._config.read_bytes, ROUND_BYTES // (len(events) or 1)))
        for fd, event in events:
            connection = self._connections.get(fd)
            if connection is None:
                self._other_event(fd)
                continue
            if event & OUT and not connection.gone:
                self._write(connection)
            if event & ~OUT and not connection.gone:
                self._read(connection, bytes_max)
        unfinished, self._unfinished = self._unfinished, []
        for connection in unfinished:
            self._resume(connection)
        self._settle()
        if self._now >= self._next_tick:
            self._next_tick = self._now + TICK_S
            self._look_at_time_limits()
            self._settle()

    def _other_event(self, fd: int) -> None:
        for listener in self._door.listeners:
            if listener.fileno() == fd:
                self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        arrived = []
        try:
            for connection in self._door.accept(listener):
                self._welcome(connection)
                arrived.append(connection)
        except OSError as fault:
            self._say(logging.WARNING, f"cannot accept more connections: {fault.strerror}")
            self._listen(not self._door.full)
        for connection in arrived:  # its hello is often here by now: that saves a round
            if not connection.gone:
                self._read(connection, READ_BYTES_MIN)

    def _settle(self) -> None:
        """Write what is queued, end who is to be ended, let those go on who waited: until nothing follows from it any more."""
        while True:
            dirty, self._dirty = self._dirty, set()
            for connection in dirty:
                if not connection.watched & OUT and not connection.gone:
                    self._write(connection)
            for connection in list(self._doomed):
                self._end(connection, *self._doomed.pop(connection))
            released = self._pressure.may_go_on()
            for connection in released:
                self._resume(connection)
            if not (self._dirty or self._doomed or released):
                return

    def _listen(self, on: bool) -> None:
        if on != self._listening:
            self._listening = on
            for listener in self._door.listeners:
                if on:
                    self._epoll.register(listener, IN)
                else:
                    self._epoll.unregister(listener)

    def _watch(self, connection: Connection, events: int) -> None:
        if events != connection.watched:
            connection.watched = events
            self._epoll.modify(connection.fd, events)

    # -- a session's life

    def _welcome(self, connection: Connection) -> None:
        self._connections[connection.fd] = connection
        connection.watched = IN
        self._epoll.register(connection.fd, IN)
        if len(self._greeting) >= self._config.handshakes_max:
            self._doom(next(iter(self._greeting)), f"more than {self._config.handshakes_max} unfinished handshakes")
        self._greeting[connection] = self._now + self._config.handshake_s

    def _doom(self, connection: Connection, reason: str, level: int = logging.WARNING) -> None:
        """End it within this round. From now on nothing is queued for it, and nothing it said is carried out."""
        if not connection.gone:
            connection.gone = True
            self._greeting.pop(connection, None)
            self._doomed[connection] = level, reason

    def _end(self, connection: Connection, level: int, reason: str) -> None:
        del self._connections[connection.fd]
        if level > logging.DEBUG:
            self._say(level, f"{connection} was cut: {reason}")
        else:
            log.debug("%s ended: %s", connection, reason)
        connection.sock.close()
        self._pressure.count(-connection.forget(), self._now)
        self._pressure.gone(connection)
        self._blocked.discard(connection)
        for post in self._hub.drop(connection):
            self._queue(post.recipients, post.data, 1)

    def _say(self, level: int, text: str) -> None:
        self._notices.say(self._now, level, text)

    def _greet(self, connection: Connection, data: bytes) -> None:
        """One step of the handshake, whatever pieces it comes in."""
        try:
            if connection.hello is None:
                connection.hello = wire.parse_hello(data)
                if connection.hello is None:
                    connection.rest = data
                    return
                self._hub.check_name(connection.hello.name)
                connection.sock.send(wire.AUTH_METHODS)
                data = data[connection.hello.size :]
            if len(data) < AUTH_CHOICE_BYTES:
                connection.rest = data
                return
            wire.check_choice(data[:AUTH_CHOICE_BYTES])
            self._hub.admit(connection, connection.hello.name, connection.hello.membership)
            connection.sock.send(wire.accepted(connection.private))
        except wire.Refused as refusal:
            self._refuse(connection, refusal)
        except OSError as fault:
            self._doom(connection, f"lost in the handshake: {fault.strerror}", logging.DEBUG)
        else:
            connection.open = True
            del self._greeting[connection]
            log.debug("%s is connected", connection)
            self._carry_out(connection, data[AUTH_CHOICE_BYTES:])

    def _refuse(self, connection: Connection, refusal: wire.Refused) -> None:
        try:
            connection.sock.send(refusal.byte)
        except OSError as fault:
            self._doom(connection, f"{refusal}, and lost: {fault.strerror}", logging.DEBUG)
        else:
            self._doom(connection, f"handshake refused: {refusal}", logging.INFO)

    # -- input

    def _read(self, connection: Connection, bytes_max: int) -> None:
        if connection.paused:  # the other end has hung up; what it said before is read when its turn comes
            self._epoll.unregister(connection.fd)
            connection.watched = 0
            return
        try:
            data = connection.read(bytes_max)
        except BlockingIOError:
            return
        except OSError as fault:
            self._doom(connection, f"lost: {fault.strerror}", logging.DEBUG)
            return
        if not data:
            self._doom(connection, "closed by the client", logging.DEBUG)
            return
        if connection.rest:
            data = connection.rest + data
            connection.rest = b""
        if connection.open:
            self._carry_out(connection, data)
        else:
            self._greet(connection, data)

    def _carry_out(self, connection: Connection, data: bytes) -> None:
        position = requests = 0
        try:
            for parcel in self._hub.parcels(connection, data):
                if self._pressure and self._pressure.must_wait(parcel.recipients, parcel.group):
                    self._pause(connection)
                    self._pressure.wait(connection)
                    break
                if requests == REQUESTS_PER_ROUND:
                    self._pause(connection)
                    self._unfinished.append(connection)
                    break
                position = parcel.end
                if parcel.request:
                    requests += 1
                    self._request(connection, parcel)
                    if connection.gone:
                        return
                elif parcel.recipients:
                    self._deliver(parcel, data)
                elif parcel.dropped:
                    self._say(logging.WARNING, f"a message of {connection} was dropped: {parcel.dropped}")
        except wire.Violation as fault:
            self._doom(connection, str(fault))
            return
        connection.rest = data[position:]

    def _request(self, connection: Connection, parcel: Parcel[Connection]) -> None:
        if parcel.request == KILL_MESS:
            self._doom(connection, "disconnected", logging.DEBUG)
            return
        change = self._hub.join if parcel.request == JOIN_MESS else self._hub.leave
        for post in change(connection, parcel.group):
            self._queue(post.recipients, post.data, 1)

    def _deliver(self, parcel: Parcel[Connection], data: bytes) -> None:
        if parcel.instead is not None:
            self._queue(parcel.recipients, parcel.instead, parcel.messages)
        else:
            self._queue(parcel.recipients, data[parcel.start : parcel.end], parcel.messages)

    def _pause(self, connection: Connection) -> None:
        connection.paused = True
        self._watch(connection, connection.watched & ~IN)

    def _resume(self, connection: Connection) -> None:
        """Let it go on with what it had said; it may have to wait again."""
        if connection.gone:
            return
        connection.paused = False
        data, connection.rest = connection.rest, b""
        self._carry_out(connection, data)
        if connection.paused or connection.gone:
            return
        if connection.watched:
            self._watch(connection, connection.watched | IN)
        else:
            connection.watched = IN
            try:
                self._epoll.modify(connection.fd, IN)
            except FileNotFoundError:  # it hung up while it waited
                self._epoll.register(connection.fd, IN)

    # -- output

    def _queue(self, recipients: Sequence[Connection], data: bytes, messages: int) -> None:
        """Queue one piece for all of them; it is written at the end of the round."""
        chunk, size, waiting = Chunk(data, messages), len(data), 0
        bytes_max, messages_max = self._config.pause_bytes, self._config.queue_messages_max
        for connection in recipients:
            if connection.gone:
                continue
            waiting += 1
            connection.queue.append(chunk)
            connection.queued_bytes += size
            connection.queued_messages += messages
            if connection.queued_bytes > bytes_max or connection.queued_messages > messages_max:
                reason = self._pressure.queued(connection, self._now)
                if reason:
                    self._doom(connection, reason)
        if waiting:
            chunk.waiting = waiting
            self._pressure.count(size + CHUNK_COST, self._now)
            self._dirty.update(recipients)

    def _write(self, connection: Connection) -> None:
        if not connection.deaf and connection.queue:
            try:
                taken = connection.write()
            except BlockingIOError:
                taken = 0
            except OSError:  # the reading side finds out what it was, after the last that it said
                connection.deaf = True
            else:
                connection.moved_at = self._now
                freed = connection.advance(taken)
                if freed:
                    self._pressure.count(-freed, self._now)
        if connection.deaf:
            self._pressure.count(-connection.forget(), self._now)
        if connection.queue:
            if not connection.watched & OUT:
                connection.moved_at = self._now
                self._blocked.add(connection)
                self._watch(connection, connection.watched | OUT)
        elif connection.watched & OUT:
            self._blocked.discard(connection)
            self._watch(connection, connection.watched & ~OUT)
        if self._pressure:
            self._pressure.wrote(connection)

    # -- time limits

    def _look_at_time_limits(self) -> None:
        config, now = self._config, self._now
        for connection in [connection for connection, until in self._greeting.items() if until <= now]:
            self._doom(connection, f"no handshake within {config.handshake_s:g} s", logging.INFO)
        for connection, reason in self._pressure.overdue(self._blocked, now):
            self._doom(connection, reason)
        for connection in [connection for connection in self._blocked if now - connection.moved_at >= config.stuck_s]:
            self._doom(connection, f"does not read: {backlog(connection)} unread, none taken for {config.stuck_s:g} s")
        if self._door.full:
            self._door.recover()
        self._listen(not self._door.full)
        self._notices.catch_up(now)
