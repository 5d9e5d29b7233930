"""One firing from the moment its code starts until its wishes are answered, and its row in the store. Knows no engine.

docs/design/0001 says why the phases follow each other so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from common.protocol import Value
from vmmanager.events import CodeDone, Wish
from vmmanager.triggers.effects import Planned
from vmmanager.triggers.unknown import Unknown

OPERANDS_MAX = 40  # values kept to say why
OPERAND_CHARS_MAX = 200
PRINTED_MAX = 100  # lines kept
PRINTED_CHARS_MAX = 500
WISHES_MAX = 10_000


class Phase(StrEnum):
    RUNNING = "running"  # its code runs
    STORING = "storing"  # wishes known, on their way to the disk
    TELLING = "telling"  # on disk, on its way to the managers
    ACTING = "acting"  # every manager has it; the wishes are sent
    DONE = "done"


class Firing(Struct, kw_only=True):
    """`recovered`: wall clock when the problem it fired for was over; 0: not yet. `light`: neither stored nor told."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    trigger: str
    subject: str = ""
    part: Literal["cmd", "recovery_cmd"] = "cmd"
    at: float
    by: str = ""
    operands: dict[str, Any] = {}
    wishes: tuple[Wish, ...] = ()
    printed: tuple[str, ...] = ()
    error: str = ""
    outcome: str = ""
    phase: Phase = Phase.RUNNING
    dry_run: bool = False
    recovered: float = 0.0
    light: bool = False

    def row(self) -> dict[str, Value]:
        row: dict[str, Value] = msgspec.to_builtins(self)
        return row

    def shown(self) -> dict[str, Value]:
        """As docs/design/0004 wants it."""
        row = self.row()
        row["outcome"] = self.outcome or str(self.phase)
        return row

    def ended(self, done: CodeDone) -> None:
        self.wishes = done.effects[:WISHES_MAX]
        self.printed = tuple(line[:PRINTED_CHARS_MAX] for line in done.printed[:PRINTED_MAX])
        self.error = done.error

    def planned(self) -> Iterator[Planned]:
        """The wishes for the bus, under execution ids that are the same whoever asks and whenever."""
        for number, wish in enumerate(self.wishes):
            if wish.verb != "notify":
                yield Planned(f"{self.id}.{number}", wish)

    def notifications(self) -> Iterator[Wish]:
        return (wish for wish in self.wishes if wish.verb == "notify")


def from_row(row: dict[str, Value]) -> Firing:
    """Raises ValueError when it is no firing of ours."""
    try:
        return msgspec.convert(row, Firing)
    except msgspec.ValidationError as fault:
        raise ValueError(f"not a firing: {fault}") from None


def operands(seen: dict[Any, Any], among: dict[Any, Any], results: dict[Any, Any]) -> dict[str, Value]:
    """What an evaluation read, for people. Of many members the last ones, because the last one read decided."""
    found: dict[str, Value] = {str(name): _plain(value) for name, value in results.items()}
    for key, value in seen.items():
        if key[0] == "property":
            found[f"{key[1]}.{key[2]}"] = _plain(value)
        elif key[0] == "client":
            found[f"{key[1]}.age"] = value
        elif key[0] in ("clients", "group"):
            found[f"len({' '.join(key)})"] = value
    for key, value in among.items():
        found[f"{key[1]}.{key[2]}" if key[0] == "property" else f"{key[1]}.age"] = _plain(value)
    return dict(list(found.items())[-OPERANDS_MAX:])


def _plain(value: Any) -> Value:
    if type(value) is Unknown:
        return repr(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= OPERAND_CHARS_MAX else text[:OPERAND_CHARS_MAX] + "…"


def sentence(found: dict[str, Value], limit: int = 5) -> str:
    """`xen3.load1 = 9.5, len(group mailers) = 2`."""
    known = [(name, value) for name, value in found.items() if not str(value).startswith("unknown (")]
    shown = known[-limit:]
    shown += [one for one in found.items() if one not in known][: limit - len(shown)]
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(f"{name} = {_short(value)}" for name, value in shown) + more


def _short(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"
    return str(value)


def clients_of(wishes: Iterable[Wish], members: Mapping[str, Iterable[str]], everyone: Iterable[str]) -> set[str]:
    """The clients that these wishes act upon: execute, control and failover; to ask for properties acts upon nobody."""
    found: set[str] = set()
    for wish in wishes:
        if wish.verb in ("execute", "control"):
            for target in wish.targets:
                found.update(members.get(target, (target,)))
            if not wish.targets:
                found.update(everyone)
        elif wish.verb == "failover":
            found.add(f"vm:{wish.arguments.get('vm')}")
    return found
