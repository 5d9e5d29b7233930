"""Who must wait for whom: back-pressure on those who send to sessions that are behind. No socket; time comes as a parameter.

A session is *behind* from the moment its queue passes the pause limits until it is down to CAUGHT_UP of them. The daemon is
*choked* while all queues together hold too much. Whoever sends to somebody who is behind waits (is not read); in a choked
daemon all senders wait. Both end in bounded time: who stays behind for `stall_s` is cut, and so is the worst while choked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from .config import BusDaemonConfig

CAUGHT_UP = 0.75
CHUNK_COST = 256  # bytes of memory that a queued chunk takes besides its data


class Reader(Protocol):
    """What is to be known of a session here."""

    queued_bytes: int
    queued_messages: int
    groups: set[bytes]


R = TypeVar("R", bound=Reader)


class Pressure(Generic[R]):
    """The books of one daemon: who is behind since when, who waits, and how much is queued."""

    def __init__(self, config: BusDaemonConfig) -> None:
        self._config = config
        self._behind: dict[R, float] = {}  # -> since when
        self._waiting: dict[R, None] = {}  # senders, first come first
        self._choked_since: float | None = None
        self._relieved = False
        self.total_bytes = 0  # queued, each chunk counted once

    def __bool__(self) -> bool:
        """Whether anybody may have to wait now."""
        return bool(self._behind) or self._choked_since is not None

    # -- what happens to queues

    def queued(self, reader: R, now: float) -> str | None:
        """Its queue has passed the pause limit or a hard one; returns the reason to cut it at once, if it is to be cut."""
        config = self._config
        if reader.queued_bytes > config.queue_bytes_max or reader.queued_messages > config.queue_messages_max:
            return f"reads too slowly: {backlog(reader)} unread, the limit is reached"
        if reader.queued_bytes > config.pause_bytes and reader.queued_messages > config.pause_messages:
            self._behind.setdefault(reader, now)
        return None

    def wrote(self, reader: R) -> None:
        """It has read something."""
        if reader in self._behind and (
            reader.queued_bytes <= self._config.pause_bytes * CAUGHT_UP
            or reader.queued_messages <= self._config.pause_messages * CAUGHT_UP
        ):
            del self._behind[reader]
            self._relieved = True

    def count(self, change: int, now: float) -> None:
        """The bytes queued for all together have changed."""
        self.total_bytes += change
        if self._choked_since is None:
            if self.total_bytes > self._config.total_bytes_max:
                self._choked_since = now
        elif self.total_bytes < self._config.total_bytes_max * CAUGHT_UP:
            self._choked_since = None
            self._relieved = True

    def gone(self, session: R) -> None:
        """It neither reads nor waits any more."""
        self._waiting.pop(session, None)
        if self._behind.pop(session, None) is not None:
            self._relieved = True

    # -- who waits

    def must_wait(self, recipients: Sequence[R], group: bytes = b"") -> bool:
        """Whether a message to `recipients`, or a change of `group`, has to wait for somebody who is behind."""
        if group:
            return any(group in reader.groups for reader in self._behind)
        return bool(recipients) and (self._choked_since is not None or not self._behind.keys().isdisjoint(recipients))

    def wait(self, sender: R) -> None:
        self._waiting[sender] = None

    def may_go_on(self) -> list[R]:
        """Those who waited and may try again, in the order they came; empty while nothing has changed for them."""
        if not self._relieved:
            return []
        self._relieved = False
        senders = list(self._waiting)
        self._waiting.clear()
        return senders

    # -- time limits

    def overdue(self, blocked: Iterable[R], now: float) -> list[tuple[R, str]]:
        """Whom to cut now, and why. `blocked` are all who have something unread."""
        stall_s = self._config.stall_s
        found = [
            (reader, f"reads too slowly: {backlog(reader)} unread, others waited {stall_s:g} s")
            for reader, since in self._behind.items()
            if now - since >= stall_s
        ]
        if self._choked_since is not None and now - self._choked_since >= stall_s and not found:
            self._choked_since = now  # one at a time: it may be enough
            worst = max(blocked, key=lambda reader: reader.queued_bytes, default=None)
            if worst is not None:
                found.append((worst, f"reads too slowly: {backlog(worst)} unread, all queues together are full"))
        return found


def backlog(reader: Reader) -> str:
    """How far behind it is, for a log line."""
    return f"{reader.queued_bytes / 1e6:.1f} MB in {reader.queued_messages} messages"
