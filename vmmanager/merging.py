"""What two managers know of silences and of triggers switched on or off, laid together when one joins the other. Pure.

The leader's rows hold. But what an operator was told to be done while the leader was away must not be lost: the newcomer offers
what it has beyond them, and the leader takes what is news, unless it was ended meanwhile. Keys go the same way (keybook.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from common.protocol import Value
from vmmanager.peers import Row

ENDED_MAX = 1_000  # silences ended by an operator that are remembered
OFFERED_MAX = 10_000

Decision = tuple[str, dict[str, Value]]
"""Verb and arguments of a CONTROL to the group `managers`."""


class Ended:
    """Silences that an operator ended before their time, so that a manager that was away does not bring them back."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def note(self, id: str, made: dict[str, Value], now: float) -> None:
        """The silence `id`, made at `created`, is over."""
        self._at[_mark(id, made)] = now
        for mark in sorted(self._at, key=lambda mark: self._at[mark])[:-ENDED_MAX]:
            del self._at[mark]

    def learn(self, value: dict[str, Value]) -> None:
        """From the store, or from the leader."""
        self._at |= {mark: float(at) for mark, at in value.items() if isinstance(at, (int, float))}

    def row(self) -> dict[str, Value]:
        return dict(self._at)

    def __contains__(self, row: Row) -> bool:
        return _mark(row[1], row[2]) in self._at


def beyond(own: Iterable[Row], told: Iterable[Row], ended: Ended, now: float) -> list[Row]:
    """Of our rows those that the leader does not have, or has older."""
    known = {(table, key): value for table, key, value in told}
    found: list[Row] = []
    for row in own:
        theirs = known.get(row[:2])
        if row[0] == "silence" and _lasts(row, now) and row not in ended:
            if theirs is None or _mark(row[1], theirs) != _mark(row[1], row[2]):
                found.append(row)
        elif row[0] == "trigger" and (theirs is None or _number(theirs, "at") < _number(row[2], "at")):
            found.append(row)
    return found[:OFFERED_MAX]


def news(offered: Iterable[Row], own: Iterable[Row], ended: Ended, sender: str, now: float) -> list[Decision]:
    """What the leader takes of an offer, as decisions for all managers."""
    known = {(table, key): value for table, key, value in own}
    marks = {_mark(key, value) for (table, key), value in known.items() if table == "silence"}
    told: list[Decision] = []
    for row in offered:
        table, key, value = row
        if table == "silence" and _lasts(row, now) and row not in ended and _mark(key, value) not in marks:
            id = f"{key}.{sender}"[:100] if (table, key) in known else key  # both counted from s1
            told.append(("silence", {**value, "id": id, "offered": True}))
        elif table == "trigger" and _number(known.get((table, key), {}), "at") < _number(value, "at"):
            told.append(("trigger-enable", {**value, "name": key, "offered": True}))
    return told


def rows_of(value: Value) -> list[Row]:
    """Rows out of a message; what is none is left out."""
    rows = value if isinstance(value, list) else []
    return [
        (str(row[0]), str(row[1]), row[2])
        for row in rows[:OFFERED_MAX]
        if isinstance(row, list) and len(row) == 3 and isinstance(row[2], dict)
    ]


def _mark(id: str, value: dict[str, Value]) -> str:
    """One silence, wherever it was counted; a changed id counts as the same."""
    return f"{id.split('.')[0]}@{_number(value, 'created'):.3f}"


def _lasts(row: Row, now: float) -> bool:
    return _number(row[2], "until") > now


def _number(value: dict[str, Value], key: str) -> float:
    number = value.get(key)
    return float(number) if isinstance(number, (int, float)) else 0.0
