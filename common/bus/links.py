"""One session on a module with SpreadModule's API: ours, or the original C extension. Knows no contract, does not reconnect.

NativeLink uses what our module offers beyond that API, for speed and for bounded waiting; PlainLink uses nothing beyond it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from common.bus import spread
from common.bus.contract import BusError

NATIVE: Final = "common.bus.spread"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_MESSAGES_AT_ONCE: Final = 100
_HEADER_BYTES: Final = 48  # fewer bytes than a header are no message yet


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a daemon may be busy before we take it for stuck, and its session for lost."""

    send_s: float = 15.0  # for taking one message of ours; vmbus may hold a sender back for 5 s
    idle_s: float = 20.0  # when nothing was heard for so long we send a message to ourselves, ...
    answer_s: float = 25.0  # ... and wait for it. A ring of Spread daemons that forms anew is silent for up to 8 s on a WAN


class LinkError(Exception):
    """The session could not be opened or has ended; the text says why."""


class NameTaken(LinkError):
    """Another session has this private name."""


class Link(Protocol):
    """One thread reads, any thread sends. Every method may raise LinkError."""

    name: str
    guarded: bool
    """Its sends may wait for ever: `overdue` is to be asked."""

    def fileno(self) -> int: ...

    def receive(self) -> list[Any]:
        """After `fileno` became readable: messages with SpreadModule's attributes, often several, perhaps none."""

    def send(self, groups: tuple[str, ...], data: bytes, kind: int) -> None: ...

    def join(self, group: str) -> None: ...

    def leave(self, group: str) -> None: ...

    def overdue(self) -> bool:
        """Has a sender been waiting for the daemon for too long?"""

    def abort(self) -> None:
        """End it at once; whoever sends or receives gets LinkError. Any thread."""

    def close(self) -> None:
        """Give back what it holds; by the reading thread."""


def load_module(name: str) -> Any:
    """The module to open links on. Raises BusError when it cannot be had."""
    try:
        return importlib.import_module(name)
    except ImportError as fault:
        raise BusError(f"[bus] module = {name}: cannot be imported: {fault}") from fault


def open_link(module: Any, daemon: str, name: str, membership: bool, send_s: float) -> Link:
    """Raises LinkError, NameTaken."""
    try:
        mailbox = module.connect(daemon, name, 0, int(membership))
    except module.error as fault:
        code, text = _explain(fault)
        kind = NameTaken if code == spread.REJECT_NOT_UNIQUE else LinkError
        raise kind(f"{daemon}: {text}") from fault
    except TypeError as fault:  # a variant of the C extension that wants bytes for names
        raise LinkError(f"[bus] module = {module.__name__} has not SpreadModule's API: {fault}") from fault
    return NativeLink(mailbox, send_s) if module is spread else PlainLink(module, mailbox, send_s)


def _explain(fault: Exception) -> tuple[int, str]:
    """Code (0: none) and text of a spread.error; the system's own reason too, where there is one."""
    cause = fault.__cause__
    why = f" ({cause.strerror or cause})" if isinstance(cause, OSError) else f" ({cause})" if cause else ""
    if len(fault.args) == 2 and isinstance(fault.args[0], int):
        return fault.args[0], f"{fault.args[1]}{why}"
    return 0, f"{fault}{why}"


class NativeLink:
    """On our own mailbox: many messages a read, and sends that give up by themselves."""

    guarded = False

    def __init__(self, mailbox: spread.MailboxType, send_s: float) -> None:
        self._mailbox = mailbox
        mailbox.send_timeout_s = send_s
        self.name = mailbox.private_group

    def fileno(self) -> int:
        return _native(self._mailbox.fileno)

    def receive(self) -> list[Any]:
        return _native(self._mailbox.receive_available)

    def send(self, groups: tuple[str, ...], data: bytes, kind: int) -> None:
        _native(self._mailbox.multigroup_multicast, spread.AGREED_MESS, groups, data, kind)

    def join(self, group: str) -> None:
        _native(self._mailbox.join, group)

    def leave(self, group: str) -> None:
        _native(self._mailbox.leave, group)

    def overdue(self) -> bool:
        return False

    def abort(self) -> None:
        self._mailbox.disconnect()

    def close(self) -> None:
        self._mailbox.disconnect()


def _native(method: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
    try:
        return method(*arguments, **named)
    except spread.error as fault:
        raise LinkError(_explain(fault)[1]) from fault


class PlainLink:
    """On any mailbox with SpreadModule's API. Its sends can wait for ever, so `overdue` tells when to abort it."""

    guarded = True

    def __init__(self, module: Any, mailbox: Any, send_s: float) -> None:
        self._send_s = send_s
        self._error: type[Exception] = module.error
        self._mailbox = mailbox
        self._sending = threading.Lock()
        self._since: float | None = None  # a sender has been in the module since then
        self.name = text(mailbox.private_group)
        # Our own handle on the same connection, to end it under a call that is stuck in the module.
        self._handle = socket.socket(fileno=os.dup(mailbox.fileno()))

    def fileno(self) -> int:
        return self._handle.fileno()

    def receive(self) -> list[Any]:
        messages: list[Any] = []
        try:
            messages.append(self._mailbox.receive())
            while len(messages) < _MESSAGES_AT_ONCE and self._mailbox.poll() >= _HEADER_BYTES:
                messages.append(self._mailbox.receive())
        except self._error as fault:
            code, reason = _explain(fault)
            if (code or "closed" in reason) and not messages:
                raise LinkError(reason) from fault
        return messages

    def send(self, groups: tuple[str, ...], data: bytes, kind: int) -> None:
        self._call(self._mailbox.multigroup_multicast, spread.AGREED_MESS, groups, data, kind)

    def join(self, group: str) -> None:
        self._call(self._mailbox.join, group)

    def leave(self, group: str) -> None:
        self._call(self._mailbox.leave, group)

    def _call(self, method: Any, *arguments: Any) -> None:
        with self._sending:
            self._since = time.monotonic()
            try:
                method(*arguments)
            except self._error as fault:
                raise LinkError(_explain(fault)[1]) from fault
            finally:
                self._since = None

    def overdue(self) -> bool:
        since = self._since
        return since is not None and time.monotonic() - since > self._send_s

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.abort()
        with contextlib.suppress(self._error):
            self._mailbox.disconnect()
        self._handle.close()


def text(name: str | bytes) -> str:
    """A name as str; some versions of the C extension give bytes."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
