"""`vmctl events`, with -f: past events from the store, then new ones as they come, none twice and none left out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vmmanager.context import Context, Refused
from vmmanager.events import Effect, FindEvents, Recalled, Record, Reply

FOLLOWERS_MAX = 100
LIMIT_MAX = 100_000  # rows of the past in one answer
BACKLOG_MAX = 10_000  # new events while the store still looks for the old ones


@dataclass(slots=True)
class _Follower:
    call: int
    kind: str
    subject: str
    follow: bool
    last_id: int = 0  # the newest row shown
    backlog: list[Record] | None = field(default_factory=list)  # None: the past has been shown

    def wants(self, record: Record) -> bool:
        return (not self.kind or self.kind == record.kind) and (not self.subject or self.subject == record.subject)


class Followers:
    """All calls that wait for events."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self._by_call: dict[int, _Follower] = {}

    def ask(self, call: int, args: dict[str, Any]) -> None:
        """Raises Refused."""
        limit, since = args.get("limit"), args.get("since")
        if len(self._by_call) >= FOLLOWERS_MAX:
            raise Refused("refused", f"{FOLLOWERS_MAX} others follow the events already")
        kind, subject = str(args.get("kind") or ""), str(args.get("subject") or "")
        count = min(limit, LIMIT_MAX) if isinstance(limit, int) and limit > 0 else LIMIT_MAX
        self._by_call[call] = _Follower(call, kind, subject, args.get("follow") is True)
        after = float(since) if isinstance(since, (int, float)) else 0.0
        self._c.out.append(FindEvents(call, after, count, kind, subject))

    def recalled(self, found: Recalled) -> None:
        follower = self._by_call.get(found.call)
        if follower is None:
            return
        if found.error:
            del self._by_call[found.call]
            self._c.refuse(found.call, Refused("store", f"the event history cannot be read: {found.error}"))
            return
        for row in found.rows:
            self._c.more(found.call, row)
            follower.last_id = max(follower.last_id, row["id"])
        if not follower.follow:
            del self._by_call[found.call]
            self._c.reply(found.call, {"count": len(found.rows)})
            return
        backlog, follower.backlog = follower.backlog or [], None
        for record in backlog:
            if record.id > follower.last_id:
                self._c.more(found.call, row_of(record))

    def shown(self, effects: list[Effect]) -> list[Effect]:
        """The effects of this step, and beside each event what its followers are told."""
        if not self._by_call:
            return effects
        shown: list[Effect] = []
        for effect in effects:
            shown.append(effect)
            if isinstance(effect, Record):
                shown += [Reply(f.call, {"more": row_of(effect)}, last=False) for f in self._due(effect)]
        return shown

    def _due(self, record: Record) -> list[_Follower]:
        due = []
        for follower in self._by_call.values():
            if not follower.follow or not follower.wants(record):
                continue
            if follower.backlog is None:
                due.append(follower)
            elif len(follower.backlog) < BACKLOG_MAX:
                follower.backlog.append(record)
        return due

    def hung_up(self, call: int) -> None:
        self._by_call.pop(call, None)


def row_of(record: Record) -> dict[str, Any]:
    """As docs/design/0004 has it."""
    return {
        "id": record.id, "at": record.at, "kind": record.kind, "subject": record.subject, "text": record.text,
        "details": record.details, "who": record.who,
    }  # fmt: skip
