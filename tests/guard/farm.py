"""A real vmclient on a simulated host with its guard, a leader that grants leases, and ways to hurt them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from common.hypervisor import DomainConfig
from common.leases import Terms
from common.leasewords import LEASE, Ask, Grant
from common.protocol import ClbControl, Control, ExecErr, Execute, ExecVal, Value
from plugins.hypervisor_sim import SimHypervisor
from plugins.sim_world import SimHost, SimWorld
from tests.client.farm import ManagerSide, VmClient, until
from tests.guard.processes import end_all, guard_of

TERMS = Terms(lease_s=2.0, beat_s=0.4, stop_s=1.5, watchdog_s=3.0, storage_s=2.0, authority_s=1.0)
PATIENT = Terms(lease_s=8.0, beat_s=0.4, stop_s=1.5, watchdog_s=3.0, storage_s=2.0, authority_s=1.0)
"""For what takes the start of a process or two on a busy machine."""
HOST = "x1"
MIB = 1024 * 1024


class Leader(ManagerSide):
    """Grants whatever is asked as long as `grants` is set. `protected`: what it wants protected there."""

    def __init__(self, port: int, terms: Terms) -> None:
        super().__init__(port)
        self.terms = terms
        self.grants = True
        self.protected: tuple[str, ...] = ()
        self.answered = 0
        self.told = 0.0
        self._ends = threading.Event()
        self.granting = threading.Thread(target=self._grant, daemon=True)
        self.granting.start()

    def close(self) -> None:
        self._ends.set()
        self.granting.join()
        super().close()

    def asks(self) -> list[Ask]:
        found = [one.message for one in list(self.got) if isinstance(one.message, ClbControl) and one.message.verb == LEASE]
        return [ask for message in found if (ask := Ask.of(message.values))]

    def ask_with(self, wanted: Callable[[Ask], bool], why: str) -> Ask:
        """An asking like that, from now on."""
        seen = len(self.asks())
        return until(lambda: next((ask for ask in self.asks()[seen:] if wanted(ask)), None), why)  # type: ignore[return-value]

    def execute(
        self, command: str, vm: str, *, protect: bool = True, more: Mapping[str, Value] | None = None
    ) -> ExecVal | ExecErr:
        parameters: dict[str, Value] = {"vm": vm, **(more or {})}
        if command == "vm-start":
            parameters["definition"] = {"memory_bytes": 64 * MIB, "kernel": "/boot/vmlinuz", "protect": protect}
        request = self.send(Execute(execution=f"{command}-{vm}-{time.monotonic_ns()}", command=command, parameters=parameters))
        kinds = (ExecVal, ExecErr)
        return until(lambda: [one for one in self.answers(request) if isinstance(one, kinds)], f"no answer to {command}")[0]

    def _grant(self) -> None:
        while not self._ends.wait(0.05):
            asks = self.asks()
            if not self.grants:
                continue
            if asks and asks[-1].n != self.answered:
                self.answered = asks[-1].n
                self._say({HOST: self.answered})
            elif time.monotonic() - self.told > 1.0:
                self._say({})

    def _say(self, hosts: dict[str, int]) -> None:
        self.told = time.monotonic()
        grant = Grant(self.terms, hosts, dict.fromkeys(hosts, self.protected))
        with contextlib.suppress(Exception):  # the bus may be gone, as a test wants it
            self.send(Control(verb=LEASE, arguments=grant.values()))


class GuardedHost(VmClient):
    """A client on the simulated host x1. `failover`: its section in the file."""

    def __init__(self, folder: Path, port: int, failover: str = "watchdog = none") -> None:
        super().__init__(folder, port, "allow = vm", "", "")
        self.farm = folder / "farm"
        self.conf.write_text(
            f"{self.conf.read_text()}[hypervisor]\nengine = sim\nfarm = {self.farm}\nticks = 1h\n[failover]\n{failover}\n"
        )
        SimWorld(self.farm).add_host(HOST, SimHost())
        self.hypervisor = SimHypervisor(HOST, self.farm)

    def domains(self) -> list[str]:
        """Not by the back end, which may have been told to fail."""
        return sorted(self.hypervisor.world.read(HOST).domains)

    def by_hand(self, name: str) -> None:
        """A domain of ours that no client has started."""
        self.hypervisor.start(DomainConfig(name, 64 * MIB, kernel="/boot/vmlinuz"), limit_s=5.0)

    def gone_within(self, seconds: float, name: str) -> float:
        """How long it took."""
        began = time.monotonic()
        while name in self.domains():
            assert time.monotonic() - began < seconds, f"{name} still runs after {seconds:g} s"
            time.sleep(0.02)
        return time.monotonic() - began

    def guard(self) -> psutil.Process | None:
        return guard_of(self.folder / "state")

    def end(self) -> None:
        super().end()
        end_all([self.folder / "state"], self.farm)
