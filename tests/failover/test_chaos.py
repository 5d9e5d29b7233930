"""Random schedules of faults: nothing runs twice, and all that can run runs in the end. `vmsim chaos` plays more of them."""

from __future__ import annotations

import pytest

from sim.chaos import played, results
from sim.failover.playing import play, stand
from sim.failover.schedules import SAME_FARM, schedule

FARMS = 40  # about a minute of one core
STEPS = 12


@pytest.mark.parametrize("farm", range(FARMS))
def test_random_schedules_end_well(farm: int) -> None:
    for result in results(range(farm * SAME_FARM, (farm + 1) * SAME_FARM), STEPS):
        assert not result.outcome.failed, f"{result.outcome}\n\n{schedule(result.seed, STEPS).text()}"


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert schedule(7, STEPS) == schedule(7, STEPS)
    assert schedule(7, STEPS) != schedule(8, STEPS)


def test_a_farm_that_was_played_on_is_as_it_was() -> None:
    found = schedule(7, STEPS)
    standing = stand(found.plan)
    before = standing.begin().now
    assert played(standing, found.steps) == played(standing, found.steps) == play(found)
    assert standing.begin().now == before


def test_what_falls_over_has_failed() -> None:
    assert played(stand(schedule(7, STEPS).plan), ("no such step",)).failed
