"""The processes of the demonstration farm: started, asked, killed, ended; nothing is left behind. Knows no story."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import psutil

from demo.files import HOSTS, MANAGER, program, write

START_S = 20.0
STOP_S = 8.0
TAIL_LINES = 15
PR_SET_PDEATHSIG = 1  # prctl(2)
PREFIX = "vmherd-demo-"
SOCKET_BYTES_MAX = 107  # unix(7): sun_path has 108 with its NUL
SOCKET_TAIL_BYTES = len(f"/{PREFIX}xxxxxxxx/{MANAGER}/run/vmmanager.sock")


class Failed(Exception):
    """The demonstration cannot go on, and why."""


class Farm:
    """A folder, a bus, a manager, clients. Use as a context manager: at its end no process and no file is left."""

    def __init__(self) -> None:
        self.folder = _folder()
        self.started_at = time.monotonic()
        self.port = 0
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: list[IO[bytes]] = []
        self._orphans: list[psutil.Process] = []

    def __enter__(self) -> Farm:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            self._stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            for number, handler in ignored.items():
                signal.signal(number, handler)

    @property
    def socket(self) -> Path:
        return self.folder / MANAGER / "run" / "vmmanager.sock"

    def start_bus(self) -> None:
        """At a port that the kernel chooses; the files are written once it is known."""
        self._start("vmbus", ["--listen", "127.0.0.1:0"])
        found = self.wait("the bus listens", lambda: re.search(r"127\.0\.0\.1:(\d+)", self.log("vmbus")))
        self.port = int(found[1])
        write(self.folder, self.port)

    def start_manager(self) -> None:
        self._start("vmmanager", ["--config", str(self.folder / MANAGER / "vmmanager.ini")], MANAGER)
        self.wait("the manager leads", lambda: self.socket.exists() and self.ask("status").get("leading"))

    def start_clients(self) -> None:
        for host in HOSTS:
            self._start("vmclient", ["--config", str(self.folder / host.name / "vmclient.ini")], host.name)
        everybody = {(host.name, *host.groups) for host in HOSTS}

        def ready() -> bool:
            return everybody == {(row["name"], *row["groups"]) for row in self.clients("connected")}

        self.wait("all clients are connected, each in its group", ready)

    def clients(self, state: str) -> list[dict[str, Any]]:
        return [row for row in self.ask("clients") if row["state"] == state]

    def vmctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As an operator types it, without a terminal."""
        return subprocess.run(
            [*program("vmctl"), *words],
            env={**os.environ, "VMHERD_SOCKET": str(self.socket)},
            capture_output=True,
            text=True,
            check=False,
            timeout=START_S,
        )

    def ask(self, *words: str) -> Any:
        """What `vmctl WORDS --json` says."""
        done = self.vmctl(*words, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise Failed(f"vmctl {' '.join(words)} ended with {done.returncode}: {done.stderr}") from None

    def wait(self, what: str, ready: Callable[[], Any], limit_s: float = START_S) -> Any:
        """Look again and again until `ready` is true, all processes being alive. Raises Failed."""
        end = time.monotonic() + limit_s
        while not (found := ready()):
            self.check_alive()
            if time.monotonic() > end:
                raise Failed(f"after {limit_s:.0f} s it is still not so that {what}")
            time.sleep(0.05)
        return found

    def dead_clients(self) -> list[str]:
        """Clients that have ended since it was last asked: somebody tries what happens."""
        dead = [host.name for host in HOSTS if host.name in self.processes and self.processes[host.name].poll() is not None]
        for name in dead:
            del self.processes[name]
        return dead

    def check_alive(self) -> None:
        """Raises Failed when one has ended that nobody killed."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise Failed(f"{name} has ended with exit code {process.returncode}")

    def kill(self, name: str) -> int:
        """SIGKILL; the pid it had."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()
        return process.pid

    def die(self, host: str) -> None:
        """SIGKILL to its client and what that has started, the guard too; what the guard has started, its watchdog, lives."""
        client = self.processes.pop(host)
        children = psutil.Process(client.pid).children()
        self._orphans += psutil.Process(client.pid).children(recursive=True)
        client.kill()
        for child in children:
            child.kill()
        client.wait()

    def log(self, name: str) -> str:
        try:
            return (self.folder / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""

    def tails(self) -> str:
        """The last lines of every log."""
        parts = []
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            parts += [f"--- the end of the log of {path.stem}", *(f"  | {line}" for line in lines)]
        return "\n".join(parts)

    def _start(self, name: str, words: list[str], host: str = "") -> None:
        who = host or name
        log = (self.folder / f"{who}.log").open("ab")
        self._logs.append(log)
        self.processes[who] = subprocess.Popen(
            [*program(name), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            env={**os.environ, "VMHERD_DEMO": str(self.folder)},
            start_new_session=True,  # Ctrl-C is ours to handle
            preexec_fn=end_with_parent,
        )

    def _stop(self) -> None:
        """In the order in which they depend on each other; who does not end in time is killed with all it started, and so is
        what they leave."""
        kin = self._orphans + self._kin()
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + STOP_S
        for process in reversed(self.processes.values()):
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for left in kin:
            with contextlib.suppress(psutil.Error):
                left.kill()
        psutil.wait_procs(kin, STOP_S)
        for log in self._logs:
            log.close()

    def _kin(self) -> list[psutil.Process]:
        """What the daemons have started: guards outlive their clients, and the watchdogs that they feed outlive them."""
        found = []
        for process in self.processes.values():
            with contextlib.suppress(psutil.Error):
                found += psutil.Process(process.pid).children(recursive=True)
        return found


def _folder() -> Path:
    """Where TMPDIR says, or below /tmp where that would make the socket's path too long."""
    below = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=below if len(below) <= SOCKET_BYTES_MAX - SOCKET_TAIL_BYTES else "/tmp"))


_libc = ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> None:
    """So that even a SIGKILL of the demonstration leaves no daemon behind (Linux)."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
