"""A real Slurm in a folder: munged, the controller, and what users of it do. Nodes come and go by slurmlab/node.py."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from provision.programs import NotToBeHad
from slurmlab import node
from slurmlab.slurmconf import Layout

PROGRAMS = ("/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/bin/scontrol", "/usr/bin/sbatch")
PORTS = range(21000, 29000, 100)
START_S = 10.0
POLL_S = 0.05


class LabFault(Exception):
    """Slurm did not do what the lab needs."""


class Cluster:
    """`nodes`: name -> partition. Use as a context manager: at its end no process is left. Raises NotToBeHad."""

    def __init__(self, folder: Path, nodes: Mapping[str, str], cpus: int = 2) -> None:
        if why := missing():
            raise NotToBeHad(why)
        host = socket.gethostname().partition(".")[0]
        self.layout = Layout(folder, host, getpass.getuser(), _free_ports(1 + len(nodes)), nodes, cpus)
        self.environment = {**os.environ, "SLURM_CONF": str(self.layout.conf)}

    def __enter__(self) -> Cluster:
        one = self.layout
        for name in ("state", "log", "pid", *(f"spool/{name}" for name in one.nodes)):
            (one.folder / name).mkdir(parents=True)
        one.conf.write_text(one.text())
        try:
            self._munged()
            self.start_controller()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _munged(self) -> None:
        one, key = self.layout, self.layout.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        places = {"key-file": key, "socket": one.socket, "pid-file": one.pid_file("munged")}
        places |= {"log-file": one.folder / "log/munged.log", "seed-file": one.folder / "munge.seed"}
        argv = [PROGRAMS[0], "--force", "--num-threads=2", *(f"--{name}={path}" for name, path in places.items())]
        self._run(argv)

    def start_controller(self) -> None:
        self._run([PROGRAMS[1], "-f", str(self.layout.conf)])
        self.wait("the controller answers", lambda: "is UP" in self.said("scontrol", "ping"))

    def pause_controller(self) -> None:
        os.kill(self._controller(), signal.SIGSTOP)

    def continue_controller(self) -> None:
        os.kill(self._controller(), signal.SIGCONT)

    def _controller(self) -> int:
        return int(self.layout.pid_file("slurmctld").read_text())

    def start_node(self, name: str) -> None:
        node.start(self.layout.folder, name)

    def kill_node(self, name: str) -> None:
        node.destroy(self.layout.folder, name)

    def submit(self, *words: str) -> str:
        """`sbatch WORDS`; the job's number."""
        return self._run(["/usr/bin/sbatch", "--parsable", "--output=/dev/null", *words]).strip()

    def said(self, *argv: str) -> str:
        """What a program of Slurm prints, whatever it thinks of the question."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    def job(self, number: str) -> dict[str, str]:
        """Of `scontrol show job`."""
        text = self.said("scontrol", "--oneliner", "show", "job", number)
        return dict(pair.partition("=")[::2] for pair in text.split() if "=" in pair)

    def wait(self, what: str, ready: Callable[[], object], limit_s: float = START_S) -> None:
        end = time.monotonic() + limit_s
        while not ready():
            if time.monotonic() > end:
                raise LabFault(f"after {limit_s:.0f} s it is still not so that {what}")
            time.sleep(POLL_S)

    def _run(self, argv: Sequence[str]) -> str:
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise LabFault(f"{' '.join(argv)}: exit status {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def close(self) -> None:
        """Nodes with their jobs first; only what this cluster started."""
        with contextlib.suppress(OSError, ValueError):
            self.continue_controller()
        for name in self.layout.nodes:
            node.destroy(self.layout.folder, name)
        for program in ("slurmctld", "munged"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(self.layout.pid_file(program).read_text())
                if program in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)


def missing() -> str:
    """Why it cannot be run here; empty: it can."""
    absent = [path for path in PROGRAMS if not shutil.which(path)]
    if absent:
        return f"{', '.join(absent)}: not installed (Debian: slurmctld slurmd slurm-client munge)"
    return ""


def _free_ports(count: int) -> int:
    """The first of so many in a row that nobody listens on."""
    start = secrets.randbelow(len(PORTS))
    for first in itertools.chain(PORTS[start:], PORTS[:start]):
        if all(_free(port) for port in range(first, first + count)):
            return first
    raise NotToBeHad(f"no {count} free ports in a row from {PORTS.start} to {PORTS.stop}")


def _free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
