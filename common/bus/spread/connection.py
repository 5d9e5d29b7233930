"""Opens a session with a Spread daemon: address, socket, handshake. Knows no message."""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import Final

from common.bus.spread.codec import (
    Accepted,
    Hello,
    ProtocolError,
    decode_accepted,
    decode_auth_methods,
    encode_auth_choice,
    encode_hello,
    signed_byte,
)
from common.bus.spread.constants import (
    ACCEPT_SESSION,
    AUTH_NULL,
    CONNECTION_CLOSED,
    COULD_NOT_CONNECT,
    DAEMON_MAJOR_MIN,
    DEFAULT_SPREAD_PORT,
    ILLEGAL_SPREAD,
    REJECT_AUTH,
    REJECT_VERSION,
)
from common.bus.spread.messages import spread_error

CONNECT_S: Final = 20.0  # for all of it; a real daemon stops accepting for 1 s for each silent peer before us
# A peer that is gone without a word (power, cable) is noticed within about this time, idle or sending.
DEAD_PEER_S: Final = 20
KEEPALIVE_IDLE_S: Final = 8
KEEPALIVE_INTERVAL_S: Final = 4
KEEPALIVE_COUNT: Final = 3  # 8 + 3 * 4 = 20
UNIX_BUFFER_BYTES: Final = 200 * 1024  # as Spread; TCP is left to the kernel, which grows its buffers beyond that


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon listens: a unix socket's `path`, or host and port."""

    path: str = ""
    host: str = ""
    port: int = 0


def parse_daemon(daemon: str) -> Address:
    """PORT@HOST, or PORT for the unix socket of that port, or nothing for that of 4803, or (ours) the path of a unix socket.

    Raises spread.error ILLEGAL_SPREAD."""
    if daemon.startswith("/"):
        return Address(path=daemon)
    text, at, host = daemon.partition("@")
    port = text or str(DEFAULT_SPREAD_PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536) or (at and not (text and host)):
        raise spread_error(ILLEGAL_SPREAD)
    return Address(host=host, port=int(port)) if at else Address(path=f"/tmp/{int(port)}")


@dataclass(frozen=True, slots=True)
class Session:
    """An accepted session: its socket, blocking, and what the daemon said."""

    sock: socket.socket
    private_group: str
    daemon_version: tuple[int, int, int]


def open_session(daemon: str, hello: Hello, timeout_s: float = CONNECT_S) -> Session:
    """Raises spread.error with the code that Spread's own library would give."""
    deadline = time.monotonic() + timeout_s
    sock = _open_socket(parse_daemon(daemon), timeout_s)
    try:
        accepted = _handshake(sock, hello, deadline)
        sock.settimeout(None)
    except BaseException:
        sock.close()
        raise
    return Session(sock, accepted.private_group, accepted.version)


def _open_socket(address: Address, timeout_s: float) -> socket.socket:
    if address.path:
        return _open_unix(address.path, timeout_s)
    try:
        sock = socket.create_connection((address.host, address.port), timeout_s)
    except (socket.gaierror, UnicodeError) as fault:
        raise spread_error(ILLEGAL_SPREAD) from fault
    except OSError as fault:
        raise spread_error(COULD_NOT_CONNECT) from fault
    _tune_tcp(sock)
    return sock


def _open_unix(path: str, timeout_s: float) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_BUFFER_BYTES)
        sock.connect(path)
    except OSError as fault:
        sock.close()
        raise spread_error(COULD_NOT_CONNECT) from fault
    return sock


def _tune_tcp(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tuned = {
        "TCP_KEEPIDLE": KEEPALIVE_IDLE_S,
        "TCP_KEEPINTVL": KEEPALIVE_INTERVAL_S,
        "TCP_KEEPCNT": KEEPALIVE_COUNT,
        "TCP_USER_TIMEOUT": DEAD_PEER_S * 1000,
    }
    for option, value in tuned.items():
        if hasattr(socket, option):
            with contextlib.suppress(OSError):  # an older kernel: slower to notice, nothing worse
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _handshake(sock: socket.socket, hello: Hello, deadline: float) -> Accepted:
    _send(sock, encode_hello(hello), deadline)
    methods = decode_auth_methods(_receive(sock, _accepted_byte(sock, deadline), deadline))
    if AUTH_NULL not in methods:
        raise spread_error(REJECT_AUTH)
    _send(sock, encode_auth_choice([AUTH_NULL]), deadline)
    if _accepted_byte(sock, deadline) != ACCEPT_SESSION:
        raise spread_error(REJECT_AUTH)
    head = _receive(sock, 4, deadline)
    try:
        accepted = decode_accepted(head + _receive(sock, head[3], deadline))
    except ProtocolError:
        raise spread_error(CONNECTION_CLOSED) from None
    if accepted.version[0] < DAEMON_MAJOR_MIN:
        raise spread_error(REJECT_VERSION)
    return accepted


def _accepted_byte(sock: socket.socket, deadline: float) -> int:
    """The daemon's next answer byte; a reject code is raised."""
    byte = signed_byte(_receive(sock, 1, deadline))
    if byte < 0:
        raise spread_error(byte)
    return byte


def _send(sock: socket.socket, data: bytes, deadline: float) -> None:
    """All in one packet: it is far smaller than an empty send buffer."""
    try:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        sock.sendall(data)
    except OSError as fault:
        raise spread_error(CONNECTION_CLOSED) from fault


def _receive(sock: socket.socket, count: int, deadline: float) -> bytes:
    """Exactly `count` bytes; the daemon sends its answers in pieces."""
    data = b""
    while len(data) < count:
        try:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            chunk = sock.recv(count - len(data))
        except OSError as fault:
            raise spread_error(CONNECTION_CLOSED) from fault
        if not chunk:
            raise spread_error(CONNECTION_CLOSED)
        data += chunk
    return data
