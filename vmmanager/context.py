"""What all parts of the manager's core share: the state, the instant, the effects of this step. No clock, no thread."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from common.config.model import ManagerConfig
from common.protocol import Message, Value
from vmmanager.events import Effect, Moment, Note, Persist, Record, Reply, Send
from vmmanager.state import Farm

PRIVATE_MAX = 16  # more targets than this: one multicast to the group instead of many private addresses (Spread: at most 43)

AHEAD_NS = 1_000_000_000  # ids run so far ahead of the clock: it was set back
RESERVE = 1_000_000_000  # ids noted on disk at a time while they do

HELD_MAX = 10_000  # events kept until the store is open


class Refused(Exception):
    """A request of vmctl that is not carried out. `code` as docs/design/0004 lists them, the text is one sentence."""

    def __init__(self, code: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.code = code
        self.more = more

    def body(self) -> dict[str, Any]:
        return {"ok": False, "error": str(self), "code": self.code, **self.more}


@dataclass(slots=True)
class Context:
    """One per manager. `now` is the instant of the running step, `out` what it has decided so far."""

    config: ManagerConfig
    now: Moment
    farm: Farm = field(default_factory=Farm)
    out: list[Effect] = field(default_factory=list)
    address: str = ""  # our private address on the bus; empty: not connected
    epoch: int = 0  # of the reign we lead or follow
    last_id: int = 0
    reserved: int = 0  # on disk: no id above it has been used
    last_event: int = -1  # id of the newest event; -1: the store has not told yet
    held: list[Record] = field(default_factory=list)  # events from before that

    @property
    def name(self) -> str:
        return self.config.name

    def next_id(self) -> int:
        """Ids of messages rise strictly, also over restarts, because they start from the clock in ns."""
        self.last_id = max(self.last_id + 1, int(self.now.wall * 1e9))
        self.reserve_ids()
        return self.last_id

    def reserve_ids(self) -> None:
        """Where the clock was set back the disk knows how far the ids are: or all that we say after a restart would count as
        replayed until the clock is there again."""
        if self.last_id > int(self.now.wall * 1e9) + AHEAD_NS and self.last_id >= self.reserved:
            self.reserved = self.last_id + RESERVE
            self.out.append(Persist("fact", "ids", {"reserved": self.reserved}))

    def note(self, text: str, level: Literal["debug", "info", "warning", "error"] = "info", part: str = "manager") -> None:
        self.out.append(Note(text, level, part))

    def record(self, kind: str, subject: str, text: str, details: dict[str, Value] | None = None, who: str = "") -> None:
        self.emit(Record(self.now.wall, kind, subject, text, details or {}, who))

    def emit(self, record: Record) -> None:
        """Gives the record its id, as soon as the store has told which."""
        if self.last_event >= 0:
            self.last_event += 1
            self.out.append(replace(record, id=self.last_event))
        elif len(self.held) < HELD_MAX:
            self.held.append(record)

    def loaded(self, last_event: int) -> None:
        """The store is open: `last_event` is the newest id in it."""
        self.last_event = max(self.last_event, last_event)
        held, self.held = self.held, []
        for record in held:
            self.emit(record)

    def send(
        self,
        message: Message,
        to: tuple[str, ...],
        addresses: tuple[str, ...],
        *,
        ttl_s: float = 60.0,
        in_reply_to: int = 0,
    ) -> int:
        """Returns the id under which it goes out."""
        id = self.next_id()
        self.out.append(Send(message, to, addresses, id, self.epoch, ttl_s, in_reply_to))
        return id

    def reply(self, call: int, result: Any) -> None:
        if call:
            self.out.append(Reply(call, {"ok": True, "result": result}))

    def more(self, call: int, piece: dict[str, Any]) -> None:
        if call:
            self.out.append(Reply(call, {"more": piece}, last=False))

    def refuse(self, call: int, refused: Refused) -> None:
        if call:
            self.out.append(Reply(call, refused.body()))
