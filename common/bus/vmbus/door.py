"""The daemon's listening sockets: bind, accept, and what to do when descriptors run out. Knows no protocol but one byte."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from common.bus.spread.constants import REJECT_QUOTA

from .config import BusDaemonConfig
from .connection import Connection
from .wire import Refused

BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn
ACCEPTS_PER_ROUND = 64  # so that a rush of connects does not keep the sessions waiting
KEEPALIVE = (
    (socket.TCP_KEEPIDLE, 8),
    (socket.TCP_KEEPINTVL, 4),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, 20_000),  # ms; also where data is under way, which keepalive does not watch
)  # a host that vanished without a word is noticed after 8 + 3 * 4 = 20 s, as our client notices a vanished daemon


class BusDaemonError(Exception):
    """The daemon cannot start; the text says why, for the operator."""


def bind(config: BusDaemonConfig) -> list[socket.socket]:
    """The listening sockets, TCP first. Accepted sockets inherit their options. Raises BusDaemonError."""
    listeners = [_bind_tcp(config)]
    try:
        if config.unix_path is not None:
            listeners.append(_bind_unix(config.unix_path, config))
    except BusDaemonError:
        listeners[0].close()
        raise
    return listeners


def _bind_tcp(config: BusDaemonConfig) -> socket.socket:
    where = f"{config.host}:{config.port}"
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as fault:
        raise BusDaemonError(f"cannot listen on {where}: {fault.strerror}") from fault
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # IPv4 where there is both
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
        _prepare(listener, config)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as fault:
        listener.close()
        hint = " (is another vmbus or Spread running there?)" if fault.errno == errno.EADDRINUSE else ""
        raise BusDaemonError(f"cannot listen on {where}: {fault.strerror}{hint}") from fault
    return listener


def _bind_unix(path: Path, config: BusDaemonConfig) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _prepare(listener, config)
        _remove_stale(path)
        os.fchmod(listener.fileno(), config.unix_mode)  # the file has it from its first moment, but for the umask
        listener.bind(str(path))
        path.chmod(config.unix_mode)
        listener.listen(BACKLOG)
    except OSError as fault:
        listener.close()
        raise BusDaemonError(f"cannot listen on {path}: {fault.strerror or fault}") from fault
    return listener


def _prepare(listener: socket.socket, config: BusDaemonConfig) -> None:
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.socket_buffer_bytes)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, config.socket_buffer_bytes)


def _remove_stale(path: Path) -> None:
    """Take away a socket that nobody listens on any more. Raises OSError if it is alive, or is not a socket."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        raise OSError(errno.EADDRINUSE, "another daemon listens there")


class Door:
    """Accepts connections. Keeps one descriptor in reserve, so that a newcomer for whom none is left can be told so."""

    def __init__(self, config: BusDaemonConfig) -> None:
        self.listeners = bind(config)
        self._unix_path = config.unix_path
        self._reserve = _spare()
        self.full = False  # not even the reserve is left: do not ask again before some session has ended

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listeners[0].getsockname()[:2]
        return host, port

    def accept(self, listener: socket.socket) -> Iterator[Connection]:
        """Those who wait at `listener`, a limited number of them. Raises OSError when there is no descriptor left for one; he
        has been told."""
        for _ in range(ACCEPTS_PER_ROUND):
            try:
                sock, address = listener.accept()
                sock.setblocking(False)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                self._turn_away(listener)
                raise
            yield Connection(sock, address)

    def _turn_away(self, listener: socket.socket) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            with sock:
                sock.send(Refused(REJECT_QUOTA).byte)
        self._reserve = _spare()
        self.full = self._reserve is None

    def recover(self) -> None:
        """Try to have a reserve again; call it now and then while `full`."""
        if self._reserve is None:
            self._reserve = _spare()
        self.full = self._reserve is None

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        if self._unix_path is not None:
            self._unix_path.unlink(missing_ok=True)
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def _spare() -> int | None:
    try:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
