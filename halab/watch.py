"""Who runs what, as it is: looks at the simulated hosts again and again, and forgets nothing. Asks no daemon.

One look reads all hosts under the farm's own lock, so what it finds together was there together.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from common.hypervisor import Unavailable
from plugins.sim_world import SimHost, SimWorld
from xenlab.looker import Looker

LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Twice:
    """One domain seen on several hosts in one look."""

    vm: str
    hosts: tuple[str, ...]
    at: float  # monotonic


@dataclass
class Watch:
    """`looker`: its thread. `places`: VM -> hosts where it runs now; `since`: (VM, host) -> when it first answered there."""

    world: SimWorld
    hosts: tuple[str, ...]
    places: dict[str, tuple[str, ...]] = field(default_factory=dict)
    since: dict[tuple[str, str], float] = field(default_factory=dict)
    twice: list[Twice] = field(default_factory=list)
    looks: int = 0
    fault: str = ""

    def __post_init__(self) -> None:
        self.looker = Looker("Watch", self._look, LOOK_S)

    def _look(self) -> None:
        if self.fault:
            return
        try:
            with self.world.changed(*self.hosts) as hosts:
                self.look(dict(zip(self.hosts, hosts, strict=True)), time.monotonic(), time.time())
        except Unavailable as fault:  # a watch that has gone blind must not look like a good run
            self.fault = f"the watch is blind: {fault}"

    def look(self, hosts: dict[str, SimHost], now: float, wall: float) -> None:
        """`wall`: of the clock that the simulated domains boot by."""
        running = [(vm, host) for host, told in hosts.items() for vm, domain in told.domains.items() if not domain.stopped]
        answering = {(vm, host) for vm, host in running if hosts[host].domains[vm].boots_at <= wall}
        places = _grouped(running)
        for vm, where in places.items():
            if len(where) > 1 and self.places.get(vm) != where:
                self.twice.append(Twice(vm, where, now))
        self.places = places
        self.since = {key: self.since.get(key, now) for key in answering}
        self.looks += 1


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for vm, host in pairs:
        found[vm] = (*found.get(vm, ()), host)
    return found
