"""The lab itself: three managers, five hosts, one bus, each on its own cable; and what a scenario can have done to them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from demo.files import program
from halab import files
from halab.files import HOSTS, MANAGERS, Kind
from halab.network import BUS, PORT, Network
from halab.power import Power
from halab.watch import Watch
from plugins.sim_world import SimWorld
from xenlab.operator import Operator
from xenlab.processes import Failed, Processes

START_S = 60.0
BACK_S = 120.0
WATCHDOG = b"watchdog"  # in the command line of the process that stands for the hardware
BUS_NAME = "vmbus"


class Lab:
    """`folder`: all files, empty. Use as a context manager: at its end no process is left."""

    def __init__(self, folder: Path, kind: Kind, say: Callable[[str], None]) -> None:
        self.folder, self.kind, self.say = folder, kind, say
        self.network = Network()
        self.processes = Processes(folder / "log")
        self.world = SimWorld(folder / files.FARM)
        self.watch = Watch(self.world, HOSTS)
        self.operator = Operator({name: folder / name / "run" / "vmmanager.sock" for name in MANAGERS})
        self.back_s = BACK_S
        self.power = Power(folder / "power", self.kill)
        self._up: set[str] = set()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *fault: object) -> None:
        self.watch.looker.close()
        self.power.close()
        for machine in (*MANAGERS, *HOSTS):
            self._signal(machine, signal.SIGCONT)
        self.processes.close()
        for machine in HOSTS:
            self._signal(machine, signal.SIGKILL)
        self.network.close()

    def up(self) -> None:
        """All of it, until every protected VM runs. Raises Failed, NotToBeHad."""
        self.network.make((*MANAGERS, *HOSTS))
        files.write(self.folder, self.kind, self.power.agent)
        self.power.start()
        self.start_bus()
        for name in (*MANAGERS, *HOSTS):
            self.start(name)
        wanted = {f"vm{number}" for number in range(1, files.VMS + 1)}
        self.processes.wait("all hosts have made their farm", lambda: set(self.world.hosts()) >= set(HOSTS), START_S)
        self.watch.looker.start()
        self.processes.wait("all VMs run", lambda: set(self.watch.places) >= wanted, START_S)
        self.say(f"{len(MANAGERS)} managers, {len(HOSTS)} hosts, {files.VMS} protected VMs are up")

    # --- daemons --------------------------------------------------------------------------------------------------------

    def start_bus(self) -> None:
        self.processes.start(BUS_NAME, [*program("vmbus"), "--listen", f"{BUS}:{PORT}"], self.folder)
        self.processes.wait("the bus listens", lambda: re.search("listening on", self.processes.log(BUS_NAME)), START_S)

    def start(self, machine: str) -> None:
        self.power.on(machine)
        daemon = "vmmanager" if machine in MANAGERS else "vmclient"
        argv = [*program(daemon), "--config", str(self.folder / machine / f"{daemon}.ini")]
        self.processes.start(machine, [*self.network.inside(machine), *argv], self.folder / machine)
        self._up.add(machine)

    def _signal(self, machine: str, number: signal.Signals, *, but: bytes = b"") -> None:
        """To all processes of a machine, but those with `but` in their command line."""
        with contextlib.suppress(KeyError):
            for pid in self.network.processes(machine):
                with contextlib.suppress(OSError):
                    if not but or but not in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, number)

    # --- what a scenario can have done -----------------------------------------------------------------------------------

    def do(self, words: tuple[str, ...]) -> tuple[int, str]:
        """One line of a scenario after `lab`: exit code, and what there is to say."""
        verb, *names = words
        if verb == "twice":
            return self._twice()
        if verb == "where":
            return 0, "\n".join(f"{vm} {' '.join(self.watch.places.get(vm, ()))}" for vm in names)
        if verb == "sleep":
            time.sleep(float(names[0]))
            return 0, ""
        deed = {
            "kill": self.kill, "start": self._start_again, "cut": self._cut, "heal": self._heal, "pause": self._pause,
            "resume": self._resume, "kill-client": self._kill_client,
        }.get(verb)  # fmt: skip
        if deed is None or not names:
            return 2, f"the lab cannot `{' '.join(words)}`"
        found = [self._named(name) for name in names]
        if verb in ("start", "resume"):  # of all that may be so, those that are
            found = [name for name in found if verb == "resume" or name == "bus" or name not in self._up]
        for machine in found:
            deed(machine)
        return 0, f"{verb} {' '.join(found)}"

    def _named(self, name: str) -> str:
        """`leader`, `host-of:VM`, or a machine by its name. Raises Failed."""
        if name == "leader":
            return self.operator.leader()
        if name.startswith("host-of:"):
            places = self.watch.places.get(name.removeprefix("host-of:"), ())
            if not places:
                raise Failed(f"{name.removeprefix('host-of:')} runs nowhere")
            return places[0]
        if name not in (*MANAGERS, *HOSTS, "bus"):
            raise Failed(f"there is no {name} here")
        return name

    def kill(self, machine: str) -> None:
        """As a loss of power: every process at once, and the domains with them."""
        if machine == "bus":
            self.processes.kill(BUS_NAME)
            return
        self._signal(machine, signal.SIGKILL)
        if machine in self._up:
            self._up.discard(machine)
            self.processes.kill(machine)
        if machine in HOSTS:
            with self.world.changed(machine) as (host,):
                host.domains.clear()

    def _start_again(self, machine: str) -> None:
        if machine == "bus":
            self.start_bus()
        else:
            self.start(machine)

    def _cut(self, machine: str) -> None:
        self.network.plug(machine, False)

    def _heal(self, machine: str) -> None:
        self.network.plug(machine, True)

    def _pause(self, machine: str) -> None:
        """Everything of ours stands still, but the hardware that watches it."""
        self._signal(machine, signal.SIGSTOP, but=WATCHDOG)

    def _resume(self, machine: str) -> None:
        self._signal(machine, signal.SIGCONT)

    def _kill_client(self, machine: str) -> None:
        self.processes.kill(machine)
        self._up.discard(machine)

    def _twice(self) -> tuple[int, str]:
        """Has any VM ever been seen on two hosts? 1 when it was."""
        if self.watch.fault:
            return 1, self.watch.fault
        said = [f"{one.vm} ran on {' and '.join(one.hosts)}" for one in self.watch.twice]
        return (1, "\n".join(said)) if said else (0, f"never, in {self.watch.looks} looks")

    def vmctl(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        """As an operator types it at the leader; output and errors together."""
        return self.operator.vmctl(words)

    # --- who dies next --------------------------------------------------------------------------------------------------

    def victim(self) -> str:
        """The host with the most VMs."""
        return max(HOSTS, key=lambda host: len(self.vms_of(host)))

    def vms_of(self, host: str) -> list[str]:
        return [vm for vm, places in self.watch.places.items() if places == (host,)]

    def elsewhere(self, vm: str, host: str, after: float) -> float:
        return next((at for (name, where), at in self.watch.since.items() if name == vm and where != host and at > after), 0.0)

    def all_run(self) -> bool:
        return len(self.watch.places) >= files.VMS
