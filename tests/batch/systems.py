"""Every batch system that can be had here, small: two nodes of the queue `sl4`, one of `debian`, and what happens to them.

A world gives each test the contract itself (`batch`) and the outside: jobs come, machines come and go.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from common.batch import Batch, Node
from common.hypervisor import DomainConfig
from plugins.batch_program import Programs
from plugins.batch_sge import GridEngine
from plugins.batch_sim import SimBatch
from plugins.batch_slurm import Slurm
from plugins.hypervisor_sim import SimHypervisor
from plugins.sim_world import SimHost, SimWorld
from provision.programs import NotToBeHad
from slurmlab.cluster import Cluster, missing
from tests.batch import gridengine

LIMIT_S = 30.0
NODES = {"sl4-a": "sl4", "sl4-b": "sl4", "debian-a": "debian"}


class World(Protocol):
    """`keeps_reasons`: the batch system shows why a node was drained."""

    @property
    def keeps_reasons(self) -> bool: ...

    @property
    def batch(self) -> Batch: ...

    def start(self, node: str) -> None: ...

    def kill(self, node: str) -> None:
        """The machine is no more; nobody tells the batch system."""

    def submit(self, queue: str, seconds: float) -> str: ...

    def cancel(self, job: str) -> None: ...

    def hold(self, queue: str) -> str:
        """A job that waits for somebody's word, not for a node."""

    def runs(self, job: str) -> int:
        """How often it was started."""

    def passing(self) -> None:
        """A moment."""


def node(world: World, name: str) -> Node:
    return next(one for one in world.batch.nodes(limit_s=LIMIT_S) if one.name == name)


def until(world: World, what: str, ready: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, f"it is still not so that {what}: {world.batch.nodes(limit_s=LIMIT_S)}"
        world.passing()


# --- sim --------------------------------------------------------------------------------------------------------------------


@dataclass
class SimWorldOfJobs:
    folder: Path
    now: float = 1_000_000.0
    keeps_reasons: bool = True
    booted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        SimWorld(self.folder).add_host("xen1", SimHost())
        self._hypervisor = SimHypervisor("xen1", self.folder, lambda: self.now, lambda seconds: None)

    @property
    def batch(self) -> SimBatch:
        return SimBatch("head", self.folder, ("sl4", "debian"), lambda: self.now, self._wait)

    def _wait(self, seconds: float) -> None:
        self.now += seconds

    def start(self, node: str) -> None:
        self.now += 1
        self._hypervisor.start(DomainConfig(node, memory_bytes=2**28, vcpus=2), limit_s=1)

    def kill(self, node: str) -> None:
        self._hypervisor.destroy(node, limit_s=1)

    def submit(self, queue: str, seconds: float) -> str:
        with self.batch.changed() as (state, _):
            return str(state.submit(queue, seconds, self.now).id)

    def hold(self, queue: str) -> str:
        with self.batch.changed() as (state, _):
            return str(state.submit(queue, 1, self.now, held=True).id)

    def cancel(self, job: str) -> None:
        with self.batch.changed() as (state, _):
            state.jobs = [one for one in state.jobs if str(one.id) != job]

    def runs(self, job: str) -> int:
        with self.batch.changed() as (state, _):
            return next(one.runs for one in state.jobs if str(one.id) == job)

    def passing(self) -> None:
        self.now += 0.5


# --- Slurm ------------------------------------------------------------------------------------------------------------------


@dataclass
class SlurmWorld:
    cluster: Cluster
    keeps_reasons: bool = True

    @property
    def batch(self) -> Slurm:
        return Slurm(Programs("head", environment=(f"SLURM_CONF={self.cluster.layout.conf}",)))

    def start(self, node: str) -> None:
        self.cluster.start_node(node)

    def kill(self, node: str) -> None:
        self.cluster.kill_node(node)

    def submit(self, queue: str, seconds: float) -> str:
        log = self.cluster.layout.folder / "runs"
        return self.cluster.submit("-p", queue, "--wrap", f"echo $SLURM_JOB_ID >> {log}; sleep {seconds}")

    def hold(self, queue: str) -> str:
        return self.cluster.submit("-p", queue, "--hold", "--wrap", "true")

    def cancel(self, job: str) -> None:
        self.cluster.said("scancel", job)

    def runs(self, job: str) -> int:
        log = self.cluster.layout.folder / "runs"
        return log.read_text().split().count(job) if log.exists() else 0

    def passing(self) -> None:
        time.sleep(0.1)


@contextmanager
def sim(folder: Path) -> Iterator[World]:
    yield SimWorldOfJobs(folder)


@contextmanager
def slurm(folder: Path) -> Iterator[World]:
    if why := missing():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as short:  # a socket's path is short
        try:
            with Cluster(Path(short), NODES) as cluster:
                yield SlurmWorld(cluster)
        except NotToBeHad as fault:
            pytest.skip(str(fault))


# --- Grid Engine ------------------------------------------------------------------------------------------------------------


@dataclass
class GridEngineWorld:
    cluster: gridengine.Cluster
    keeps_reasons: bool = False

    @property
    def batch(self) -> GridEngine:
        inside = tuple(self.cluster.inside(gridengine.HEAD))
        return GridEngine(Programs("head", None, inside, self.cluster.environment))

    def start(self, node: str) -> None:
        self.cluster.start_node(node)

    def kill(self, node: str) -> None:
        self.cluster.kill_node(node)

    def submit(self, queue: str, seconds: float) -> str:
        script = f"echo $JOB_ID >> {self.cluster.folder}/runs; sleep {seconds}"
        return self.cluster.submit("-q", queue, "-b", "y", "-S", "/bin/sh", "-shell", "n", "/bin/sh", "-c", script)

    def hold(self, queue: str) -> str:
        return self.cluster.submit("-q", queue, "-h", "-b", "y", "/bin/true")

    def cancel(self, job: str) -> None:
        self.cluster.said("qdel", job)

    def runs(self, job: str) -> int:
        log = self.cluster.folder / "runs"
        return log.read_text().split().count(job) if log.exists() else 0

    def passing(self) -> None:
        time.sleep(0.1)


@contextmanager
def sge(folder: Path) -> Iterator[World]:
    if why := gridengine.missing():
        pytest.skip(why)
    folder.mkdir(parents=True)
    try:
        with gridengine.Cluster(folder, NODES) as cluster:
            yield GridEngineWorld(cluster)
    except NotToBeHad as fault:
        pytest.skip(str(fault))


SYSTEMS = {"sim": sim, "slurm": slurm, "sge": sge}
