"""Silences: what must not fire, why, by whom, until when. Knows no trigger's code."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from common.protocol import Value
from vmmanager.state import Farm

EVERYTHING = "all"


class Silence(Struct, frozen=True, kw_only=True):
    """`what`: the name of a trigger, client:NAME, group:NAME or all. Times are wall clock."""

    id: Annotated[str, Meta(min_length=1, max_length=100)]
    what: Annotated[str, Meta(min_length=1, max_length=255)]
    why: Annotated[str, Meta(max_length=1000)] = ""
    who: str = ""
    created: float = 0.0
    until: float

    def row(self) -> dict[str, Value]:
        row: dict[str, Value] = msgspec.to_builtins(self)
        return row

    def covers(self, trigger: str, subject: str, farm: Farm) -> bool:
        return self.what in (EVERYTHING, trigger) or (bool(subject) and self.covers_client(subject, farm))

    def covers_client(self, client: str, farm: Farm) -> bool:
        kind, colon, name = self.what.partition(":")
        if not colon:
            return self.what == EVERYTHING
        return client == name if kind == "client" else kind == "group" and client in farm.groups.get(name, {})

    def __str__(self) -> str:
        return f"silenced by {self.who or 'an operator'}" + (f": {self.why}" if self.why else "")


def from_row(row: dict[str, Any]) -> Silence:
    """Raises ValueError."""
    try:
        return msgspec.convert(row, Silence)
    except msgspec.ValidationError as fault:
        raise ValueError(f"not a silence: {fault}") from None


class Silences:
    """All silences of the farm, by id."""

    def __init__(self) -> None:
        self._held: dict[str, Silence] = {}
        self._number = 0

    def __iter__(self) -> Any:
        return iter(sorted(self._held.values(), key=lambda one: (one.created, one.id)))

    def new_id(self) -> str:
        return f"s{self._number + 1}"

    def add(self, silence: Silence) -> None:
        self._held[silence.id] = silence
        if silence.id[0] == "s" and silence.id[1:].isdecimal():
            self._number = max(self._number, int(silence.id[1:]))

    def remove(self, silence_id: str) -> Silence | None:
        return self._held.pop(silence_id, None)

    def get(self, silence_id: str) -> Silence | None:
        return self._held.get(silence_id)

    def ended(self, wall: float) -> list[Silence]:
        """Takes out those whose time is over."""
        over = [one for one in self if one.until <= wall]
        for one in over:
            del self._held[one.id]
        return over

    def next_end(self) -> float | None:
        return min((one.until for one in self._held.values()), default=None)

    def find(self, trigger: str, subject: str, farm: Farm) -> Silence | None:
        """The one that lasts longest of those that cover this."""
        if not self._held:
            return None
        covering = [one for one in self._held.values() if one.covers(trigger, subject, farm)]
        return max(covering, key=lambda one: (one.until, one.id), default=None)

    def clients(self, farm: Farm) -> dict[str, Silence]:
        """Clients that nothing may be done to."""
        found: dict[str, Silence] = {}
        for one in self:
            if ":" in one.what:
                found.update({name: one for name in farm.clients if one.covers_client(name, farm)})
        return found
