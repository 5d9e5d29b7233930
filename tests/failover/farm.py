"""A farm of real daemons whose hosts hold leases: managers, guarded hosts on the simulated hypervisor, ways to kill a host."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from plugins.hypervisor_sim import SimHypervisor
from tests.farm.farm import Farm, farm
from tests.guard.processes import end_all, guard_of

TERMS = {
    "lease": "2s", "beat": "0.5s", "stop": "1s", "watchdog": "2s", "storage_hold": "2s", "authority": "1s", "margin": "0.2s",
    "grace": "1s", "retry_delay": "0.2s",
}  # fmt: skip
HYPERVISOR = (
    "[hypervisor]\nengine = sim\nticks = 0.5\nfarm = {folder}/simfarm\nsim_memory = 4G\nsim_boot = 0.1s\nsim_shutdown = 0.1s\n"
)
VM = "[{name}]\nmemory = 512M\nkernel = /boot/vmlinuz\nstate = running\nprotect = yes\n"


class Guarded:
    """Managers and hosts by name; `vmctl` asks `manager`."""

    def __init__(self, made: Farm, manager: str = "m1") -> None:
        self.farm = made
        self.m = manager
        self.hosts: list[str] = []

    def manager(
        self, name: str, names: tuple[str, ...] = (), *, failover: str = "", vms: str = "", fences: str = "", triggers: str = ""
    ) -> None:
        self.farm.manager(name, names, start=False, triggers=triggers)
        folder = self.farm.folder / name
        numbers = "".join(f"{key} = {value}\n" for key, value in TERMS.items() if f"{key} =" not in failover)
        _append(folder / "vmmanager.ini", f"[failover]\n{numbers}{failover}[vms]\nrestart_delay = 0.2s\n")
        for file, text in (("vms.ini", vms), ("fences.ini", fences)):
            (folder / file).write_text(text)
            (folder / file).chmod(0o600)
        self.farm.start_manager(name)

    def host(self, name: str, failover: str = "watchdog = sim\n") -> None:
        self.hosts.append(name)
        self.farm.client(name, start=False, allow=("vm", "log"))
        _append(self.farm.folder / name / "vmclient.ini", HYPERVISOR.format(folder=self.farm.folder))
        _append(self.farm.folder / name / "vmclient.ini", f"[failover]\n{failover}")
        self.farm.start_client(name)

    def sim(self, host: str) -> SimHypervisor:
        return SimHypervisor(host, self.farm.folder / "simfarm")

    # --- what is so -----------------------------------------------------------------------------------------------------

    def runs(self, vm: str) -> list[str]:
        """The hosts whose hypervisor has it: the truth, whatever any daemon thinks."""
        return [host for host in self.hosts if any(domain.name == vm for domain in self.sim(host).domains())]

    def vm(self, name: str) -> dict[str, Any]:
        return dict(self.farm.ask(self.m, "vm", name=name))

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.farm.ask(self.m, "ha-status")["hosts"]}

    def wait_runs(self, vm: str, *, on: str = "", off: str = "") -> str:
        """Until it runs on one host, and that the manager knows it."""

        def ready() -> str:
            row = self.vm(vm)
            host = str(row["host"])
            good = row["state"] == "running" and (not on or host == on) and host != off
            return host if good and self.runs(vm) == [host] else ""

        return str(self.farm.wait(f"{vm} runs{f' on {on}' if on else ''}{f' elsewhere than {off}' if off else ''}", ready))

    def wait_state(self, host: str, state: str) -> None:
        self.farm.wait(f"{host} is {state}", lambda: self.states().get(host) == state)

    def wait_leased(self, host: str) -> None:
        """Until it may be given a protected VM."""

        def leased() -> bool:
            rows = self.farm.ask(self.m, "ha-status")["hosts"]
            return any(row["name"] == host and row["state"] == "online" and row["lease_left"] for row in rows)

        self.farm.wait(f"{host} holds a lease", leased)

    # --- what is done to them -------------------------------------------------------------------------------------------

    def guard(self, host: str) -> psutil.Process:
        found = guard_of(self._state(host))
        assert found is not None, f"{host} has no guard"
        return found

    def _state(self, host: str) -> Path:
        return self.farm.folder / host / "state"

    def die(self, host: str) -> float:
        """The host's daemons are killed; its watchdog does the rest. When."""
        guard = self.guard(host)
        self.farm.kill(host)
        guard.kill()
        return time.monotonic()

    def end(self) -> None:
        end_all([self._state(host) for host in self.hosts], self.farm.folder / "simfarm")


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[Guarded]:
    one = None
    try:
        with farm(folder) as made:
            one = Guarded(made)
            yield one
    finally:
        if one is not None:
            one.end()  # last: a client that lives starts another guard


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)
