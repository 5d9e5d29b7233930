"""Random schedules of faults: nothing runs twice, and all that can run runs in the end. `vmsim chaos` plays more of them."""

from __future__ import annotations

import pytest

from sim.failover.playing import play
from sim.failover.schedules import schedule

SEEDS = 40
STEPS = 12


@pytest.mark.parametrize("seed", range(1, SEEDS + 1))
def test_a_random_schedule_ends_well(seed: int) -> None:
    found = schedule(seed, STEPS)
    outcome = play(found)
    assert not outcome.failed, f"{outcome}\n\n{found.text()}"


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert schedule(7, STEPS) == schedule(7, STEPS)
    assert schedule(7, STEPS) != schedule(8, STEPS)
