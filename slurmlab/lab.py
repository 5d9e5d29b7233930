"""The lab: a real Slurm, a bus, three managers, a head node and eight hosts as processes; and what a story does to them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from demo.files import program
from slurmlab import files
from slurmlab.cluster import Cluster
from slurmlab.files import HEAD, HOSTS, MANAGERS
from slurmlab.work import Work
from vmctl.failure import Failure
from vmctl.link import Link
from xenlab.processes import Failed, Processes

START_S = 60.0
ASK_S = 20.0
BUS = "vmbus"


class Lab:
    """`folder`: for all files, empty; its path must be short. Use as a context manager: at its end no process is left."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        (folder / "log").mkdir()
        self.processes = Processes(folder / "log")
        self.cluster = Cluster(folder / files.SLURM, files.nodes(), files.CPUS)
        self.work = Work(self.cluster)
        self._managers: set[str] = set()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *fault: object) -> None:
        self.cluster.close()
        self.processes.close()
        self.cluster.close()  # a host may have started one more node before it ended

    def up(self, policy: str) -> None:
        """Until each host serves an environment. Raises Failed."""
        self.cluster.__enter__()
        self.processes.start(BUS, [*program("vmbus"), "--listen", "127.0.0.1:0"], self.folder)
        found = self.wait("the bus listens", lambda: re.search(r"127\.0\.0\.1:(\d+)", self.processes.log(BUS)))
        files.write(self.folder, int(found[1]), policy)
        for name in MANAGERS:
            self.start_manager(name)
        for name in (HEAD, *HOSTS):
            argv = [*program("vmclient"), "--config", str(self.folder / name / "vmclient.ini")]
            self.processes.start(name, argv, self.folder / name)
        self.wait("every host serves", lambda: self.states().count("serving") == len(HOSTS))
        self.say(f"Slurm, {len(MANAGERS)} managers, {len(HOSTS)} hosts are up: {self.mix()}")

    # --- managers -------------------------------------------------------------------------------------------------------

    def start_manager(self, name: str) -> None:
        argv = [*program("vmmanager"), "--config", str(self.folder / name / "vmmanager.ini")]
        self.processes.start(name, argv, self.folder / name)
        self._managers.add(name)

    def kill_manager(self, name: str) -> None:
        """SIGKILL."""
        self._managers.discard(name)
        self.processes.kill(name)

    def policy(self, name: str) -> None:
        """As an operator changes it: another word in environments.ini of each manager, and a reload."""
        files.write_environments(self.folder, name)
        for manager in sorted(self._managers):
            self.processes.signal(manager, signal.SIGHUP)
        self.wait(f"the policy is {name}", lambda: self.ask("env-plan")["policy"] == name)

    def leader(self) -> str:
        """Empty: none, or more than one."""
        found = [name for name in sorted(self._managers) if (self._asked(name, "status") or {}).get("leading")]
        return found[0] if len(found) == 1 else ""

    # --- asking ---------------------------------------------------------------------------------------------------------

    def ask(self, operation: str, **arguments: Any) -> Any:
        """What the leader answers, as to vmctl. Raises Failed."""

        def answer() -> Any:
            leader = self.leader()
            return self._asked(leader, operation, **arguments) if leader else None

        return self.wait(f"a manager leads, and answers `{operation}`", answer)

    def _asked(self, manager: str, operation: str, **arguments: Any) -> Any:
        link = Link(self.folder / manager / "run/vmmanager.sock")
        try:
            return link.ask(operation, arguments)
        except Failure:
            return None
        finally:
            link.close()

    def slots(self) -> list[dict[str, Any]]:
        return list(self.ask("env-slots"))

    def states(self) -> list[str]:
        return [row["state"] for row in self.slots()]

    def environments(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.ask("envs")["environments"]}

    def serving(self, environment: str) -> int:
        return int(self.environments()[environment]["serving"])

    def mix(self) -> str:
        return ", ".join(f"{name} {row['serving']} of {len(HOSTS)}" for name, row in self.environments().items())

    def wait(self, what: str, ready: Callable[[], Any], limit_s: float = START_S) -> Any:
        return self.processes.wait(what, ready, limit_s)

    # --- what happens by itself -----------------------------------------------------------------------------------------

    def crash(self, host: str, vm: str) -> None:
        """The guest is dead, with all that ran in it."""
        self.run([sys.executable, "-m", "plugins.sim", str(self.folder / files.FARM), host, "crash", vm])

    def run(self, argv: Sequence[str]) -> None:
        done = subprocess.run(argv, cwd=files.ROOT, capture_output=True, text=True, check=False, timeout=ASK_S)
        if done.returncode:
            raise Failed(f"{' '.join(argv)}: {done.stderr or done.stdout}")
