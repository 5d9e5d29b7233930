"""What must outlive a manager: slots, who froze or excluded what, pauses, requests. Rows on disk and with the standbys. Pure.

Every manager keeps it; the leader alone changes it, and tells each change to the others. A row says where a slot is on its way;
what is so is looked at anew by who takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from common.protocol import Value
from vmmanager.context import Context
from vmmanager.environments.breakers import Breaker, breaker_of
from vmmanager.environments.requests import Request, request_of
from vmmanager.environments.slots import NEVER, Slot, State
from vmmanager.events import Persist

TABLES = ("slot", "environment", "request")
VERB = "environment-row"  # the CONTROL that carries one row
Tell = Callable[[str, dict[str, Value]], object]
Row = tuple[str, str, dict[str, Value]]


@dataclass(frozen=True, slots=True)
class Word:
    """What an operator has said: frozen, excluded."""

    who: str
    why: str
    at: float  # wall clock

    def row(self) -> dict[str, Value]:
        return {"who": self.who, "why": self.why, "at": self.at}


@dataclass(slots=True)
class Book:
    """`nodes`: by slot, what the batch system calls its VM. `excluded`: by host."""

    context: Context
    tell: Tell
    slots: dict[str, Slot] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    frozen: Word | None = None
    excluded: dict[str, Word] = field(default_factory=dict)
    pauses: dict[str, Breaker] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)

    # --- rows -------------------------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        rows: list[Row] = [("slot", name, self._slot_row(slot)) for name, slot in sorted(self.slots.items())]
        rows += [("environment", key, row) for key in ("frozen", "excluded", "pauses") if (row := self._word_row(key))]
        return rows + [("request", id, one.row()) for id, one in sorted(self.requests.items())]

    def _slot_row(self, slot: Slot) -> dict[str, Value]:
        return {
            "environment": slot.environment, "target": slot.target, "state": slot.state.value, "since": slot.since,
            "given": 0.0 if slot.given == NEVER else slot.given, "failures": slot.failures, "deaths": slot.deaths,
            "node": self.nodes.get(slot.name, ""),
        }  # fmt: skip

    def _word_row(self, key: str) -> dict[str, Value]:
        if key == "frozen":
            return self.frozen.row() if self.frozen else {}
        if key == "excluded":
            return {host: word.row() for host, word in sorted(self.excluded.items())}
        return {subject: one.row() for subject, one in sorted(self.pauses.items())}

    def restore(self, table: str, key: str, value: dict[str, Any]) -> None:
        """A row of the store, or of the leader. What is not understood is left out."""
        if table == "slot":
            self._restore_slot(key, value)
        elif table == "request":
            if one := request_of(key, value):
                self.requests[key] = one
            else:
                self.requests.pop(key, None)
        elif key == "frozen":
            self.frozen = _word(value)
        elif key == "excluded":
            words = {host: _word(word) for host, word in value.items() if isinstance(word, dict)}
            self.excluded = {host: word for host, word in words.items() if word}
        elif key == "pauses":
            self.pauses.clear()
            self.pauses.update({subject: breaker_of(row) for subject, row in value.items() if isinstance(row, dict)})

    def _restore_slot(self, name: str, row: dict[str, Any]) -> None:
        if not row:  # it is no more
            self.slots.pop(name, None)
            self.nodes.pop(name, None)
            return
        try:
            state = State(str(row.get("state")))
        except ValueError:
            state = State.OUT
        slot = Slot(name, _text(row, "environment"), _number(row, "since"), state)
        slot.target = _text(row, "target")
        slot.given = _number(row, "given") or NEVER
        slot.failures, slot.deaths = int(_number(row, "failures")), int(_number(row, "deaths"))
        old = self.slots.get(name)
        slot.turn = old.turn + 1 if old else 0
        self.slots[name] = slot
        self.nodes[name] = _text(row, "node")

    # --- changes of the leader's --------------------------------------------------------------------------------------------

    def slot_changed(self, slot: Slot) -> None:
        self._tell_row("slot", slot.name, self._slot_row(slot))

    def slot_gone(self, name: str) -> None:
        self.slots.pop(name, None)
        self.nodes.pop(name, None)
        self._tell_row("slot", name, {})

    def said(self, key: str) -> None:
        """`frozen`, `excluded` or `pauses` is another now."""
        self._tell_row("environment", key, self._word_row(key))

    def request_changed(self, one: Request) -> None:
        self.requests[one.id] = one
        self._tell_row("request", one.id, one.row())

    def next_request(self) -> str:
        return f"r{max((int(id[1:]) for id in self.requests if id[1:].isdigit()), default=0) + 1}"

    def request_gone(self, id: str) -> None:
        self.requests.pop(id, None)
        self._tell_row("request", id, {})

    def _tell_row(self, table: str, key: str, row: dict[str, Value]) -> None:
        self.tell(VERB, {"table": table, "key": key, "row": row})

    # --- as every manager hears them ----------------------------------------------------------------------------------------

    def decided(self, arguments: dict[str, Value], *, own: bool) -> None:
        """Our own is in force already."""
        table, key, row = arguments.get("table"), arguments.get("key"), arguments.get("row")
        if table not in TABLES or not isinstance(key, str) or not isinstance(row, dict):
            return
        if not own:
            self.restore(str(table), key, row)
        self.context.out.append(Persist(table, key, row or None))  # type: ignore[arg-type]

    def told(self, rows: Iterable[Row]) -> None:
        """The leader's rows take the place of ours."""
        theirs = [row for row in rows if row[0] in TABLES]
        known = {(table, key) for table, key, _ in theirs}
        for table, key, _ in self.rows():
            if (table, key) not in known:
                self.restore(table, key, {})
                self.context.out.append(Persist(table, key, None))  # type: ignore[arg-type]
        for table, key, value in theirs:
            self.restore(table, key, value)
            self.context.out.append(Persist(table, key, value or None))  # type: ignore[arg-type]

    def clock_set(self, by_s: float) -> None:
        for slot in self.slots.values():
            slot.since += by_s
            slot.given += by_s
        for pause in self.pauses.values():
            pause.until += by_s if pause.until else 0.0


def _word(row: dict[str, Any]) -> Word | None:
    return Word(_text(row, "who"), _text(row, "why"), _number(row, "at")) if row.get("who") else None


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _number(row: dict[str, Any], key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
