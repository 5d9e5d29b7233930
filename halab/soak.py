"""A host that is short of computing and of memory keeps its VMs: a farm is left alone for long, one host of it pressed.

The pressed host's daemons and stress-ng share one core, at the same priority; every other daemon may use all cores.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from halab.lab import Lab
from provision.programs import NotToBeHad

STRESS = "stress-ng"
NAME = "stress"
LOOK_S = 0.2
ASK_S = 5.0  # each time a vmctl or two
SAY_S = 300.0
CORE = 0
SHARE_OF_MEMORY = "40%"


@dataclass
class Soak:
    """`moved`: what was ever seen elsewhere than at first, or nowhere. `left_s`: the least that was left of its lease."""

    host: str
    seconds: float = 0.0
    asked: int = 0
    left_s: float = float("inf")
    moved: dict[str, None] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.seconds / 60:.0f} minutes, {len(self.moved)} false fail-overs{''.join(f'; {one}' for one in self.moved)}; "
            f"of the lease of {self.host} never less than {self.left_s:.1f} s was left, asked {self.asked} times"
        )


def soak(lab: Lab, host: str, seconds: float, say: Callable[[str], None]) -> Soak:
    """Raises NotToBeHad where there is no stress-ng, Failed where a daemon ends."""
    if not shutil.which(STRESS):
        raise NotToBeHad(f"the program {STRESS} is missing (package stress-ng)")
    at_first, done, began = dict(lab.watch.places), Soak(host), time.monotonic()
    _press(lab, host, seconds)
    ask_at, say_at = began, began + SAY_S
    while (now := time.monotonic()) - began < seconds:
        lab.processes.check()
        done.seconds = now - began
        for vm, places in at_first.items():
            if (found := lab.watch.places.get(vm, ())) != places:
                done.moved[f"{vm} was on {' and '.join(found) or 'no host'}"] = None
        if now >= ask_at:
            ask_at = now + ASK_S
            done.asked += 1
            done.left_s = min(done.left_s, _lease_left(lab, host))
        if now >= say_at:
            say_at = now + SAY_S
            say(str(done))
        time.sleep(LOOK_S)
    return done


def _press(lab: Lab, host: str, seconds: float) -> None:
    """More workers than the core can bear; memory is filled, read and given back all the time."""
    for pid in lab.network.processes(host):
        os.sched_setaffinity(pid, {CORE})
    argv = [
        STRESS,
        "--cpu",
        "6",
        "--vm",
        "2",
        "--vm-bytes",
        SHARE_OF_MEMORY,
        "--switch",
        "1",
        "--timeout",
        f"{seconds + 60:.0f}",
    ]
    lab.processes.start(NAME, [*lab.network.inside(host), "taskset", "--cpu-list", str(CORE), *argv], lab.folder)


def _lease_left(lab: Lab, host: str) -> float:
    """Seconds, as the leader counts them."""
    rows = lab.operator.ask("ha", "status")["hosts"]
    return next((row["lease_left"] for row in rows if row["name"] == host and row["lease_left"] is not None), 0.0)
