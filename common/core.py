"""What the events and effects of both cores share: time, and what asks for it. Frozen values; knows neither core."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks, in seconds: wall for what people and other hosts see, monotonic for waiting and ages."""

    wall: float
    mono: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Event: time has passed; comes at the latest when WakeAt asked for it."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Effect: send a Tick at this monotonic time at the latest."""

    mono: float
