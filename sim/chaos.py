"""`vmsim chaos`: many random schedules, in several processes; one that fails is made as small as it can be, and printed."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from itertools import groupby

from sim.failover.forking import forked
from sim.failover.playing import Outcome, stand, storm
from sim.failover.schedules import SAME_FARM, Schedule, schedule
from sim.failover.story import Story

SHRINKS_MAX = 2_000  # attempts to make one smaller
FAILURES_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Result:
    seed: int
    outcome: Outcome


def run(start: int, seeds: int, steps: int, processes: int, *, show: bool = False) -> int:
    """0: all is well; 1: something ran twice, or did not recover. Raises ValueError."""
    if seeds < 1 or steps < 1 or processes < 1:
        raise ValueError("--seeds, --steps and --processes are 1 or more")
    began = time.monotonic()
    doubles = unrecovered = failures = 0
    for result in _results(range(start, start + seeds), steps, processes):
        if show:
            print(schedule(result.seed, steps).text())
        doubles += bool(result.outcome.faults)
        unrecovered += bool(result.outcome.missing)
        if result.outcome.failed:
            failures += 1
            if failures <= FAILURES_SHOWN_MAX:
                _explain(result, steps)
    took_s = time.monotonic() - began
    print(f"{took_s:.1f} s, {seeds / took_s:.1f} schedules a second", file=sys.stderr)
    print(f"chaos: {seeds} schedules, {doubles} double runs, {unrecovered} unrecovered")
    return 1 if failures else 0


def _results(seeds: range, steps: int, processes: int) -> Iterator[Result]:
    if processes == 1:
        yield from results(seeds, steps)
        return
    farms = [(list(each), steps) for _, each in groupby(seeds, lambda seed: seed // SAME_FARM)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for found in pool.imap_unordered(_of_farm, farms):
            yield from found


def _of_farm(wanted: tuple[list[int], int]) -> list[Result]:
    return list(results(*wanted))


def results(seeds: Iterable[int], steps: int) -> Iterator[Result]:
    """One farm after the other; each is brought up once."""
    for plan, found in groupby((schedule(seed, steps) for seed in seeds), lambda each: each.plan):
        standing = stand(plan)
        for each in found:
            yield Result(each.seed, played(standing, each.steps))


def played(standing: Story, steps: tuple[str, ...]) -> Outcome:
    """On a copy of this farm: to bring one up takes as long as many a storm. A daemon that falls over is a fault as well."""
    try:
        faults, missing = forked(lambda: astuple(storm(standing, steps)))
    except RuntimeError as fault:
        return Outcome((str(fault),), ())
    return Outcome(tuple(faults), tuple(missing))


def _explain(result: Result, steps: int) -> None:
    found = schedule(result.seed, steps)
    print(f"seed {result.seed}: {result.outcome}; as small as it gets:\n\n{smaller(found, result.outcome).text()}", flush=True)


def smaller(found: Schedule, outcome: Outcome) -> Schedule:
    """Steps are dropped, many at a time, then one by one, as long as it still fails in the same way."""
    standing = stand(found.plan)
    attempts, size = 0, max(1, len(found.steps) // 2)
    while size >= 1 and attempts < SHRINKS_MAX:
        at, dropped = 0, False
        while at < len(found.steps) and attempts < SHRINKS_MAX:
            attempts += 1
            fewer = replace(found, steps=found.steps[:at] + found.steps[at + size :])
            if played(standing, fewer.steps).kind == outcome.kind:
                found, dropped = fewer, True
            else:
                at += size
        if not dropped or size > 1:
            size //= 2
    return found
