"""A host's own clocks: monotonic with a rate that is not quite right, and a wall clock that is set now and then."""

from __future__ import annotations

from common.core import Moment
from sim.failover.timeline import Timeline

EPOCH_S = 1_000_000_000.0  # what a right wall clock shows at true time 0
EPSILON_S = 1e-6  # a tick comes a little late, never early


class HostClock:
    """`rate`: seconds that it counts in one true second. `wall_s`: how far the wall clock is off."""

    def __init__(self, timeline: Timeline, rate: float = 1.0, wall_s: float = 0.0) -> None:
        self._timeline = timeline
        self.rate = rate
        self.wall_s = wall_s
        self._true = timeline.now
        self._mono = 0.0

    @property
    def mono(self) -> float:
        return self._mono + (self._timeline.now - self._true) * self.rate

    @property
    def now(self) -> Moment:
        mono = self._mono + (self._timeline.now - self._true) * self.rate
        return Moment(EPOCH_S + self.wall_s + mono, mono)

    def true(self, mono: float) -> float:
        """When it will show that."""
        return self._true + (mono - self._mono) / self.rate + EPSILON_S

    def drift(self, rate: float) -> None:
        """From now on it goes so fast."""
        self._mono, self._true = self.mono, self._timeline.now
        self.rate = rate

    def rebooted(self) -> None:
        """A machine that boots counts from 0; its wall clock stays."""
        self.wall_s += self.mono
        self._mono, self._true = 0.0, self._timeline.now
