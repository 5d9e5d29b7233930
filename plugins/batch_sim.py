"""The batch contract on a simulated farm: its machines are the worker nodes, its jobs take their time, failures on request.

A full back end, chosen by conf like the others, beside the simulated hypervisors: it lives in the folder `batch` of their farm.
`python -m plugins.sim_batch` puts jobs in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from common.batch import BatchError, Demand, Node, NoSuchNode
from common.hypervisor import HypervisorError
from plugins import batch_sim_queue as core
from plugins.batch_sim_queue import Machine, SimNode, SimQueue
from plugins.sim_world import SimWorld

FOLDER = "batch"
STATE, LOCK = "queue.json", ".lock"
HOST = "batch"  # what failures.json calls it


@dataclass(frozen=True, slots=True)
class SimBatch:
    """`farm`: the folder of the simulated hypervisors. `clock`: the time that all processes share; `wait`: seconds."""

    host: str
    farm: Path
    queues: tuple[str, ...]
    clock: Callable[[], float] = time.time
    wait: Callable[[float], None] = time.sleep
    kind: str = field(default="sim", init=False)

    def demand(self, *, limit_s: float) -> tuple[Demand, ...]:
        self._obey("jobs", "", limit_s)
        with self.changed() as (state, _):
            return core.demand(state, self.clock())

    def nodes(self, *, limit_s: float) -> tuple[Node, ...]:
        self._obey("nodes", "", limit_s)
        with self.changed() as (state, machines):
            return core.nodes(state, machines, self.queues)

    def drain(self, node: str, reason: str, *, limit_s: float) -> None:
        with self._of("drain", node, limit_s) as state:
            state.nodes.setdefault(node, SimNode()).drained = True
            state.nodes[node].reason = reason

    def resume(self, node: str, *, limit_s: float) -> None:
        with self._of("resume", node, limit_s) as state:
            state.nodes[node] = SimNode()

    def gone(self, node: str, reason: str, *, limit_s: float) -> None:
        with self._of("gone", node, limit_s) as state:
            state.nodes[node] = SimNode(gone=True, reason=reason)
            self._requeue(state, node)

    def requeue(self, node: str, *, limit_s: float) -> int:
        with self._of("requeue", node, limit_s) as state:
            return self._requeue(state, node)

    def _requeue(self, state: SimQueue, node: str) -> int:
        there = [job for job in state.jobs if job.running and job.node == node]
        for job in there:
            core.requeue(job)
        return len(there)

    @contextlib.contextmanager
    def _of(self, operation: str, node: str, limit_s: float) -> Iterator[SimQueue]:
        self._obey(operation, node, limit_s)
        with self.changed() as (state, _):
            if not core.queue_of(node, self.queues):
                raise NoSuchNode(f"sim on {self.host}: no queue has a node {node} (queues: {', '.join(self.queues)})")
            yield state

    @contextlib.contextmanager
    def changed(self) -> Iterator[tuple[SimQueue, dict[str, Machine]]]:
        """The jobs, with what time has done to them, and the machines; written when the body does not raise."""
        machines = self._machines()
        path = self.farm / FOLDER / STATE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with (path.parent / LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = path.read_bytes() if path.exists() else b"{}"
                state = msgspec.json.decode(before, type=SimQueue)
                core.pass_time(state, machines, self.queues, self.clock())
                yield state, machines
                after = msgspec.json.encode(state)
                if after != before:
                    path.with_suffix(".new").write_bytes(after)
                    os.replace(path.with_suffix(".new"), path)
        except (OSError, msgspec.DecodeError) as fault:
            raise BatchError(f"sim on {self.host}: {path} cannot be used: {fault}") from None

    def _machines(self) -> dict[str, Machine]:
        """By name, whatever host they are on; one that has halted is none."""
        world, now = SimWorld(self.farm), self.clock()
        found: dict[str, Machine] = {}
        try:
            for host in world.hosts():
                for name, one in world.read(host).domains.items():
                    if not one.stopped and (one.ends_at is None or one.ends_at > now):
                        found[name] = Machine(one.boots_at, one.vcpus, up=one.boots_at <= now)
        except HypervisorError as fault:
            raise BatchError(f"sim on {self.host}: {fault}") from None
        return found

    def _obey(self, operation: str, node: str, limit_s: float) -> None:
        """Fails where failures.json says so."""
        try:
            failure = SimWorld(self.farm).take_failure(HOST, node, operation)
        except HypervisorError as fault:
            raise BatchError(f"sim on {self.host}: {fault}") from None
        if failure and failure.how == "hang":
            self.wait(limit_s)
            raise BatchError(f"sim on {self.host}: no end within {limit_s:.3g} s")
        if failure:
            raise BatchError(f"sim on {self.host}: {failure.why}")
