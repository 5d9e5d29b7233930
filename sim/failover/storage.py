"""The shared storage: a beat of each host, a claim on each; it may be cut off, hang, be full, show old things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sim.failover.timeline import Timeline

IO_S = 0.02  # one whole look
State = Literal["good", "cut", "hangs", "full", "stale"]


@dataclass(slots=True)
class Mount:
    """One machine's way to it. `took`: what a client that shows old things shows."""

    state: State = "good"
    io_s: float = IO_S
    waiting: list[Callable[[], None]] = field(default_factory=list)
    old_beats: dict[str, str] = field(default_factory=dict)
    old_claims: dict[str, int] = field(default_factory=dict)


class Storage:
    """`claims` has a row for each host that a leader knows: without it a host does not see the storage."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.beats: dict[str, str] = {}
        self.claims: dict[str, int] = {}
        self._mounts: dict[str, Mount] = {}

    def mount(self, machine: str) -> Mount:
        return self._mounts.setdefault(machine, Mount())

    def set(self, machine: str, state: State) -> None:
        mount = self.mount(machine)
        if state == "stale" and mount.state != "stale":
            mount.old_beats, mount.old_claims = dict(self.beats), dict(self.claims)
        mount.state = state
        if state != "hangs":
            waiting, mount.waiting = mount.waiting, []
            for do in waiting:
                do()

    def use(self, machine: str, work: Callable[[Mount], None]) -> None:
        """`work` is done when the storage answers, which may be never; it looks at the state that the mount has then."""
        mount = self.mount(machine)

        def done() -> None:
            if mount.state == "hangs":
                mount.waiting.append(lambda: self.use(machine, work))
            else:
                work(mount)

        self._timeline.after(mount.io_s, done)
