"""Triggers tried out on recorded or written samples: what they would give, fire and wish for. Changes nothing.

`Rehearsal` plays samples in pretend time to a farm and an engine of its own, and carries out what the engine asks as if every
disk and client did well. It runs the operator's `cmd`, so a manager calls `try_out` in a forked child only. Samples as text:

    0    xen1 joins dom0 mailers        seconds, client, what: it connects, and is in these groups
    0    xen1 load1 = 0.5 ticks=60      a reading; the value is JSON, else text
    60   xen1 load1 fails: no such file
    90   xen1 speaks                    a message without news
    120  xen1 leaves                    the bus says it is gone
    300  -                              nothing, until then
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from common.config.model import ManagerConfig, TriggerConfig
from common.protocol import Reading, Value
from vmmanager.events import CodeDone, Moment, Persist, RunCode, Stored
from vmmanager.state import Farm
from vmmanager.triggers import firing as firings
from vmmanager.triggers.effects import Act, Effect, Tell
from vmmanager.triggers.engine import Engine
from vmmanager.triggers.rule import Guard, unguarded
from vmmanager.triggers.states import Subject
from vmmanager.triggers.unknown import Unknown

SAMPLES_MAX = 200_000  # of recorded history replayed at once; the oldest are left out
LOOKS_MAX = 100_000  # evaluations of one trial that time alone causes
ROWS_MAX = 10_000
KEEP = 10_000
EPOCH_S = 1_000_000_000.0  # pretend wall clock at second 0 of written samples


class SampleFault(ValueError):
    """A line of samples that cannot be read."""


@dataclass(frozen=True, slots=True)
class Sample:
    """`at`: wall clock. `what`: reading, joins, speaks, leaves, nothing."""

    at: float
    client: str
    what: str
    reading: Reading | None = None
    groups: tuple[str, ...] = ()


def parse_samples(text: str, start: float = EPOCH_S) -> list[Sample]:
    """Raises SampleFault with the line."""
    found: list[Sample] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split(None, 2)
        if not words:
            continue
        try:
            found.append(_sample(words, start))
        except ValueError as fault:
            raise SampleFault(f"line {number}: {fault}: {line.strip()}") from None
    return sorted(found, key=lambda sample: sample.at)


def ending_at(at: float, samples: list[Sample]) -> list[Sample]:
    """The same, moved in time so that the last one is at `at`."""
    return [replace(sample, at=sample.at + at - samples[-1].at) for sample in samples]


def _sample(words: list[str], start: float) -> Sample:
    at = start + float(words[0])
    if len(words) == 2 and words[1] == "-":
        return Sample(at, "", "nothing")
    if len(words) < 3:
        raise ValueError("time, client and what it tells are wanted")
    client, rest = words[1], words[2]
    verb, _, more = rest.partition(" ")
    if verb in ("joins", "speaks", "leaves"):
        return Sample(at, client, verb, groups=tuple(more.split()))
    name, _, said = rest.partition(" ")
    if said.startswith("fails:"):
        return Sample(at, client, "reading", Reading(name=name, error=said[6:].strip() or "failed", ticks=60))
    if not said.startswith("="):
        raise ValueError("joins, speaks, leaves, PROPERTY = VALUE or PROPERTY fails: WHY is wanted")
    value, _, ticks = said[1:].partition(" ticks=")
    return Sample(at, client, "reading", Reading(name=name, value=_value(value.strip()), ticks=float(ticks or 60)))


def _value(text: str) -> Value:
    try:
        value: Value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value


def recorded(farm: Farm, since: float) -> list[Sample]:
    """The farm's own past as samples; membership is as it is now, for nobody keeps when it was otherwise."""
    found: list[Sample] = []
    for client in farm.clients.values():
        for prop in client.properties.values():
            reading = prop.reading
            past = [Sample(at, client.name, "reading", _past(reading, value)) for at, value in prop.history if at >= since]
            if not past and reading.value is not None:
                past = [Sample(prop.read_at, client.name, "reading", _past(reading, reading.value))]
            found += past
            if reading.error:
                found.append(Sample(prop.read_at, client.name, "reading", _past(reading, None, reading.error)))
    found.sort(key=lambda sample: sample.at)
    found = found[-SAMPLES_MAX:]
    first = min(found[0].at if found else since, since)
    joins = [Sample(first, client.name, "joins", groups=client.groups) for client in farm.clients.values()]
    spoke = [
        Sample(client.active_timestamp, client.name, "leaves" if client.lost_at else "speaks")
        for client in farm.clients.values()
    ]
    return sorted(joins + found + spoke, key=lambda sample: sample.at)


def _past(reading: Reading, value: Value, error: str = "") -> Reading:
    return msgspec.structs.replace(reading, value=value, error=error, age_s=0.0)


@dataclass(slots=True)
class Rehearsal:
    """An engine that leads from the start, with a farm of its own."""

    triggers: tuple[TriggerConfig, ...]
    settings: ManagerConfig
    start: float = EPOCH_S
    guard: Guard = unguarded
    on_effect: Callable[[Moment, Effect], None] = lambda now, effect: None
    on_code: Callable[[Rehearsal, RunCode, CodeDone], None] = lambda rehearsal, run, done: None
    outcome: Callable[[Act], str] = lambda act: "ok"
    farm: Farm = field(default_factory=Farm)
    now: Moment = field(init=False)
    looks: int = 0
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.now = Moment(self.start, 0.0)
        self.farm.managers, self.farm.leader = (self.settings.name,), self.settings.name
        self.engine = Engine(self.triggers, self.settings, self.now, self.guard)

    def play(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self.advance(sample.at)
            self.tell(sample)
            self.look()

    def tell(self, sample: Sample) -> None:
        """One sample becomes part of the farm."""
        farm, at, name = self.farm, self.now.wall, sample.client
        if sample.what == "nothing":
            return
        if sample.what == "leaves":
            if name in farm.clients:
                farm.lost(name, "it left", at)
            return
        farm.heard(name, f"#{name}", at)
        if sample.what == "joins":
            farm.introduce(name, sample.groups, "", "", ())
        elif sample.reading is not None:
            farm.read(name, sample.reading, at, KEEP, self.settings.history_max_s)

    def advance(self, wall: float) -> None:
        """Lets time pass; the engine is looked at whenever it wants to be."""
        while self.looks < LOOKS_MAX:
            wake = self.engine.next_wake()
            if wake is None or self.start + wake >= wall:
                break
            self.looks += 1
            self._at(max(self.start + wake, self.now.wall))
            self.look()
        self._at(max(wall, self.now.wall))

    def _at(self, wall: float) -> None:
        self.now = Moment(wall, wall - self.start)

    def look(self) -> None:
        self.carry_out(self.engine.evaluate(self.farm, self.now, 0.0))

    def carry_out(self, effects: Iterable[Effect]) -> None:
        pending = list(effects)
        while pending:
            effect = pending.pop(0)
            self.on_effect(self.now, effect)
            pending += self._answers(effect)

    def _answers(self, effect: Effect) -> list[Effect]:
        engine, now = self.engine, self.now
        if isinstance(effect, RunCode):
            done: CodeDone = self.guard(effect.budget_s, engine.run_code, effect, self.farm, now)
            self.on_code(self, effect, done)
            return engine.code_done(done, now)
        if isinstance(effect, Persist) and effect.token:
            return engine.stored(Stored(effect.token), now)
        if isinstance(effect, Tell):
            return engine.heard(effect.verb, effect.arguments, True, True, now)
        if isinstance(effect, Act):
            return engine.acted(effect.firing, self.outcome(effect), now)
        return []


def try_out(
    triggers: Iterable[TriggerConfig],
    farm: Farm,
    settings: ManagerConfig,
    now: Moment,
    *,
    name: str | None = None,
    history_s: float | None = None,
    samples: list[Sample] | None = None,
    guard: Guard = unguarded,
) -> list[dict[str, Any]]:
    """The rows of the operation trigger-test. Without `history_s` and `samples` each trigger is evaluated once, on what is
    so now. Code is run for real, its wishes are only shown."""
    chosen = tuple(
        replace(one, dry_run=False, enabled=True) for one in triggers if name is None or fnmatch.fnmatchcase(one.name, name)
    )
    unbound = replace(settings, grace_s=0.0)
    if samples is None and history_s is None:
        return _once(chosen, farm, unbound, now, guard)
    played = recorded(farm, now.wall - (history_s or 0.0)) if samples is None else samples
    start = min([sample.at for sample in played] or [now.wall])
    watcher = _Rows()
    rehearsal = Rehearsal(chosen, unbound, start, guard, on_code=watcher.on_code)
    for sample in played:
        rehearsal.advance(sample.at)
        rehearsal.tell(sample)
        rehearsal.look()
        watcher.note_changes(rehearsal)
    if samples is None:
        rehearsal.advance(now.wall)
    rehearsal.look()
    watcher.note_changes(rehearsal)
    return watcher.rows[-ROWS_MAX:]


def _once(
    triggers: tuple[TriggerConfig, ...], farm: Farm, settings: ManagerConfig, now: Moment, guard: Guard
) -> list[dict[str, Any]]:
    """As if each condition had already held for as long as `for` wants, and nobody were in the way."""
    plain = tuple(replace(one, for_s=0.0, depends_on=(), grace_s=0.0, max_share=1.0, on_update_check=True) for one in triggers)
    watcher = _Rows()
    rehearsal = Rehearsal(plain, settings, now.wall, guard, on_code=watcher.on_code)
    rehearsal.farm = Farm(farm.clients, farm.groups, farm.managers, farm.leader)
    rehearsal.look()
    watcher.note_changes(rehearsal)
    return watcher.rows


class _Rows:
    """Makes rows of what happens: one per change of a value, and one per firing."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._values: dict[Subject, str] = {}

    def on_code(self, rehearsal: Rehearsal, run: RunCode, done: CodeDone) -> None:
        subject = rehearsal.engine.subject(run.trigger, run.subject)
        if subject is not None:
            wishes = [msgspec.to_builtins(wish) for wish in done.effects]
            error = done.error or ("it ran over its budget" if done.over_budget else "")
            self._row(rehearsal, subject, fires=True, wishes=wishes, printed=list(done.printed), error=error)

    def note_changes(self, rehearsal: Rehearsal) -> None:
        for subject in rehearsal.engine.subjects():
            value = _shown(subject)
            if self._values.get(subject) != value:
                self._row(rehearsal, subject, fires=subject.rule.cmd is None and subject.fired, error=subject.error)

    def _row(self, rehearsal: Rehearsal, subject: Subject, *, fires: bool, **more: Any) -> None:
        value = self._values[subject] = _shown(subject)
        row = {"trigger": subject.rule.name, "subject": subject.name, "at": rehearsal.now.wall, "value": value}
        row |= {"operands": firings.operands(*subject.operands), "would_fire": fires, "why": rehearsal.engine.why(subject)}
        self.rows.append(row | {"wishes": [], "printed": [], "error": ""} | more)


def _shown(subject: Subject) -> str:
    if subject.condition is None:
        return "not evaluated"
    return "unknown" if type(subject.condition) is Unknown else str(subject.condition).lower()
