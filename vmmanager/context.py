"""What all parts of the manager's core share: the state, the instant, the effects of this step. No clock, no thread, no socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from common.config.model import ManagerConfig
from common.protocol import Message, Value
from vmmanager.events import Effect, Moment, Note, Record, Reply, Send
from vmmanager.state import Farm

PRIVATE_MAX = 16  # more targets than this: one multicast to the group instead of many private addresses (Spread: at most 43)


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
    last_event: int = 0

    @property
    def name(self) -> str:
        return self.config.name

    def next_id(self) -> int:
        """Ids of messages rise strictly, also over restarts, because they start from the clock in ns."""
        self.last_id = max(self.last_id + 1, int(self.now.wall * 1e9))
        return self.last_id

    def note(self, text: str, level: Literal["debug", "info", "warning", "error"] = "info", part: str = "manager") -> None:
        self.out.append(Note(text, level, part))

    def record(self, kind: str, subject: str, text: str, details: dict[str, Value] | None = None, who: str = "") -> None:
        self.emit(Record(self.now.wall, kind, subject, text, details or {}, who))

    def emit(self, record: Record) -> Record:
        """Gives the record its id."""
        self.last_event += 1
        numbered = Record(
            record.at, record.kind, record.subject, record.text, record.details, record.who, self.last_event
        )
        self.out.append(numbered)
        return numbered

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
