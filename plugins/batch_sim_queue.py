"""The jobs and nodes of the simulated batch system, and what time does to them. Values in, values changed; no clock, no file.

First come, first served in each queue; a job starts on the first node with enough free cores. As in a real batch system, nobody
tells it that a machine has died: it sees that when it looks, and jobs that were on it stay there until somebody says that the
node is gone, or the machine comes back without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from common.batch import Demand, Node, NodeState

ENDED_KEPT_MAX = 5_000


class SimJob(msgspec.Struct):
    """Times are seconds of the clock that all processes share. `runs`: how often it was started; more than once: it was
    lost."""

    id: int
    queue: str
    length_s: float
    submitted: float
    cores: int = 1
    user: str = ""
    group: str = ""
    feature: str = ""
    held: bool = False
    node: str = ""
    boot: float = 0.0  # when the machine began to run that it was started on
    started: float | None = None
    ended: float | None = None
    runs: int = 0

    @property
    def running(self) -> bool:
        return self.started is not None and self.ended is None

    @property
    def waiting(self) -> bool:
        return self.started is None and not self.held


class SimNode(msgspec.Struct):
    """What was said of a node. `gone`: nothing is sent to it until it is resumed."""

    drained: bool = False
    gone: bool = False
    reason: str = ""


class SimQueue(msgspec.Struct):
    """All of it, as it stands in the file."""

    last_id: int = 0
    jobs: list[SimJob] = []
    nodes: dict[str, SimNode] = {}

    def submit(self, queue: str, length_s: float, now: float, **more: object) -> SimJob:
        self.last_id += 1
        job = msgspec.convert({"id": self.last_id, "queue": queue, "length_s": length_s, "submitted": now, **more}, SimJob)
        self.jobs.append(job)
        return job


@dataclass(frozen=True, slots=True)
class Machine:
    """A simulated machine that is there. `boot`: when it will have, or has, booted."""

    boot: float
    cores: int
    up: bool


def queue_of(node: str, queues: tuple[str, ...]) -> str:
    """The queue that it is a node of: `X-...` serves `X`. Empty where there is none."""
    served = [queue for queue in queues if node.startswith(f"{queue}-")]
    return max(served, key=len, default="")


def pass_time(state: SimQueue, machines: Mapping[str, Machine], queues: tuple[str, ...], now: float) -> None:
    """Jobs whose time is over end, at that time; then others start."""
    for job in state.jobs:
        machine = machines.get(job.node) if job.running else None
        if machine is not None and machine.up and machine.boot != job.boot:
            requeue(job)  # the machine has booted since, and knows nothing of it
    while (due := _next_end(state, machines)) and due[0] <= now:
        at, job = due
        job.ended = at
        _start(state, machines, queues, at)
    _start(state, machines, queues, now)
    ended = [job for job in state.jobs if job.ended is not None]
    forgotten = {job.id for job in ended[: max(0, len(ended) - ENDED_KEPT_MAX)]}
    state.jobs = [job for job in state.jobs if job.id not in forgotten]


def _next_end(state: SimQueue, machines: Mapping[str, Machine]) -> tuple[float, SimJob] | None:
    """Of those that run where a machine runs them."""
    ends = [
        (job.started + job.length_s, job)
        for job in state.jobs
        if job.started is not None and job.ended is None and _serves(machines.get(job.node), job)
    ]
    return min(ends, key=lambda end: (end[0], end[1].id), default=None)


def _serves(machine: Machine | None, job: SimJob) -> bool:
    return machine is not None and machine.up and machine.boot == job.boot


def _start(state: SimQueue, machines: Mapping[str, Machine], queues: tuple[str, ...], at: float) -> None:
    free = {
        name: machine.cores
        for name, machine in sorted(machines.items())
        if machine.up and machine.boot <= at and not (state.nodes.get(name) or SimNode()).drained and not _gone(state, name)
    }
    for job in state.jobs:
        if job.running and job.node in free:
            free[job.node] -= job.cores
    for job in state.jobs:
        if not job.waiting or job.submitted > at:
            continue
        node = next((name for name, cores in free.items() if cores >= job.cores and queue_of(name, queues) == job.queue), "")
        if node:
            free[node] -= job.cores
            job.node, job.boot, job.started, job.runs = node, machines[node].boot, at, job.runs + 1


def _gone(state: SimQueue, node: str) -> bool:
    return node in state.nodes and state.nodes[node].gone


def requeue(job: SimJob) -> None:
    job.node, job.started, job.boot = "", None, 0.0


def nodes(state: SimQueue, machines: Mapping[str, Machine], queues: tuple[str, ...]) -> tuple[Node, ...]:
    """Machines that belong to a queue, and those of which something was said."""
    names = {name for name in machines.keys() | state.nodes.keys() if queue_of(name, queues)}
    return tuple(_node(name, state, machines.get(name)) for name in sorted(names))


def _node(name: str, state: SimQueue, machine: Machine | None) -> Node:
    said = state.nodes.get(name) or SimNode()
    jobs = sum(job.running and job.node == name for job in state.jobs)
    return Node(name, _state(said, machine, jobs), jobs, machine.cores if machine else 0, said.reason)


def _state(said: SimNode, machine: Machine | None, jobs: int) -> NodeState:
    if machine is None:
        return "down"
    if not machine.up:
        return "joining"
    if said.drained or said.gone:
        return "draining" if jobs else "drained"
    return "busy" if jobs else "idle"


def demand(state: SimQueue, now: float) -> tuple[Demand, ...]:
    groups: dict[tuple[str, str, str, str], list[SimJob]] = {}
    for job in state.jobs:
        if job.running or job.waiting:
            groups.setdefault((job.queue, job.feature, job.group, job.user), []).append(job)
    return tuple(_sum(key, jobs, now) for key, jobs in sorted(groups.items()))


def _sum(key: tuple[str, str, str, str], jobs: list[SimJob], now: float) -> Demand:
    waiting, running = [job for job in jobs if job.waiting], [job for job in jobs if job.running]
    return Demand(
        *key,
        waiting=len(waiting),
        running=len(running),
        waiting_cores=sum(job.cores for job in waiting),
        running_cores=sum(job.cores for job in running),
        oldest_wait_s=max((now - job.submitted for job in waiting), default=0.0),
    )
