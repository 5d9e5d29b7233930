"""A daemon's process: takes events one after the other, may be stopped, slow, or killed. Knows no core.

What it has decided can be held up on its way out, too: a process that is stopped between its decision and its deed.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from common.core import Moment, Tick, WakeAt
from sim.failover.clocks import HostClock
from sim.failover.timeline import Timeline

NEVER = float("inf")
TICK = Tick()


class Process:
    """`name` is what the log calls it. Subclasses have `step` and `perform`."""

    def __init__(self, timeline: Timeline, clock: HostClock, name: str) -> None:
        self.timeline = timeline
        self.clock = clock
        self.name = name
        self.alive = False
        self.life = 0  # rises with each start: what was meant for an earlier one is lost
        self.stopped = False
        self.lag_s = 0.0  # between an event and its step
        self.hold_s = 0.0  # between a step and what follows from it
        self._inbox: deque[tuple[float, Any]] = deque()
        self._outbox: deque[tuple[float, Any]] = deque()
        self._busy = False
        self._wake = NEVER  # true time
        self._wake_planned = NEVER

    def step(self, event: Any, now: Moment) -> list[Any]:
        raise NotImplementedError

    def perform(self, effect: Any) -> None:
        raise NotImplementedError

    # --- its life -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self.alive, self.stopped = True, False
        self.life += 1
        self._inbox.clear()
        self._outbox.clear()
        self._wake = self._wake_planned = NEVER
        self._busy = False

    def kill(self) -> None:
        """SIGKILL."""
        self.alive = False
        self._inbox.clear()
        self._outbox.clear()

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped = True

    def go_on(self) -> None:
        """SIGCONT."""
        if self.stopped:
            self.stopped = False
            self._flush()
            self._drain()
            self._tick_at(self._wake)

    # --- events ---------------------------------------------------------------------------------------------------------

    def put(self, event: Any) -> None:
        if not self.alive:
            return
        if self._busy or self.stopped or self.lag_s or self._inbox:
            self._inbox.append((self.timeline.now + self.lag_s, event))
            if self.lag_s:
                self._later(self.lag_s, self._drain)
            elif not self._busy:
                self._drain()
            return
        self._take(event)
        if self._inbox:
            self._drain()

    def put_after(self, seconds: float, event: Any) -> None:
        """The answer to something that takes its time."""
        life = self.life
        self.timeline.after(seconds, lambda: self.put(event) if self.life == life else None)

    def _later(self, seconds: float, do: Any) -> None:
        life = self.life
        self.timeline.after(seconds, lambda: do() if self.alive and self.life == life else None)

    def _drain(self) -> None:
        inbox = self._inbox
        while inbox and self.alive and not self.stopped and not self._busy and inbox[0][0] <= self.timeline.now:
            self._take(inbox.popleft()[1])

    def _take(self, event: Any) -> None:
        self._busy = True
        life = self.life
        for effect in self.step(event, self.clock.now):
            if type(effect) is WakeAt:
                self._tick_at(self.clock.true(effect.mono) if effect.mono != NEVER else NEVER)
            elif self.hold_s or self._outbox:
                self._outbox.append((self.timeline.now + self.hold_s, effect))
                self._later(self.hold_s, self._flush)
            else:
                self.perform(effect)
                if self.life != life or not self.alive:
                    return
        self._busy = False

    def _flush(self) -> None:
        """What was held up goes out."""
        while self._outbox and self.alive and not self.stopped and self._outbox[0][0] <= self.timeline.now:
            self.perform(self._outbox.popleft()[1])

    # --- ticks ----------------------------------------------------------------------------------------------------------

    def _tick_at(self, when: float) -> None:
        self._wake = when
        if when < self._wake_planned:
            self._wake_planned = when
            self._plan(when)

    def _plan(self, when: float) -> None:
        life = self.life
        self.timeline.at(when, lambda: self._woken(when, life))

    def _woken(self, planned: float, life: int) -> None:
        if self.life != life or planned != self._wake_planned:
            return
        self._wake_planned = NEVER
        if not self.alive or self.stopped:
            return
        if self._wake > self.timeline.now:
            self._tick_at(self._wake)
        else:
            self.put(TICK)
