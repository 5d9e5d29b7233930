"""The bus contract: named groups, one total order, views of who is there. Knows no engine, no socket, no thread.

Every engine (Spread, vmbus, in-memory) keeps these promises, and tests/bus/test_contract.py holds each of them to it:

- All members of all groups see all deliveries and views in one order (Spread's AGREED service).
- A sender's own payload comes back to it when it is a member of a target group.
- A payload arrives once at each receiver, whole, or not at all; up to PAYLOAD_BYTES_MAX.
- `send` needs no membership. A private address (`name`) is a valid target: unicast.
- More than 43 targets travel in batches: a receiver sees the targets of one batch, and receivers in different batches may see
  the payload at different places in the order. Up to 43 there is one place.
- A group may have any printable name of 1 to 255 characters; names.py cuts it for the engine. Views give it back as joined.
- Who leaves a group sees a last view of it without members; `close` leaves all groups, so that the others see LEAVE.
- When the connection is lost, `receive` gives Closed, the engine reconnects by itself with back-off and jitter, joins again
  what was joined, and gives Opened. What was sent meanwhile is not kept: `send` raises BusDown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

PAYLOAD_BYTES_MAX = 16 * 1024 * 1024  # one message, after our fragments are joined (DESIGN section 4)
GROUP_BYTES_MAX = 31  # Spread: MAX_GROUP_NAME 32 with its NUL
PRIVATE_BYTES_MAX = 10  # Spread: MAX_PRIVATE_NAME


class BusError(Exception):
    """The bus refused: a bad name, too large a payload. The text says which."""


class BusDown(BusError):
    """Not connected now; the engine is reconnecting."""


class Cause(Enum):
    """What changed a view."""

    JOIN = "join"
    LEAVE = "leave"
    DISCONNECT = "disconnect"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One payload. `sender` is the private address of the session that sent it; `groups` are all its targets."""

    sender: str
    groups: tuple[str, ...]
    payload: bytes


@dataclass(frozen=True, slots=True)
class View:
    """The members of a group, in the order all members agree on. `changed` are those who joined, left or were lost."""

    group: str
    members: tuple[str, ...]
    cause: Cause
    changed: tuple[str, ...]
    primary: bool = True

    @property
    def leader(self) -> str | None:
        """The private address that leads this view: the first member of a primary view."""
        return self.members[0] if self.primary and self.members else None


@dataclass(frozen=True, slots=True)
class Opened:
    """Connected, first or again; `name` is our private address from now on. Groups are joined again already."""

    name: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is lost (`final` False: reconnecting) or was closed by us (`final` True)."""

    reason: str
    final: bool = False


Received = Delivery | View | Opened | Closed


class Bus(Protocol):
    """One connection to the bus. One thread receives; any thread may send, join and leave."""

    @property
    def name(self) -> str:
        """Our private address now; empty while not connected."""

    def join(self, group: str) -> None: ...

    def leave(self, group: str) -> None: ...

    def send(self, groups: tuple[str, ...], payload: bytes) -> None:
        """Send to every member of every group, once each. Raises BusDown, BusError."""

    def receive(self, timeout_s: float | None) -> Received | None:
        """The next thing in order; None when `timeout_s` passed first. The first thing ever received is Opened.

        After Closed(final=True) it gives that again for ever."""

    def close(self) -> None:
        """Leave orderly; wakes the receiver with Closed(final=True). Idempotent."""
