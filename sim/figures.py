"""The figures of one run: waits, slowdown, utilisation, what switching cost. From when each job began; knows no policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sim.farm import Mix, Run
from sim.swf import Trace

SLOWDOWN_FLOOR_S = 10.0  # shorter jobs count as this long in the bounded slowdown (Feitelson, JSSPP 2001)
QUANTILES = 200  # points of the distribution of waits that is kept
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds in the queue, of the jobs of one environment or of all."""

    jobs: int
    mean_s: float
    median_s: float
    p95_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    waits: Waits
    slowdown: float  # bounded, mean
    work_wait_s: float  # mean wait, each job by its work
    utilisation: float  # share of all places x time in which a job ran
    switches: int
    taken_back: int
    drain_lost_h: float  # slot-hours
    boot_lost_h: float  # slot-hours
    killed: int
    environments: tuple[Waits, ...]
    quantiles_s: tuple[tuple[float, ...], ...]  # of waits, QUANTILES + 1 each: of all jobs, then by environment
    mix: tuple[Mix, ...]


def figures(trace: Trace, run: Run, places: int) -> Figures:
    waits = [began - job.submit_s for began, job in zip(run.began_s, trace.jobs, strict=True)]
    work_s = sum(job.run_s for job in trace.jobs)
    slow = fmean(
        max(1.0, (wait + job.run_s) / max(job.run_s, SLOWDOWN_FLOOR_S)) for wait, job in zip(waits, trace.jobs, strict=True)
    )
    ordered = [sorted(waits), *_by_environment(trace, waits)]
    every, *each = [_waits(line) for line in ordered]
    return Figures(
        waits=every,
        slowdown=slow,
        work_wait_s=sum(wait * job.run_s for wait, job in zip(waits, trace.jobs, strict=True)) / (work_s or 1.0),
        utilisation=work_s / (places * run.end_s or 1.0),
        switches=run.switches,
        taken_back=run.taken_back,
        drain_lost_h=run.drain_lost_s / HOUR_S,
        boot_lost_h=run.boot_lost_s / HOUR_S,
        killed=run.killed,
        environments=tuple(each),
        quantiles_s=tuple(_quantiles(line) for line in ordered),
        mix=tuple(run.mix),
    )


def reference(trace: Trace, began_s: list[float], serving: Sequence[int] = ()) -> Run:
    """A run of a farm in which nothing is switched, or for nothing; `serving`: its fixed split."""
    end_s = max(began + job.run_s for began, job in zip(began_s, trace.jobs, strict=True))
    mix = [Mix(0.0, tuple(serving), ()), Mix(end_s, tuple(serving), ())] if serving else []
    return Run(began_s, [], end_s, mix=mix)


def _by_environment(trace: Trace, waits: Sequence[float]) -> list[list[float]]:
    found: list[list[float]] = [[] for _ in trace.environments]
    for wait, job in zip(waits, trace.jobs, strict=True):
        found[job.environment].append(wait)
    return [sorted(line) for line in found]


def _waits(ordered: Sequence[float]) -> Waits:
    return Waits(len(ordered), fmean(ordered), _at(ordered, 0.5), _at(ordered, 0.95), ordered[-1])


def _quantiles(ordered: Sequence[float]) -> tuple[float, ...]:
    return tuple(_at(ordered, number / QUANTILES) for number in range(QUANTILES + 1))


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]
