"""The simulated farm loses no job, kills none, and gives each a place of its own environment; its references are exact."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim import synthetic
from sim.batch import by_share
from sim.farm import Farm, Run, Starved
from sim.reference import BestSplit, fifo, level, shares, split
from sim.swf import Job, Split, Trace, read
from vmmanager.environments.demand import Policy, Quota, Settings
from vmmanager.environments.policies import POLICIES

TRACE = read(synthetic.PATH, Split("group", ()))
SLOTS = 20


def run(
    trace: Trace, policy: Policy, slots: int = SLOTS, places: int = 1, switch_s: float = 300.0, tick_s: float = 60.0
) -> Run:
    quotas = {
        name: Quota(min=1, share=share, jobs_per_slot=places)
        for name, share in zip(trace.environments, shares(trace), strict=True)
    }
    initial = by_share(trace, slots)
    return Farm(trace.jobs, trace.environments, initial, policy, Settings(quotas, switch_s=switch_s), tick_s).simulate()


def check(trace: Trace, found: Run, slots: int, places: int, switch_s: float) -> None:
    """Each job ran once, not before it came, on a slot that had a place for it and time to be switched before it."""
    assert found.killed == 0
    assert len(found.began_s) == len(trace.jobs)
    assert all(began >= job.submit_s for began, job in zip(found.began_s, trace.jobs, strict=True))
    assert set(found.slot) <= set(range(slots))
    assert found.end_s == max(began + job.run_s for began, job in zip(found.began_s, trace.jobs, strict=True))
    for slot in range(slots):
        here = sorted((found.began_s[n], n) for n, where in enumerate(found.slot) if where == slot)
        changes = [
            change for began, n in here if trace.jobs[n].run_s for change in ((began, 1), (began + trace.jobs[n].run_s, -1))
        ]
        running = 0
        for _, change in sorted(changes):
            running += change
            assert 0 <= running <= places
        for (began, job), (then, following) in pairwise(here):
            if trace.jobs[job].environment != trace.jobs[following].environment:
                assert then >= began + trace.jobs[job].run_s + switch_s - 1e-6
    order: dict[int, float] = {}
    for one, began in zip(trace.jobs, found.began_s, strict=True):
        assert began >= order.get(one.environment, 0.0)  # first come, first served
        order[one.environment] = began
    for mix in found.mix:
        assert sum(mix.serving) <= slots


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=lambda policy: policy.name)
def test_every_job_of_the_shipped_trace_runs_once_in_its_environment(policy: Policy, places: int) -> None:
    found = run(TRACE, policy, SLOTS // places, places)
    check(TRACE, found, SLOTS // places, places, 300.0)
    assert policy.name == "static" or (found.switches > 20 and found.boot_lost_s > 0)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    number = draw(st.integers(1, 3))
    jobs = st.builds(Job, st.integers(0, 20_000), st.integers(0, 5_000), st.integers(0, number - 1), st.just(1))
    found = sorted(draw(st.lists(jobs, min_size=1, max_size=60)))
    return Trace("drawn", tuple(f"e{n}" for n in range(number)), found, 0)


@settings(max_examples=40)
@given(traces(), st.sampled_from(sorted(POLICIES)), st.integers(3, 6), st.integers(1, 3), st.sampled_from((0.0, 300.0, 7200.0)))
def test_every_job_of_any_trace_runs_once(trace: Trace, policy: str, slots: int, places: int, switch_s: float) -> None:
    check(trace, run(trace, POLICIES[policy], slots, places, switch_s), slots, places, switch_s)


def test_a_farm_that_switches_nothing_is_the_fixed_split() -> None:
    found = run(TRACE, POLICIES["static"])
    assert found.switches == 0
    assert found.began_s == split(TRACE, by_share(TRACE, SLOTS), 1)


def test_skipping_looks_at_which_nothing_can_happen_changes_nothing() -> None:
    class Restless(Farm):
        def _tick(self, now: float) -> bool:
            super()._tick(now)
            return False

    quotas = {name: Quota(min=1) for name in TRACE.environments}
    some = TRACE.jobs[:1200]
    results = [
        farm(some, TRACE.environments, (10, 10), POLICIES["waterfill"], Settings(quotas), 60.0).simulate()
        for farm in (Farm, Restless)
    ]
    assert results[0].began_s == results[1].began_s
    assert results[0].mix == results[1].mix


def test_a_job_whose_environment_gets_no_slot_is_told_and_not_waited_for() -> None:
    closed = Settings({"group1": Quota(max=0), "group2": Quota()})
    with pytest.raises(Starved, match="waterfill: 1074 jobs wait for ever"):
        Farm(TRACE.jobs, TRACE.environments, (0, SLOTS), POLICIES["waterfill"], closed, 60.0).simulate()


@settings(max_examples=30)
@given(traces(), st.integers(3, 6), st.integers(1, 2))
def test_the_best_split_is_the_best_of_all(trace: Trace, slots: int, places: int) -> None:
    number = len(trace.environments)
    all_of_them: list[tuple[int, ...]] = [(slots,)] if number == 1 else [(n, slots - n) for n in range(1, slots)]
    if number == 3:
        all_of_them = [(a, b, slots - a - b) for a in range(1, slots - 1) for b in range(1, slots - a)]
    found = BestSplit(trace, slots, places).find(by_share(trace, slots))
    assert sum(found) == slots
    assert sum(split(trace, found, places)) == pytest.approx(min(sum(split(trace, each, places)) for each in all_of_them))


@given(traces(), st.integers(1, 5))
def test_a_free_farm_of_one_environment_is_one_queue(trace: Trace, places: int) -> None:
    alone = trace._replace(environments=("all",), jobs=[job._replace(environment=0) for job in trace.jobs])
    assert level(alone, places) == fifo(alone.jobs, places)


@given(traces(), st.integers(1, 5))
def test_a_free_farm_leaves_no_place_idle_while_a_job_waits(trace: Trace, places: int) -> None:
    began = level(trace, places)
    for now in {*began, *(job.submit_s for job in trace.jobs)}:
        running = sum(start <= now < start + job.run_s for start, job in zip(began, trace.jobs, strict=True))
        waiting = sum(job.submit_s <= now < start for start, job in zip(began, trace.jobs, strict=True))
        assert running <= places
        assert running == places or not waiting
