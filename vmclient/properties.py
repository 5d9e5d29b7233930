"""The client's properties: when each is due, what was read, what must be pushed. Pure: time is handed in, nothing is read here.

All properties of a client share one phase, made from the client's name: equal `ticks` are read together in one wake-up and go
out in one message, while a farm of clients that started at once spreads over the whole period.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from common.bus.contract import PAYLOAD_BYTES_MAX
from common.config.model import PropertyConfig
from common.protocol import NOT_READ, PropErr, PropVal, ProtocolError, Reading, Value, encode
from vmclient.convert import NotConvertible, convert, type_name
from vmclient.events import Moment, ReadDone

NEVER = float("inf")
FIRST_WITHIN_S = 5.0  # after start every property is read once this soon, so that nothing stays unknown for a long period
REPEAT_TICKS = 1.5  # `on_change`: a value that stays is told with every second reading, before managers take it for stale


@dataclass(slots=True)
class Property:
    """One property. `ticks` is the period in force, which `set-ticks` may have changed."""

    config: PropertyConfig
    ticks: float
    due: float = NEVER
    second: bool = False  # the next reading is the second: it takes up the client's phase
    reading: bool = False
    again: bool = False  # what is being read now is too old: once more when it has ended
    value: Value = None
    type: str = ""
    unit: str = ""
    error: str = NOT_READ
    read_mono: float | None = None
    history: deque[tuple[float, Value]] = field(default_factory=deque)
    unsent: bool = False
    told_mono: float = -NEVER  # when what managers were last told unasked was read

    def reading_at(self, now: Moment, error: str = "") -> Reading:
        """What is said of it. `error` instead of the value: it was asked to be fresh and is not."""
        age_s = max(0.0, now.mono - self.read_mono) if self.read_mono is not None else 0.0
        error = error or self.error
        value = None if error else self.value
        name = self.config.name
        return Reading(name=name, value=value, type=self.type, unit=self.unit, age_s=age_s, ticks=self.ticks, error=error)


class Properties:
    """All of them, by name in the order of the files."""

    def __init__(self, client: str) -> None:
        self._phase = phase(client)
        self.by_name: dict[str, Property] = {}
        self.paused: set[str] = set()

    def configure(self, configs: Iterable[PropertyConfig], now: Moment) -> None:
        """Takes a new list; what reads the same as before keeps its values."""
        before, self.by_name = self.by_name, {}
        for config in configs:
            old = before.get(config.name)
            self.by_name[config.name] = self._kept(old, config) if old else self._fresh(config)
            self._schedule(self.by_name[config.name], old, now)
        self.paused &= set(self.by_name)

    def due(self, now: Moment) -> list[Property]:
        """Those to be read now; each is scheduled on. One that is still being read waits for its next turn."""
        found: list[Property] = []
        for name, one in self.by_name.items():
            if one.due > now.mono:
                continue
            self._schedule_on(one, now)
            if not one.reading and name not in self.paused:
                found.append(one)
        return found

    def next_due(self) -> float:
        return min((one.due for one in self.by_name.values()), default=NEVER)

    def set_ticks(self, one: Property, ticks: float, now: Moment) -> None:
        one.ticks = ticks
        one.due = now.mono + ticks if ticks > 0 else NEVER
        one.second = False

    def done(self, event: ReadDone, now: Moment) -> tuple[Property | None, str]:
        """Takes the outcome of a read; the property, and a sentence when it became known or unknown."""
        one = self.by_name.get(event.name)
        if one is None:
            return None, ""
        one.reading = False
        before = (one.value, one.error)
        value, error = event.value, event.error
        if not error:
            try:
                value = convert(value, one.config.return_type)
            except NotConvertible as fault:
                error = str(fault)
        one.read_mono = event.started_mono
        one.value, one.error = (None, error) if error else (value, "")
        one.unit = one.config.unit or event.unit
        one.type = one.config.return_type or (one.type if error else type_name(value))
        if not error:
            one.history.append((event.started_mono, value))
        if one.config.push == "always" or (one.config.push == "on_change" and _is_news(one, before)):
            one.unsent = True
        return one, _sentence(one, before[1])

    def pushed(self) -> list[Property]:
        """Those whose newest value a manager should have without asking."""
        return [one for one in self.by_name.values() if one.config.push != "no" and one.read_mono is not None]

    def unsent(self) -> list[Property]:
        return [one for one in self.by_name.values() if one.unsent]

    def _fresh(self, config: PropertyConfig) -> Property:
        return Property(config, config.ticks, type=config.return_type, unit=config.unit, history=deque(maxlen=config.keep))

    def _kept(self, old: Property, config: PropertyConfig) -> Property:
        if _what_is_read(old.config) != _what_is_read(config):
            return replace(self._fresh(config), reading=old.reading)
        return replace(old, config=config, ticks=config.ticks, history=deque(old.history, maxlen=config.keep))

    def _schedule(self, one: Property, old: Property | None, now: Moment) -> None:
        if one.ticks <= 0:
            one.due = NEVER
        elif old is None or one.read_mono is None or one.ticks != old.ticks:
            one.due = now.mono + self._phase * min(one.ticks, FIRST_WITHIN_S)
            one.second = True

    def _schedule_on(self, one: Property, now: Moment) -> None:
        one.due += one.ticks * (self._phase if one.second else 1.0)
        one.second = False
        if one.due <= now.mono:  # the machine slept, or the clock of a VM jumped: no reading is made up for
            one.due = now.mono + one.ticks


def said(reading: Reading) -> PropVal | PropErr:
    """One reading as a message."""
    if reading.error:
        return PropErr(errors={reading.name: reading.error})
    return PropVal(reading=reading)


def size_bytes(reading: Reading) -> int:
    """About what its message takes on the bus."""
    try:
        return len(encode(PropVal(reading=reading)))
    except ProtocolError:
        return PAYLOAD_BYTES_MAX


def phase(name: str) -> float:
    """A number in (0, 1] that is always the same for a name and evenly spread over names."""
    return (zlib.crc32(name.encode()) + 1) / 2**32


def _is_news(one: Property, before: tuple[Value, str]) -> bool:
    if (one.value, one.error) != before:
        return True
    assert one.read_mono is not None
    return one.ticks > 0 and not one.error and one.read_mono - one.told_mono >= REPEAT_TICKS * one.ticks


def _what_is_read(config: PropertyConfig) -> tuple[object, ...]:
    return (config.command, config.positional, config.named, config.return_type, config.unit)


def _sentence(one: Property, error_before: str) -> str:
    if one.error and one.error != error_before:
        return f"property {one.config.name}: unknown ({one.error})"
    if not one.error and error_before not in ("", NOT_READ):
        return f"property {one.config.name}: known again (was: {error_before})"
    return ""
