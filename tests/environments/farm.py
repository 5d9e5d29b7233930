"""A whole farm with environments in pretend time: the real cores of managers and clients (tests/manager/world.py) over hosts
and a batch system that are kept in memory. The batch system is the pure half of the simulated one that ships.

It watches the one promise that must never break: no machine is stopped by an order while a job runs on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common.batch import DRAIN, GONE, JOBS, NODES, REQUEUE, RESUME
from common.config.load import load_manager
from common.config.model import BatchConfig, ClientConfig, EnvironmentsConfig, HypervisorConfig, PropertyConfig, VmConfig, Where
from common.keys import raw_public
from common.protocol import Value
from plugins import batch_sim_queue as core
from plugins.batch_sim_queue import Machine, SimNode, SimQueue
from tests.manager.world import ClientProcess, World, private_key
from vmclient import events as client_events
from vmmanager import events

HEAD = "head"
TICKS = 5.0
VM_COMMANDS = ("vm-start", "vm-stop", "vm-destroy")
BATCH_COMMANDS = (DRAIN, RESUME, GONE, REQUEUE)
FILES = """\
[environments]
head = head
hosts = wn*
ticks = 5
hold = 30
{more}
[sl4]
template = worker4
queue = sl4
boot = 20
{sl4}
[sl5]
template = worker5
queue = sl5
boot = 20
{sl5}
"""
VMS = """\
[worker4]
template = yes
memory = 512M
kernel = /boot/worker4
[worker5]
template = yes
memory = 512M
kernel = /boot/worker5
"""


def configured(folder: Path, *, more: str = "", sl4: str = "", sl5: str = "", text: str = "", vms: str = VMS) -> Any:
    """What the files say: a ManagerConfig. Raises ConfigurationError."""
    (folder / "vmmanager.ini").write_text("[manager]\nname = m1\n")
    (folder / "vms.ini").write_text(vms)
    (folder / "environments.ini").write_text(text or FILES.format(more=more, sl4=sl4, sl5=sl5))
    for name in ("vmmanager.ini", "vms.ini", "environments.ini"):
        (folder / name).chmod(0o644)
    return load_manager(folder / "vmmanager.ini")


@dataclass
class Box:
    """A simulated machine on a host. `ends_at`: it is shutting down."""

    boots_at: float
    ends_at: float | None = None


@dataclass
class Trouble:
    """What goes wrong on request."""

    mute_batch: str = ""  # batch readings fail, and why
    hung: bool = False  # batch readings are killed at their limit
    fail_starts: set[str] = field(default_factory=set)  # VMs or hosts whose starts fail
    never_up: set[str] = field(default_factory=set)  # VMs that start and never come up
    fail_orders: int = 0  # so many batch commands fail
    lose_answers: int = 0  # so many batch commands are done, and then hang


class EnvWorld(World):
    """`boot_s`: from the start until it takes jobs. `killed`: jobs that an order of a manager ended."""

    def __init__(self, hear: Callable[[str, events.Effect], None] = lambda who, effect: None) -> None:
        super().__init__(hear)
        self.commands |= dict.fromkeys(VM_COMMANDS, "vm") | dict.fromkeys(BATCH_COMMANDS, "node")
        self.hosts: dict[str, dict[str, Box]] = {}
        self.queue = SimQueue()
        self.queues = ("sl4", "sl5", "sl6")
        self.boot_s, self.shutdown_s = 10.0, 2.0
        self.trouble = Trouble()
        self.killed: list[str] = []

    # --- who is there -----------------------------------------------------------------------------------------------------

    def add_env_manager(self, name: str, config: Any, managers: tuple[str, ...] = ()) -> None:
        self.add_manager(name, environments=config.environments, vms=config.vms, managers=managers)

    def configure_all(self, environments: EnvironmentsConfig, vms: tuple[VmConfig, ...]) -> None:
        for name in self.managers:
            self.reconfigure(name, environments=environments, vms=vms)

    def add_host(self, name: str) -> None:
        self.hosts[name] = {}
        self._add(name, ("domains", "hypervisor"), allow=("vm",), hypervisor=HypervisorConfig(engine="sim"))

    def add_head(self, name: str = HEAD) -> None:
        self._add(name, (JOBS, NODES), allow=("batch",), batch=BatchConfig(engine="sim"))

    def _add(self, name: str, properties: tuple[str, ...], **settings: Any) -> None:
        told = tuple(
            PropertyConfig(each, each, Where("farm"), ticks=TICKS, push="always", timeout_s=4.0) for each in properties
        )
        config = ClientConfig(name, properties=told, **settings)
        self.clients[name] = ClientProcess(config)
        self.trusted.append((name, raw_public(private_key(name)), "client"))
        self.start_client(name)

    def crash(self, host: str, vm: str) -> None:
        """The machine is gone, without an order."""
        del self.hosts[host][vm]

    def kill_host(self, host: str) -> None:
        """The host loses power: its client, its machines."""
        self.kill_client(host)
        self.hosts[host].clear()

    # --- jobs -------------------------------------------------------------------------------------------------------------

    def submit(self, queue: str, count: int = 1, length_s: float = 60.0) -> None:
        for _ in range(count):
            self.queue.submit(queue, length_s, self.mono)
        self._pass_time()

    def jobs(self, queue: str) -> dict[str, int]:
        self._pass_time()
        among = [job for job in self.queue.jobs if job.queue == queue]
        return {
            "waiting": sum(job.waiting for job in among),
            "running": sum(job.running for job in among),
            "ended": sum(job.ended is not None for job in among),
            "again": sum(job.runs > 1 for job in among),
        }

    def machines(self) -> dict[str, Machine]:
        found = {}
        for boxes in self.hosts.values():
            for name, box in list(boxes.items()):
                if box.ends_at is not None and box.ends_at <= self.mono:
                    del boxes[name]
                else:
                    found[name] = Machine(box.boots_at, 1, up=box.boots_at <= self.mono and name not in self.trouble.never_up)
        return found

    def _pass_time(self) -> dict[str, Machine]:
        machines = self.machines()
        core.pass_time(self.queue, machines, self.queues, self.mono)
        return machines

    # --- what clients do ----------------------------------------------------------------------------------------------------

    def _client_does(self, process: ClientProcess, effect: client_events.Effect) -> list[client_events.Event]:
        if isinstance(effect, client_events.Read):
            return self._reads(process, effect.property.name, effect.property.timeout_s)
        if isinstance(effect, client_events.Run):
            process.runs.append(effect.execution)
            return self._runs(process, effect)
        return super()._client_does(process, effect)

    def _reads(self, process: ClientProcess, name: str, limit_s: float) -> list[client_events.Event]:
        if name in (JOBS, NODES) and self.trouble.hung:
            done = client_events.ReadDone(name, None, f"no end within {limit_s:g} s", "", self.mono)
            process.later.append((self.mono + limit_s, done))
            return []
        value, error = self._value(process.config.name, name)
        return [client_events.ReadDone(name, value, error, "", self.mono)]

    def _value(self, client: str, name: str) -> tuple[Value, str]:
        machines = self._pass_time()
        if name == "domains":
            return [self._domain(vm, box) for vm, box in sorted(self.hosts[client].items())], ""
        if name == "hypervisor":
            free = (16 - len(self.hosts[client])) << 30
            return {
                "kind": "sim",
                "version": "1",
                "memory_bytes": 16 << 30,
                "memory_free_bytes": free,
                "cpus": 8,
                "load": 0.0,
            }, ""
        if self.trouble.mute_batch:
            return None, self.trouble.mute_batch
        if name == JOBS:
            return [asdict(each) for each in core.demand(self.queue, self.mono)], ""
        return [asdict(each) for each in core.nodes(self.queue, machines, self.queues)], ""

    def _domain(self, vm: str, box: Box) -> Value:
        state = "dying" if box.ends_at is not None else "running"
        return {"name": vm, "state": state, "memory_bytes": 1 << 29, "vcpus": 1, "ours": True, "note": ""}

    def _runs(self, process: ClientProcess, run: client_events.Run) -> list[client_events.Event]:
        client, about = process.config.name, str(run.parameters.get("vm") or run.parameters.get("node"))
        if run.command in BATCH_COMMANDS:
            return self._batch(process, run, about)
        if run.command == "vm-start":
            if {about, client} & self.trouble.fail_starts:
                return [_done(run, "the image is broken", "error")]
            self.hosts[client][about] = Box(self.mono + self.boot_s)
            return [_done(run)]
        self._pass_time()
        self.killed += [f"{job.id} on {about}" for job in self.queue.jobs if job.running and job.node == about]
        if about in self.hosts[client]:
            self.hosts[client][about].ends_at = self.mono + self.shutdown_s
        process.later.append((self.mono + self.shutdown_s, _done(run)))
        return []

    def _batch(self, process: ClientProcess, run: client_events.Run, node: str) -> list[client_events.Event]:
        if self.trouble.fail_orders:
            self.trouble.fail_orders -= 1
            return [_done(run, "the controller does not answer", "error")]
        self._pass_time()
        if not core.queue_of(node, self.queues):
            return [_done(run, f"no node {node}", "refused")]
        if run.command == DRAIN:
            self.queue.nodes[node] = SimNode(drained=True, reason=str(run.parameters.get("reason")))
        elif run.command == RESUME:
            self.queue.nodes[node] = SimNode()
        else:
            self.queue.nodes[node] = SimNode(gone=True, reason=str(run.parameters.get("reason")))
            for job in self.queue.jobs:
                if job.running and job.node == node:
                    core.requeue(job)
        self._pass_time()
        if self.trouble.lose_answers:
            self.trouble.lose_answers -= 1
            process.later.append((self.mono + run.timeout_s, _done(run, "no end within its time", "timeout")))
            return []
        return [_done(run)]

    def wait(self, seconds: float) -> None:
        """In small steps, so that jobs begin and end when they do."""
        end = self.mono + seconds
        while self.mono < end - 1e-6:
            super().wait(min(1.0, end - self.mono))
            self._pass_time()

    # --- what is so -----------------------------------------------------------------------------------------------------------

    @property
    def environments(self) -> Any:
        process = self.managers[self.leader()]
        assert process.core is not None
        return process.core.environments

    def mix(self) -> dict[str, int]:
        """Machines that are up, by environment."""
        found: dict[str, int] = {}
        for name, machine in self.machines().items():
            if machine.up:
                found[name.partition("-")[0]] = found.get(name.partition("-")[0], 0) + 1
        return found


def _done(run: client_events.Run, reason: str = "", kind: Any = "ok") -> client_events.RunDone:
    return client_events.RunDone(run.execution, kind, reason, None if reason else {"done": run.command}, "", 0.1)
