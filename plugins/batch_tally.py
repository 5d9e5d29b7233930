"""Jobs as a batch system lists them one by one, taken together as the contract wants them. Pure; knows no batch system."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from common.batch import Demand


@dataclass(frozen=True, slots=True)
class Job:
    """One line of a listing. `count`: jobs that it stands for (what is left of an array). `since`: when it was submitted, in
    seconds of the epoch. `nodes`: on which it is; a job that is on any is neither waiting nor over, whatever it is called."""

    id: str
    queue: str
    waiting: bool  # and would start if there were a node
    running: bool
    feature: str = ""
    group: str = ""
    user: str = ""
    cores: int = 1
    count: int = 1
    since: float | None = None
    nodes: tuple[str, ...] = ()


def demand(jobs: Iterable[Job], now: float) -> tuple[Demand, ...]:
    taken: dict[tuple[str, str, str, str], list[Job]] = {}
    for job in jobs:
        if job.waiting or job.running:
            taken.setdefault((job.queue, job.feature, job.group, job.user), []).append(job)
    return tuple(_sum(key, group, now) for key, group in sorted(taken.items()))


def _sum(key: tuple[str, str, str, str], jobs: list[Job], now: float) -> Demand:
    waiting, running = [job for job in jobs if job.waiting], [job for job in jobs if job.running]
    return Demand(
        *key,
        waiting=sum(job.count for job in waiting),
        running=sum(job.count for job in running),
        waiting_cores=sum(job.count * job.cores for job in waiting),
        running_cores=sum(job.count * job.cores for job in running),
        oldest_wait_s=max((max(0.0, now - job.since) for job in waiting if job.since is not None), default=0.0),
    )


def by_node(jobs: Iterable[Job]) -> Counter[str]:
    """How many jobs are on each node."""
    return Counter(node for job in jobs for node in set(job.nodes))
