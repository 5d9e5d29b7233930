"""SpreadModule's connect() and mailbox, on a socket of our own. Knows no bus contract and does not reconnect.

One thread may receive while any others send. Complete messages never wait in this process: what `fileno` selects for and
`poll` counts is exact, as with Spread's own library, although `receive_available` takes many messages with one system call.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
import threading
import time
from typing import Final

from common.bus.spread.codec import Hello, Message, ProtocolError, encode_message, encode_request, legal_name
from common.bus.spread.connection import open_session
from common.bus.spread.constants import (
    CLIENT_VERSION,
    CONNECTION_CLOSED,
    DATA_AND_GROUPS_MAX,
    GROUP_NAME_MAX,
    GROUPS_MAX,
    ILLEGAL_GROUP,
    ILLEGAL_MESSAGE,
    ILLEGAL_SERVICE,
    JOIN_MESS,
    KILL_MESS,
    LEAVE_MESS,
    LOW_PRIORITY,
    MAX_PRIVATE_NAME,
    MESSAGE_TOO_LONG,
    NAME_BYTES,
    REGULAR_MESS,
    SELF_DISCARD,
)
from common.bus.spread.messages import (
    MembershipMsgType,
    Received,
    RefusedMsgType,
    RegularMsgType,
    error,
    received,
    spread_error,
)
from common.bus.spread.stream import Stream

CLOSE_S: Final = 1.0  # how long disconnect waits for other threads to come out of the socket


def connect(daemon: str = "4803@localhost", name: str = "", priority: int = LOW_PRIORITY, membership: int = 1) -> MailboxType:
    """Open a session. `daemon` is PORT@HOST or PORT; an empty name lets the daemon invent one. Raises spread.error."""
    if not isinstance(daemon, str) or not isinstance(name, str):
        raise TypeError("daemon and name must be strings")
    return MailboxType(daemon, name, priority, membership)


class MailboxType:
    """One session with a daemon. Made by connect(); when it is deleted it disconnects."""

    _closed = True  # until the session is open

    def __init__(self, daemon: str, name: str, priority: int, membership: int) -> None:
        cut = name.encode("utf-8", "surrogateescape")[:MAX_PRIVATE_NAME].decode("utf-8", "surrogateescape")
        session = open_session(daemon, Hello(CLIENT_VERSION, bool(membership), priority & 0x0F, cut))
        self._sock = session.sock
        self._private_group = session.private_group
        self._process = os.getpid()
        self._stream = Stream()
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self.send_timeout_s: float | None = None
        """Ours: a message that the daemon does not take within this time ends the session. None: wait for ever."""
        self._closed = False

    def __del__(self) -> None:
        self.disconnect()

    @property
    def private_group(self) -> str:
        """Our own address, #name#daemon."""
        return self._private_group

    def fileno(self) -> int:
        """For select: readable when a message, or a part of one, or the end of the session waits."""
        self._check_open("fileno")
        return self._sock.fileno()

    def poll(self) -> int:
        """How many bytes can be received without waiting. Also 0 when the daemon has closed the session."""
        self._check_open("poll")
        waiting = fcntl.ioctl(self._sock, termios.FIONREAD, b"\0" * 4)
        return int(struct.unpack("i", waiting)[0]) + self._stream.pending_bytes

    def disconnect(self) -> None:
        """End the session. Other threads that receive or send get spread.error. Harmless to repeat."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._process:
            self._sock.close()  # a forked child lets go; the session is its parent's
            return
        if self._sending.acquire(blocking=False):  # else somebody is in the middle of a message: the end says enough
            try:
                with contextlib.suppress(OSError):
                    kill = encode_request(KILL_MESS, self._private_group, self._private_group)
                    self._sock.send(kill, socket.MSG_DONTWAIT)
            finally:
                self._sending.release()
        self._shut()
        if self._receiving.acquire(timeout=CLOSE_S):
            if self._sending.acquire(timeout=CLOSE_S):
                self._sock.close()
                self._sending.release()
            self._receiving.release()

    # membership and sending ------------------------------------------------------------------------------------------------

    def join(self, group: str, /) -> None:
        self._request("join", JOIN_MESS, group)

    def leave(self, group: str, /) -> None:
        self._request("leave", LEAVE_MESS, group)

    def multicast(self, service_type: int, group: str, message: bytes | str, message_type: int = 0, /) -> int:
        """Send to one group or private address; gives the number of data bytes sent."""
        if not isinstance(group, str):
            raise TypeError(f"group must be str, not {type(group).__name__}")
        return self._multicast("multicast", service_type, (group,), message, message_type)

    def multigroup_multicast(
        self, service_type: int, groups: tuple[str, ...], message: bytes | str, message_type: int = 0, /
    ) -> int:
        """Send to several; a session that is in more than one of them gets one copy."""
        if not isinstance(groups, tuple):
            raise TypeError(f"groups must be a tuple, not {type(groups).__name__}")
        if not groups:
            raise ValueError("there must be at least one group in the tuple")
        if not all(isinstance(group, str) for group in groups):
            raise TypeError("groups must be strings only")
        return self._multicast("multigroup_multicast", service_type, groups, message, message_type)

    def _multicast(self, method: str, service: int, groups: tuple[str, ...], message: bytes | str, message_type: int) -> int:
        self._check_open(method)
        _check_service(service)
        if any("\0" in group for group in groups):
            raise ValueError("embedded null character")
        data = message.encode() if isinstance(message, str) else bytes(message)
        if len(groups) > GROUPS_MAX or len(data) > DATA_AND_GROUPS_MAX - NAME_BYTES * len(groups):
            raise spread_error(MESSAGE_TOO_LONG)
        self._send(method, encode_message(Message(service, self._private_group, groups, message_type & 0xFFFF, data)))
        return len(data)

    def _request(self, method: str, kind: int, group: str) -> None:
        if not isinstance(group, str):
            raise TypeError(f"group must be str, not {type(group).__name__}")
        self._check_open(method)
        if not legal_name(group, GROUP_NAME_MAX):
            raise spread_error(ILLEGAL_GROUP)
        self._send(method, encode_request(kind, self._private_group, group))

    def _send(self, method: str, data: bytes) -> None:
        """One whole message; messages of several threads never mix."""
        with self._sending:
            self._check_open(method)
            try:
                sent = self._sock.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            except OSError as fault:
                raise self._lost(CONNECTION_CLOSED) from fault
            if sent < len(data):
                self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        """What the kernel would not take at once. A message cut short ends the session: nothing could follow it."""
        deadline = None if self.send_timeout_s is None else time.monotonic() + self.send_timeout_s
        writable = select.poll()
        writable.register(self._sock, select.POLLOUT)
        try:
            while rest:
                wait_s = None if deadline is None else deadline - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    raise TimeoutError(f"the daemon took nothing for {self.send_timeout_s} s")
                if writable.poll(None if wait_s is None else wait_s * 1000):
                    with contextlib.suppress(BlockingIOError):
                        rest = rest[self._sock.send(rest, socket.MSG_DONTWAIT) :]
        except OSError as fault:
            raise self._lost(CONNECTION_CLOSED) from fault
        except BaseException:
            self._lost(CONNECTION_CLOSED)
            raise

    # receiving -------------------------------------------------------------------------------------------------------------

    def receive(self) -> RegularMsgType | MembershipMsgType:
        """Wait for the next message. Raises spread.error; after a (code, text) the mailbox is closed."""
        with self._receiving:
            self._check_open("receive")
            while True:
                for message in self._read(self._stream.space()[: self._stream.missing], socket.MSG_WAITALL):
                    if isinstance(message, RefusedMsgType):
                        raise message.error
                    return message

    def receive_available(self) -> list[Received]:
        """Ours, for speed: all messages that one read of at most 256 KiB completes, without waiting; often none.

        What the daemon sent back comes as RefusedMsgType. Raises spread.error when the session has ended."""
        with self._receiving:
            self._check_open("receive")
            try:
                return self._read(self._stream.space(), socket.MSG_DONTWAIT)
            except BlockingIOError:
                return []

    def _read(self, space: memoryview, flags: int) -> list[Received]:
        """One read into the stream's `space`, and what it completes."""
        try:
            count = self._sock.recv_into(space, 0, flags)
        except BlockingIOError:
            raise
        except OSError as fault:
            raise self._lost(CONNECTION_CLOSED) from fault
        if not count:
            raise self._lost(CONNECTION_CLOSED)
        try:
            return [received(message) for message in self._stream.filled(count)]
        except ProtocolError as fault:
            raise self._lost(ILLEGAL_MESSAGE) from fault

    # the end ---------------------------------------------------------------------------------------------------------------

    def _check_open(self, method: str) -> None:
        if self._closed:
            raise error(f"{method}() called on closed mbox")

    def _lost(self, code: int) -> error:
        """The session is of no use any more: wakes whoever still waits, and gives what to raise."""
        self._closed = True
        self._shut()
        return spread_error(code)

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def _check_service(service_type: int) -> None:
    """Exactly one ordering, with or without SELF_DISCARD; a daemon ends the session for anything else."""
    if service_type & ~(REGULAR_MESS | SELF_DISCARD):
        raise ValueError("invalid service type")
    ordering = service_type & REGULAR_MESS
    if ordering == 0 or ordering & (ordering - 1):
        raise spread_error(ILLEGAL_SERVICE)
