"""What one session receives, in the Bus contract's terms: frames to deliveries, membership to views. No socket, no clock.

Messages are objects with SpreadModule's attributes; whatever else comes, or makes no sense, is dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from common.bus.contract import Cause, Delivery, View
from common.bus.fragments import KIND_WHOLE, Assembler
from common.bus.names import GroupNames
from common.bus.views import Views

REG_MEMB_MESS, CAUSED_BY_LEAVE = 0x1000, 0x200


class Intake:
    """One session's; `name` is our address in it, `groups` knows under which names groups were joined."""

    def __init__(self, name: str, groups: GroupNames) -> None:
        self._name = name
        self._groups = groups
        self._views = Views()
        self._assembler = Assembler()
        self.dropped: Counter[str] = self._assembler.dropped
        """Why something was dropped, and how often."""

    @property
    def unfinished_bytes(self) -> int:
        """Held for payloads of which something is missing."""
        return self._assembler.bytes

    def take(self, messages: Iterable[Any], now: float) -> list[Delivery | View]:
        """What `messages` mean, in their order."""
        taken: list[Delivery | View] = []
        for message in messages:
            if hasattr(message, "message"):
                item: Delivery | View | None = self._delivery(message, now)
            elif hasattr(message, "msg_subtype"):
                item = self._view(message)
            else:
                self.dropped["refused by the daemon"] += 1
                continue
            if item is not None:
                taken.append(item)
        return taken

    def expire(self, now: float) -> None:
        """Give up payloads that are never completed."""
        self._assembler.expire(now)

    def _delivery(self, message: Any, now: float) -> Delivery | None:
        groups = message.groups
        if not harmless(groups):
            self.dropped["illegal group name"] += 1
            return None
        sender, data = message.sender, message.message
        kind = message.msg_type
        if kind != KIND_WHOLE:
            data = self._assembler.receive(sender, kind, data, now)
            if data is None:
                return None
        return Delivery(sender, self._groups.full_names(groups), data)

    def _view(self, message: Any) -> View | None:
        group = self._groups.full(message.group)
        if message.msg_subtype == REG_MEMB_MESS:
            view = self._views.changed(group, message.reason, message.members, message.extra)
        elif message.msg_subtype == 0 and message.reason == CAUSED_BY_LEAVE:
            view = self._views.left(group, self._name)
        else:
            return None  # transitional: a regular one follows
        if view is not None and view.cause is Cause.DISCONNECT:
            for lost in view.changed:
                self._assembler.forget(lost)
        return view


@lru_cache(maxsize=4096)
def harmless(groups: tuple[str, ...]) -> bool:
    """Printable ASCII: daemons let clients send to names that are not."""
    return all(group.isascii() and group.isprintable() for group in groups)
