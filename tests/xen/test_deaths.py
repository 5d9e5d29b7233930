"""What is measured when hosts die: from the death to the last of the host's VMs, with the leader too where the kind says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from xenlab import deaths
from xenlab.deaths import Death, measure
from xenlab.operator import Operator
from xenlab.processes import Failed, Processes


class Asked(Operator):
    def leader(self) -> str:
        return "m1"

    def online(self) -> set[str]:
        return {"h1", "h2"}


class Lab:
    """Two VMs; the one comes to life 1 s after its host's death, the other 3 s."""

    back_s = 5.0

    def __init__(self, folder: Path, twice: bool) -> None:
        self.processes = Processes(folder)
        self.operator: Operator = Asked({"m1": folder})
        self.done: list[str] = []
        self._twice = twice

    def do(self, words: tuple[str, ...]) -> tuple[int, str]:
        self.done.append(" ".join(words))
        if words == ("kill", "h1"):
            at = datetime.now() + timedelta(seconds=2)
            with (self.processes.logs / "m1.log").open("a") as log:
                log.write(f"{at.isoformat(' ', 'milliseconds')} warning failover: host h1: lost -> dead (lease is over)\n")
        return (1, "vm1 runs on h1 and on h2") if words == ("twice",) and self._twice else (0, "")

    def victim(self) -> str:
        return "h1"

    def vms_of(self, host: str) -> list[str]:
        return ["vm1", "vm2"]

    def elsewhere(self, vm: str, host: str, after: float) -> float:
        return after + (1.0 if vm == "vm1" else 3.0)

    def all_run(self) -> bool:
        return True


def measured(folder: Path, death: Death[str], monkeypatch: pytest.MonkeyPatch, *, twice: bool = False) -> tuple[str, list[str]]:
    monkeypatch.setattr(deaths, "SETTLE_S", 0.0)
    lab = Lab(folder, twice)

    @contextmanager
    def up(farm: str) -> Iterator[Lab]:
        assert farm == "plain"
        yield lab

    return measure([death], 2, up, lambda text: None), lab.done


def test_a_death_is_over_when_the_last_vm_lives_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, done = measured(tmp_path, Death("power", "plain", "kill", ("start",), with_leader=True), monkeypatch)
    assert re.fullmatch(
        r"power +2 runs  dead after   2.0 s  median   3.0  p95   3.0  max   3.0 s  \(goal 30\)", text.splitlines()[1]
    )
    assert done == ["kill h1", "kill m1", "start h1", "start m1"] * 2 + ["twice"]


def test_a_vm_that_ran_twice_gives_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Failed, match="vm1 runs on h1 and on h2"):
        measured(tmp_path, Death("power", "plain", "kill", ("start",)), monkeypatch, twice=True)
