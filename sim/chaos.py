"""`vmsim chaos`: many random schedules, in several processes; one that fails is made as small as it can be, and printed."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sim.failover.playing import Outcome, play
from sim.failover.schedules import Schedule, schedule

CHUNK = 10  # schedules that a process takes at a time
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
    for result in _results(start, seeds, steps, processes):
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


def _results(start: int, seeds: int, steps: int, processes: int) -> Iterator[Result]:
    wanted = [(seed, steps) for seed in range(start, start + seeds)]
    if processes == 1 or seeds < CHUNK:
        yield from map(_one, wanted)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_one, wanted, CHUNK)


def _one(wanted: tuple[int, int]) -> Result:
    seed, steps = wanted
    return Result(seed, play(schedule(seed, steps)))


def _explain(result: Result, steps: int) -> None:
    found = schedule(result.seed, steps)
    print(f"seed {result.seed}: {result.outcome}; as small as it gets:\n\n{smaller(found, result.outcome).text()}", flush=True)


def smaller(found: Schedule, outcome: Outcome) -> Schedule:
    """Steps are dropped, many at a time, then one by one, as long as it still fails in the same way."""
    attempts, size = 0, max(1, len(found.steps) // 2)
    while size >= 1 and attempts < SHRINKS_MAX:
        at, dropped = 0, False
        while at < len(found.steps) and attempts < SHRINKS_MAX:
            attempts += 1
            fewer = replace(found, steps=found.steps[:at] + found.steps[at + size :])
            if play(fewer).kind == outcome.kind:
                found, dropped = fewer, True
            else:
                at += size
        if not dropped or size > 1:
            size //= 2
    return found
