"""How long a VM is away when its host dies: many deaths, one after the other. Prints, judges nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from halab.files import HOSTS, VMS, Kind
from halab.lab import Lab

AWAY_S = 180.0
BACK_S = 120.0
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Death:
    """One way to die. `deed`: verb and who, as in a scenario; `again`: what makes the machine whole."""

    name: str
    kind: Kind
    verb: str
    again: tuple[str, ...]
    with_leader: bool = False
    goal_s: float = 30.0


DEATHS = (
    Death("self-fence (cut off)", Kind(), "cut", ("heal",)),
    Death("loss of power, with storage", Kind(storage=True), "kill", ("start",)),
    Death("watchdog (client and guard stand still)", Kind(), "pause", ("kill", "start")),
    Death("loss of power, no fence device", Kind(), "kill", ("start",)),
    Death("loss of power, fence device", Kind(fence=True), "kill", ("start",), goal_s=10.0),
    Death("loss of power together with the leader", Kind(), "kill", ("start",), with_leader=True, goal_s=40.0),
)


def runs(lab: Lab, death: Death, number: int) -> Iterator[tuple[float, float]]:
    """For each death: after how many seconds the first and the last of the host's VMs answered elsewhere. Raises Failed."""
    for _ in range(number):
        host = _next_host(lab)
        leader = lab.leader() if death.with_leader else ""
        vms = [vm for vm, places in lab.watch.places.items() if places == (host,)]
        died = time.monotonic()
        lab.do((death.verb, host))
        if leader:
            lab.do(("kill", leader))
        away = sorted(_elsewhere(lab, vm, host, died) - died for vm in vms)
        yield away[0], away[-1]
        for verb in death.again:
            lab.do((verb, host))
        if leader:
            lab.do(("start", leader))
        _whole(lab, host)


def _next_host(lab: Lab) -> str:
    """The one with the most VMs."""
    counts = {host: sum(places == (host,) for places in lab.watch.places.values()) for host in HOSTS}
    return max(counts, key=lambda host: counts[host])


def _elsewhere(lab: Lab, vm: str, host: str, died: float) -> float:
    """When it was first seen to answer on another host."""

    def there() -> float:
        return next((at for (name, where), at in lab.watch.since.items() if name == vm and where != host and at > died), 0.0)

    found: float = lab.processes.wait(f"{vm} answers elsewhere", there, AWAY_S)
    return found


def _whole(lab: Lab, host: str) -> None:
    """Everything runs, the host holds a lease, every manager is there."""

    def whole() -> bool:
        return host in _online(lab) and len(lab.watch.places) >= VMS

    lab.processes.wait(f"{host} is back", whole, BACK_S)
    time.sleep(SETTLE_S)


def _online(lab: Lab) -> set[str]:
    return {row["name"] for row in lab.ask("clients") if row["state"] == "connected"}


def line(death: Death, away: list[float]) -> str:
    """Of the last VM to answer in each run."""
    ordered = sorted(away)
    p95 = ordered[max(0, round(0.95 * len(ordered)) - 1)]
    figures = f"median {statistics.median(ordered):5.1f}  p95 {p95:5.1f}  max {ordered[-1]:5.1f} s"
    return f"{death.name:<42} {len(ordered):>3} runs  {figures}  (goal {death.goal_s:.0f})"
