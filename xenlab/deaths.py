"""How long VMs are away when hosts die: many deaths, one after the other, and their figures. Judges nothing. Knows no lab."""

from __future__ import annotations

import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar

from xenlab.operator import Operator
from xenlab.processes import Failed, Processes

AWAY_S = 180.0
SETTLE_S = 3.0


class Mortal(Protocol):
    """A lab whose hosts die; one that is back is back within `back_s`."""

    processes: Processes
    operator: Operator
    back_s: float

    def do(self, words: tuple[str, ...]) -> tuple[int, str]: ...

    def victim(self) -> str:
        """The host that dies next."""

    def vms_of(self, host: str) -> list[str]:
        """The protected VMs that run there and nowhere else."""

    def elsewhere(self, vm: str, host: str, after: float) -> float:
        """When it was first seen alive on another host than this one, on CLOCK_MONOTONIC; 0: not yet."""

    def all_run(self) -> bool: ...


Farm = TypeVar("Farm")


@dataclass(frozen=True, slots=True)
class Death(Generic[Farm]):
    """One way to die. `farm`: what the lab has; `verb`: the deed, as in a scenario; `again`: what makes the host whole."""

    name: str
    farm: Farm
    verb: str
    again: tuple[str, ...]
    with_leader: bool = False
    goal_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Away:
    """Seconds from the death until a manager knew of it, and until the first and the last of the host's VMs lived elsewhere."""

    known: float
    first: float
    last: float

    def __str__(self) -> str:
        return f"dead after {self.known:.1f} s, the first VM lives after {self.first:.1f} s, the last after {self.last:.1f} s"


L = TypeVar("L", bound=Mortal)


def measure(
    deaths: Iterable[Death[Farm]], number: int, up: Callable[[Farm], AbstractContextManager[L]], say: Callable[[str], None]
) -> str:
    """A line of figures for each. Those that follow each other and want the same farm share one. Raises Failed."""
    lines = [f"{platform.platform()}, {platform.processor() or platform.machine()}"]
    for farm, kinds in groupby(deaths, key=lambda death: death.farm):
        with up(farm) as lab:
            for death in kinds:
                seen = []
                for _ in range(number):
                    seen.append(one(lab, death))
                    say(f"{death.name}: {seen[-1]}")
                lines.append(line(death, seen))
            _do(lab, "twice")
    return "\n".join(lines)


def one(lab: Mortal, death: Death[Any]) -> Away:
    """A host dies and comes back. Raises Failed."""
    host = lab.victim()
    leader = lab.operator.leader() if death.with_leader else ""
    vms = lab.vms_of(host)
    died, wall = time.monotonic(), time.time()
    _do(lab, death.verb, host)
    if leader:
        _do(lab, "kill", leader)
    away = sorted(_elsewhere(lab, vm, host, died) - died for vm in vms)
    for verb in death.again:
        _do(lab, verb, host)
    if leader:
        _do(lab, "start", leader)
    lab.processes.wait(f"{host} is back", lambda: host in lab.operator.online() and lab.all_run(), lab.back_s)
    time.sleep(SETTLE_S)
    return Away(_known(lab, host, wall), away[0], away[-1])


def _known(lab: Mortal, host: str, died: float) -> float:
    """By the clocks of the managers' logs, which are this machine's. Raises Failed."""
    told = (
        datetime.fromisoformat(found[1]).timestamp()
        for name in lab.operator.managers
        for found in re.finditer(rf"^(\S+ \S+) \w+ failover: host {host}: \w+ -> dead", lab.processes.log(name), re.MULTILINE)
    )
    try:
        return min(at for at in told if at > died) - died
    except ValueError:
        raise Failed(f"no manager has said that {host} is dead") from None


def _do(lab: Mortal, *words: str) -> None:
    code, said = lab.do(words)
    if code:
        raise Failed(said)


def _elsewhere(lab: Mortal, vm: str, host: str, died: float) -> float:
    found: float = lab.processes.wait(f"{vm} answers elsewhere", lambda: lab.elsewhere(vm, host, died), AWAY_S)
    return found


def line(death: Death[Any], seen: list[Away]) -> str:
    """How long until the death was known, and until the last VM of each run answered."""
    known, ordered = statistics.median(one.known for one in seen), sorted(one.last for one in seen)
    p95 = ordered[max(0, round(0.95 * len(ordered)) - 1)]
    figures = f"median {statistics.median(ordered):5.1f}  p95 {p95:5.1f}  max {ordered[-1]:5.1f} s  (goal {death.goal_s:.0f})"
    return f"{death.name:<42} {len(ordered):>3} runs  dead after {known:5.1f} s  {figures}"
