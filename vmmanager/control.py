"""The unix socket of vmctl (docs/design/0004): lines of JSON in, events out; replies in, lines out. Its own thread.

Whoever may open the socket may steer the farm, so its mode is the door: 0600, or 0660 for a group. A vmctl that is slow, hangs
or talks nonsense costs its own connection and nothing else. Knows no operation.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import selectors
import socket
import stat
import struct
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from common import logs
from vmmanager.events import Asked, HungUp, Reply
from vmmanager.mailbox import Mailbox

FILE = "vmmanager.sock"
LINE_BYTES_MAX = 16 * 1024 * 1024
CONNECTIONS_MAX = 64
BACKLOG = 1024  # a vmctl that comes while so many wait is told EAGAIN by the kernel
BUFFERED_BYTES_MAX = 64 * 1024 * 1024  # of unread answers; a vmctl that reads nothing is cut beyond that
IDLE_S = 2.0  # a connection that asks nothing for so long gives way to a new one, when there are too many
PAUSE_S = 1.0  # where none can be let in (no file descriptor is left), so long until the next try
READ_BYTES = 1 << 18
_PEERCRED = struct.Struct("3i")  # pid, uid, gid: unix(7)
_log = logs.part("control")


class ControlFault(Exception):
    """The socket cannot be made; the text says which and why."""


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    who: str
    since: float  # monotonic; when it asked, or was answered, last
    read: bytearray = field(default_factory=bytearray)
    searched: int = 0  # no newline before this place
    call: int = 0  # what it waits for; 0: nothing
    unsent: deque[memoryview] = field(default_factory=deque)
    unsent_bytes: int = 0
    ending: bool = False  # to be closed once all is sent


class Control:
    """`ask` takes Asked and HungUp to the core; False means it is too busy."""

    def __init__(self, run: Path, group: str, ask: Callable[[Asked | HungUp], bool]) -> None:
        self.path = run / FILE
        self._wakeup, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._wakeup.setblocking(False)
        self.replies: Mailbox[Reply] = Mailbox("control", 100_000, on_put=self._wake)
        self._ask = ask
        self._next_call = 0
        self._connections: dict[int, _Connection] = {}  # by file descriptor
        self._calls: dict[int, _Connection] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(self.path, group)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._stopping = False
        self._paused_until = 0.0
        self._limited = logs.RateLimited(_log)

    def run(self) -> None:
        """The thread; until `stop`."""
        try:
            while not self._stopping:
                for key, mask in self._selector.select(PAUSE_S if self._paused_until else None):
                    self._ready(key.fileobj, mask)
                if self._paused_until and time.monotonic() >= self._paused_until:
                    self._paused_until = 0.0
                    self._selector.register(self._listener, selectors.EVENT_READ)
                for reply in self.replies.take(0.0):
                    self._reply(reply)
        finally:
            self._close()

    def stop(self) -> None:
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it is over
            self._waker.send(b"w")

    def _ready(self, where: Any, mask: int) -> None:
        if where is self._listener:
            self._accept()
        elif where is self._wakeup:
            with contextlib.suppress(BlockingIOError):
                self._wakeup.recv(4096)
        else:
            connection = self._connections.get(where.fileno())
            if connection and mask & selectors.EVENT_WRITE:
                self._flush(connection)
            if connection and mask & selectors.EVENT_READ and where.fileno() >= 0:
                self._receive(connection)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as fault:  # EMFILE, or it has gone already
            self._limited.log("accept", f"a vmctl could not be let in: {fault}", "{} more vmctl could not be let in")
            self._selector.unregister(self._listener)  # it would wake us again at once
            self._paused_until = time.monotonic() + PAUSE_S
            return
        if len(self._connections) >= CONNECTIONS_MAX and not self._make_room():
            with contextlib.suppress(OSError):
                accepted.setblocking(False)
                accepted.send(_line({"ok": False, "code": "refused", "error": "too many vmctl are connected already"}))
            accepted.close()
            return
        accepted.setblocking(False)
        self._connections[accepted.fileno()] = _Connection(accepted, _user(accepted), time.monotonic())
        self._selector.register(accepted, selectors.EVENT_READ)

    def _make_room(self) -> bool:
        """Ends the connection that has been idle longest: who only holds connections open locks nobody out."""
        idle = [one for one in self._connections.values() if not one.call and not one.unsent]
        oldest = min(idle, key=lambda one: one.since, default=None)
        if oldest is None or time.monotonic() - oldest.since < IDLE_S:
            return False
        self._drop(oldest)
        return True

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        if not connection.ending:
            connection.read += data
            self._next_line(connection)

    def _next_line(self, connection: _Connection) -> None:
        """One request at a time; what comes behind it waits."""
        while not connection.call and not connection.ending:
            end = connection.read.find(b"\n", connection.searched)
            if end < 0:
                connection.searched = len(connection.read)
                break
            line = bytes(connection.read[:end])
            del connection.read[: end + 1]
            connection.searched = 0
            self._request(connection, line)
        if len(connection.read) > LINE_BYTES_MAX:
            self._refuse(connection, f"a request may have {LINE_BYTES_MAX} bytes", ending=True)

    def _request(self, connection: _Connection, line: bytes) -> None:
        try:
            request = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, ValueError):
            self._refuse(connection, "a request is one JSON object on one line", ending=True)
            return
        op = request.get("op") if isinstance(request, dict) else None
        args = request.get("args", {}) if isinstance(request, dict) else None
        if not isinstance(op, str) or not isinstance(args, dict):
            self._refuse(connection, 'a request is {"op": "...", "args": {...}}', ending=True)
            return
        self._next_call += 1
        if not self._ask(Asked(self._next_call, op, args, connection.who)):
            self._refuse(connection, "the manager has too much to do; ask again", code="refused")
            return
        connection.call, connection.since = self._next_call, time.monotonic()
        self._calls[connection.call] = connection

    def _refuse(self, connection: _Connection, text: str, *, code: str = "usage", ending: bool = False) -> None:
        connection.ending = connection.ending or ending
        self._send(connection, _line({"ok": False, "error": text, "code": code}))

    def _reply(self, reply: Reply) -> None:
        connection = self._calls.get(reply.call)
        if connection is None:
            return
        if reply.last:
            del self._calls[reply.call]
            connection.call, connection.since = 0, time.monotonic()
        line = _line(reply.body)
        if len(line) > LINE_BYTES_MAX:
            line = _line({"ok": False, "code": "refused", "error": "the answer is over 16 MiB: ask for less"} if reply.last else
                         {"more": {"error": "this part of the answer is over 16 MiB and left out"}})  # fmt: skip
        self._send(connection, line)
        if reply.last:
            self._next_line(connection)

    def _send(self, connection: _Connection, line: bytes) -> None:
        connection.unsent.append(memoryview(line))
        connection.unsent_bytes += len(line)
        if connection.unsent_bytes > BUFFERED_BYTES_MAX:
            _log.warning("a vmctl of %s reads nothing: cut with %d bytes unread", connection.who, connection.unsent_bytes)
            self._drop(connection)
        elif len(connection.unsent) == 1:
            self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        try:
            while connection.unsent:
                sent = connection.socket.send(connection.unsent[0])
                connection.unsent_bytes -= sent
                if sent < len(connection.unsent[0]):
                    connection.unsent[0] = connection.unsent[0][sent:]
                else:
                    connection.unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
            return
        if connection.ending and not connection.unsent:
            self._drop(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        self._selector.modify(connection.socket, events)

    def _drop(self, connection: _Connection) -> None:
        fileno = connection.socket.fileno()
        if fileno < 0 or self._connections.pop(fileno, None) is None:
            return
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection.call:
            self._calls.pop(connection.call, None)
            self._ask(HungUp(connection.call))
            connection.call = 0

    def _close(self) -> None:
        for reply in self.replies.take(0.0):
            self._reply(reply)
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._listener.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._selector.close()
        self._wakeup.close()
        self._waker.close()


def _listen(path: Path, group: str) -> socket.socket:
    """Raises ControlFault. A socket file that nobody listens on is left from a daemon that died, and is replaced."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(before)
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
            path.chmod(0o660)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except KeyError:
        raise ControlFault(f"control_group = {group}: there is no such group") from None
    except OSError as fault:
        raise ControlFault(f"{path}: {fault.strerror or fault}") from None
    return listener


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlFault(f"{path}: is in the way and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass
    raise ControlFault(f"{path}: another vmmanager listens there")


def _user(accepted: socket.socket) -> str:
    """Who has connected, by the kernel's word."""
    _, uid, _ = _PEERCRED.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _line(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body) + b"\n"
