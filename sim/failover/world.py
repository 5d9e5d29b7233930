"""A whole farm in pretend time: hosts, managers, bus, storage, power, and what can happen to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config.model import FailoverConfig, FenceConfig, ManagerConfig, VmConfig, VmsConfig, Where
from common.envelope import Role
from common.leasewords import LEASE
from common.protocol import Control, Execute, Message
from sim.failover.bus import NOTICE_S, Bus
from sim.failover.hosts import HostBox
from sim.failover.machine import MIB, Machine
from sim.failover.managers import ManagerDaemon
from sim.failover.power import Power
from sim.failover.storage import Storage
from sim.failover.timeline import Timeline
from sim.failover.truth import Truth

STORAGE = Path("/shared")
Log = Callable[[float, str, str], None]


@dataclass(slots=True)
class Plan:
    """What the farm is made of."""

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    managers: tuple[str, ...] = ("m1",)
    witness: str = ""
    vms: tuple[VmConfig, ...] = ()
    storage: bool = False
    notice_s: float = NOTICE_S  # of the bus
    fences: tuple[FenceConfig, ...] = ()
    failover: dict[str, Any] = field(default_factory=dict)  # fields of FailoverConfig
    orders: VmsConfig = field(default_factory=VmsConfig)


def vm(name: str, **more: Any) -> VmConfig:
    """A small protected VM that is wanted running."""
    fields = {"memory_bytes": 512 * MIB, "kernel": "/boot/vm", "state": "running", "protect": True}
    return VmConfig(name, Where("vms.ini", section=name), **{**fields, **more})


class World:
    """`log(seconds, who, sentence)` is told what daemons say and what really happens."""

    def __init__(self, plan: Plan, log: Log = lambda at, who, text: None) -> None:
        self.plan = plan
        self._log = log
        self.timeline = Timeline()
        self.bus = Bus(self.timeline, plan.notice_s)
        self.storage = Storage(self.timeline)
        self.has_storage = plan.storage
        self.truth = Truth(self.log, frozenset(each.name for each in plan.vms if each.protect))
        self.power = Power(self)
        self.cut_between: set[frozenset[str]] = set()  # hosts that do not reach each other for a migration
        self.faults = self.truth.faults
        self._reigns: dict[int, str] = {}
        self._epochs: dict[str, int] = {}  # manager -> the highest epoch under which it has spoken
        self._call = 0
        self.hosts = {name: self._host(name, settings) for name, settings in plan.hosts.items()}
        self.managers = {name: ManagerDaemon(self, self._config(name)) for name in plan.managers}

    def _host(self, name: str, settings: dict[str, Any]) -> HostBox:
        box = HostBox(self, name, memory_mib=int(settings.get("memory_mib", 8192)), witness=name == self.plan.witness)
        dog = box.machine.watchdog
        dog.least_s, dog.most_s = settings.get("watchdog_s", (dog.least_s, dog.most_s))
        return box

    def _config(self, name: str) -> ManagerConfig:
        plan = self.plan
        failover = FailoverConfig(witness=plan.witness, storage=STORAGE if plan.storage else None, **plan.failover)
        names = plan.managers if len(plan.managers) > 1 else ()
        return ManagerConfig(
            name, vms=plan.vms, orders=plan.orders, failover=failover, fences=plan.fences, managers=names, grace_s=0.0
        )

    def start(self) -> None:
        """All daemons come up."""
        for manager in self.managers.values():
            manager.start()
        for host in self.hosts.values():
            host.client.start()

    # --- what the parts ask ---------------------------------------------------------------------------------------------

    def log(self, who: str, text: str) -> None:
        self._log(self.timeline.now, who, text)

    def keys(self) -> list[tuple[str, bytes, Role]]:
        """What every manager finds in its folders."""
        managers: list[tuple[str, bytes, Role]] = [
            (name, name.encode().ljust(32, b"\0")[:32], "manager") for name in self.plan.managers
        ]
        return [*managers, *((name, name.encode().ljust(32, b"\0")[:32], "client") for name in self.plan.hosts)]

    def reach(self, one: str, other: str) -> Machine | None:
        box = self.hosts.get(other)
        if box is None or not box.machine.up or box.machine.hung or frozenset((one, other)) in self.cut_between:
            return None
        return box.machine

    def check_epoch(self, manager: str, message: Message, epoch: int) -> None:
        """Whoever acts as a leader does so under an epoch that only rises, and that is nobody else's."""
        if not isinstance(message, Execute) and not (isinstance(message, Control) and message.verb == LEASE):
            return
        before, owner = self._epochs.get(manager, 0), self._reigns.setdefault(epoch, manager)
        if epoch < before or owner != manager:
            self.faults.append(f"{manager} ACTS UNDER EPOCH {epoch}, after {before}; it is {owner}'s")
            self.log("truth", self.faults[-1])
        self._epochs[manager] = epoch
        acting = [name for name, each in self.managers.items() if each.acts]
        if len(acting) > 1:
            self.faults.append(f"{' and '.join(acting)} HAVE AUTHORITY AT ONCE")
            self.log("truth", self.faults[-1])

    # --- time and operators ---------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.timeline.now

    def wait(self, seconds: float) -> None:
        self.timeline.run_until(self.timeline.now + seconds)

    def leaders(self) -> list[str]:
        return [name for name, manager in self.managers.items() if manager.alive and manager.leading]

    def acting(self) -> list[str]:
        return [name for name, manager in self.managers.items() if manager.acts]

    def ask(self, op: str, args: dict[str, Any], manager: str = "", who: str = "alice") -> int:
        """vmctl on one manager: the one named, else the one that leads. The number under which it is answered."""
        self._call += 1
        names = (
            [manager]
            if manager
            else (self.acting() or self.leaders() or [name for name, each in self.managers.items() if each.alive])
        )
        for name in names[:1]:
            self.managers[name].ask(self._call, op, args, who)
        return self._call

    def answers(self, call: int) -> list[dict[str, Any]]:
        return [body for manager in self.managers.values() for body in manager.replies.get(call, [])]

    def all_run(self) -> list[str]:
        """VMs that are wanted and do not run."""
        return [each.name for each in self.plan.vms if each.state == "running" and not self.truth.running(each.name)]
