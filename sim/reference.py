"""What policies are measured against: fixed splits, and farms in which a switch costs nothing. Jobs in, when each began out."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

from sim.swf import Job, Trace


def fifo(jobs: Sequence[Job], places: int) -> list[float]:
    """One queue, first come first served, any job on any place: when each begins, in seconds."""
    until_s = [0.0] * places  # when each place is free
    began_s = []
    for submit_s, run_s, _, _ in jobs:
        start_s = max(until_s[0], submit_s)
        began_s.append(start_s)
        heapq.heapreplace(until_s, start_s + run_s)
    return began_s


def level(trace: Trace, places: int) -> list[float]:
    """A queue for each environment; a place that is free serves at once the environment that has fewest jobs running."""
    jobs = trace.jobs
    queues: list[deque[int]] = [deque() for _ in trace.environments]
    running, free = [0] * len(queues), places
    ends: list[tuple[float, int]] = []
    began_s = [0.0] * len(jobs)

    def begin(job: int, now: float) -> None:
        began_s[job] = now
        running[jobs[job].environment] += 1
        heapq.heappush(ends, (now + jobs[job].run_s, jobs[job].environment))

    def end() -> int:
        """One job ends, and the next one begins on its place: 1 where there is none."""
        now, home = heapq.heappop(ends)
        running[home] -= 1
        waiting = [number for number, queue in enumerate(queues) if queue]
        if not waiting:
            return 1
        begin(queues[min(waiting, key=running.__getitem__)].popleft(), now)
        return 0

    for number, job in enumerate(jobs):
        while ends and ends[0][0] <= job.submit_s:
            free += end()
        if free:
            free -= 1
            begin(number, job.submit_s)
        else:
            queues[job.environment].append(number)
    while ends:
        end()
    return began_s


def streams(trace: Trace) -> list[list[Job]]:
    """The jobs of each environment."""
    found: list[list[Job]] = [[] for _ in trace.environments]
    for job in trace.jobs:
        found[job.environment].append(job)
    return found


def split(trace: Trace, slots: Sequence[int], jobs_per_slot: int) -> list[float]:
    """Each environment has its slots for ever."""
    began = [iter(fifo(jobs, count * jobs_per_slot)) for jobs, count in zip(streams(trace), slots, strict=True)]
    return [next(began[job.environment]) for job in trace.jobs]


def shares(trace: Trace) -> list[float]:
    """The share of each environment in all work."""
    work_s = [sum(job.run_s for job in jobs) for jobs in streams(trace)]
    return [work / (sum(work_s) or 1.0) for work in work_s]


class BestSplit:
    """The fixed split with the least mean wait, found with the whole trace in hand; exact, as waits only fall with places."""

    def __init__(self, trace: Trace, slots: int, jobs_per_slot: int) -> None:
        self._streams, self._slots, self._places = streams(trace), slots, jobs_per_slot
        self._known: dict[tuple[int, int], float] = {}

    def find(self, first: Sequence[int]) -> tuple[int, ...]:
        """`first` is any split; the nearer it is to the best, the less has to be looked at."""
        limit = sum(self._wait_s(number, slots) for number, slots in enumerate(first))
        least = [self._least(number, limit) for number in range(len(first))]
        best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}  # slots used so far: waits, split
        for number, low in enumerate(least):
            following: dict[int, tuple[float, tuple[int, ...]]] = {}
            rest = sum(least[number + 1 :])
            for used, (wait_s, chosen) in best.items():
                most = self._slots - used - rest
                for slots in range(low if number + 1 < len(least) else max(low, most), most + 1):
                    found = (wait_s + self._wait_s(number, slots), (*chosen, slots))
                    following[used + slots] = min(found, following.get(used + slots, found))
            best = following
        return best[self._slots][1]

    def _least(self, number: int, limit_s: float) -> int:
        """The fewest slots with which this environment alone does not wait longer than all together in a split we know."""
        low, high = 1, self._slots - len(self._streams) + 1
        while low < high:
            middle = (low + high) // 2
            if self._wait_s(number, middle) <= limit_s:
                high = middle
            else:
                low = middle + 1
        return low

    def _wait_s(self, number: int, slots: int) -> float:
        if (number, slots) not in self._known:
            jobs = self._streams[number]
            began = fifo(jobs, slots * self._places)
            self._known[number, slots] = sum(began) - sum(job.submit_s for job in jobs)
        return self._known[number, slots]
