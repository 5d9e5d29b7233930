"""What really runs where. It sees at once what must never be: a VM that runs twice, something foreign that was touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Truth:
    """`say(machine, sentence)`. `faults`: each is the end of the argument."""

    say: Callable[[str, str], None]
    protected: frozenset[str] = frozenset()
    where: dict[str, set[str]] = field(default_factory=dict)
    foreign: set[tuple[str, str]] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    starts: int = 0

    def runs(self, machine: str, vm: str, *, ours: bool = True) -> None:
        if not ours:
            self.foreign.add((machine, vm))
            return
        there = self.where.setdefault(vm, set())
        there.add(machine)
        self.starts += 1
        self.say(machine, f"{vm} runs")
        if len(there) > 1:
            what = f"{vm} RUNS TWICE: on {' and '.join(sorted(there))}"
            self.say("truth", what)
            if vm in self.protected:
                self.faults.append(what)

    def gone(self, machine: str, vm: str, why: str, *, ours: bool = True) -> None:
        if not ours:
            self.foreign.discard((machine, vm))
            if why != "power":
                self.faults.append(f"{vm} on {machine} IS NOT OURS, and is gone ({why})")
                self.say("truth", self.faults[-1])
            return
        self.where.get(vm, set()).discard(machine)
        self.say(machine, f"{vm} is gone ({why})")

    def running(self, vm: str) -> str:
        return " and ".join(sorted(self.where.get(vm, ())))
