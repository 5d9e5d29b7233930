"""Processes of the lab: started, watched, ended; nothing is left behind. Knows not what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from demo.processes import end_with_parent

STOP_S = 10.0
LOOK_S = 0.1
TAIL_LINES = 25


class Failed(Exception):
    """The lab cannot go on, and why."""


class Processes:
    """By name, each with its log in `logs`."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._free: set[str] = set()

    def start(self, name: str, argv: Sequence[str], cwd: Path) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                start_new_session=True,  # Ctrl-C is ours to handle
                preexec_fn=end_with_parent,
            )

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def runs(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    def signal(self, name: str, number: signal.Signals) -> None:
        self._running[name].send_signal(number)

    def cpu_s(self, name: str) -> float:
        """Seconds of one core that it has used so far."""
        used = psutil.Process(self._running[name].pid).cpu_times()
        return used.user + used.system

    def may_end(self, name: str) -> None:
        """By itself, from now on."""
        self._free.add(name)

    def forget(self, name: str) -> None:
        """One that has ended, or is killed now."""
        if name in self._running:
            self.kill(name)
        self._free.discard(name)

    def check(self) -> None:
        """Raises Failed when one has ended that nobody killed."""
        for name, process in self._running.items():
            if name not in self._free and process.poll() is not None:
                raise Failed(f"{name} has ended with exit code {process.returncode}\n{self.tail(name)}")

    def wait(self, what: str, ready: Callable[[], Any], limit_s: float) -> Any:
        """Looks again and again until `ready` is true, all processes being alive. Raises Failed."""
        end = time.monotonic() + limit_s
        while not (found := ready()):
            self.check()
            if time.monotonic() > end:
                raise Failed(f"after {limit_s:.0f} s it is still not so that {what}")
            time.sleep(LOOK_S)
        return found

    def log(self, name: str) -> str:
        path = self.logs / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, name: str) -> str:
        return "\n".join([f"--- the end of the log of {name}", *self.log(name).splitlines()[-TAIL_LINES:]])

    def close(self) -> None:
        """The last one started ends first; who does not end in time is killed with all it started."""
        processes = list(reversed(self._running.values()))
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
        end = time.monotonic() + STOP_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
