"""The users of the lab: their jobs are submitted, and afterwards accounted for, by what Slurm says and by what the jobs wrote.

Each job appends a line to a file when it starts: what ran twice is there twice, whatever Slurm thinks of it."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from plugins.slurm_output import ENDED
from slurmlab.cluster import Cluster, LabFault
from xenlab.processes import Failed

OVER = frozenset(ENDED)


@dataclass(frozen=True, slots=True)
class Submitted:
    number: str
    kind: str
    at: float  # wall clock


class Work:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._log = cluster.layout.folder / "runs"

    def submit(self, kind: str, length_s: float, count: int = 1) -> list[Submitted]:
        script = f"echo $SLURM_JOB_ID $(date +%s.%N) >> {self._log}; sleep {length_s}"
        return [Submitted(self._cluster.submit("-p", kind, "--wrap", script), kind, time.time()) for _ in range(count)]

    def cancel(self, jobs: Iterable[Submitted]) -> None:
        self._cluster.said("scancel", *(job.number for job in jobs))

    def starts(self) -> dict[str, list[float]]:
        """Of each job: when it was started; wall clock."""
        found: dict[str, list[float]] = {}
        for line in self._log.read_text().splitlines() if self._log.exists() else ():
            number, at = line.split()
            found.setdefault(number, []).append(float(at))
        return found

    def states(self) -> dict[str, dict[str, str]]:
        """What Slurm says of all jobs."""
        lines = self._cluster.said("scontrol", "--oneliner", "show", "jobs").splitlines()
        told = [dict(pair.partition("=")[::2] for pair in line.split() if "=" in pair) for line in lines if "JobId=" in line]
        return {one["JobId"]: one for one in told}

    def over(self, jobs: Iterable[Submitted]) -> bool:
        told = self.states()
        return all(told.get(job.number, {}).get("JobState") in OVER for job in jobs)

    def check(self, jobs: Sequence[Submitted], restarted: Iterable[str] = ()) -> None:
        """Every job ended well, and was started once; those that were lost with their machine, twice. Raises Failed."""
        told, started, twice = self.states(), self.starts(), set(restarted)
        for job in jobs:
            state, times = told[job.number]["JobState"], len(started.get(job.number, ()))
            wanted = 2 if job.number in twice else 1
            if state != "COMPLETED" or times != wanted or told[job.number]["Restarts"] != str(wanted - 1):
                raise Failed(f"job {job.number} ({job.kind}): {state}, {times} times started; {told[job.number]}")

    def waits_s(self, jobs: Iterable[Submitted]) -> list[float]:
        started = self.starts()
        return [max(0.0, started[job.number][0] - job.at) for job in jobs]


class Wave(threading.Thread):
    """Jobs of one kind that come one after the other, `every_s`, as users' do."""

    def __init__(self, work: Work, kind: str, count: int, every_s: float, length_s: float) -> None:
        super().__init__(name=f"wave-{kind}", daemon=True)
        self._work, self._kind, self._count, self._every_s, self._length_s = work, kind, count, every_s, length_s
        self.jobs: list[Submitted] = []
        self._fault: Exception | None = None

    def run(self) -> None:
        began = time.monotonic()
        try:
            for number in range(self._count):
                time.sleep(max(0.0, began + number * self._every_s - time.monotonic()))
                self.jobs += self._work.submit(self._kind, self._length_s)
        except (LabFault, OSError, subprocess.SubprocessError) as fault:
            self._fault = fault

    def ended(self) -> bool:
        """All of them are submitted. Raises what went wrong with that."""
        if self._fault:
            raise self._fault
        return not self.is_alive()


@dataclass(frozen=True, slots=True)
class Waits:
    """Of one wave, in seconds."""

    mean: float
    longest: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} s (longest {self.longest:.1f} s)"


def of(waits_s: Sequence[float]) -> Waits:
    return Waits(statistics.fmean(waits_s), max(waits_s))
