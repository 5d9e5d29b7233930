"""Real daemons on loopback: vmbus, vmmanagers and vmclients as processes, asked over their control sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMIT_S = 40.0
_PORT = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


class RealFarm:
    """Everything below one folder. `stop` ends what was started here, by its process id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = 0

    # --- processes ------------------------------------------------------------------------------------------------------

    def start_bus(self) -> None:
        listen = f"127.0.0.1:{self.port}"
        self._start("vmbus", "common.bus.vmbus", "--listen", listen)
        found = self.until(lambda: _PORT.search(self.log("vmbus")), "the bus listens")
        self.port = int(found.group(1))

    def start_manager(self, name: str, rules: str = "", *, engine: str = "spread", extra: str = "") -> None:
        home = self.folder / name
        (home / "triggers.d").mkdir(parents=True, exist_ok=True)
        if rules:
            (home / "triggers.d" / "rules.ini").write_text(rules)
        (home / "vmmanager.ini").write_text(
            f"[manager]\nname = {name}\ngrace = 0\n{extra}\n[bus]\nengine = {engine}\ndaemon = {self.port}@127.0.0.1\n"
            f"[paths]\nstate = {home}/state\nrun = {home}/run\nlocal_keys = {self.folder}/keys\n"
        )
        self._start(name, "vmmanager", "-c", str(home / "vmmanager.ini"))

    def start_client(self, name: str, groups: str = "") -> None:
        home = self.folder / name
        (home / "properties.d").mkdir(parents=True, exist_ok=True)
        (home / "properties.d" / "p.ini").write_text("[up]\ncommand = uptime\nticks = 1\npush = on_change\n")
        (home / "vmclient.ini").write_text(
            f"[client]\nname = {name}\ngroups = {groups}\naccept_managers = listed\nallow = log\n"
            f"[bus]\ndaemon = {self.port}@127.0.0.1\n"
            f"[paths]\nstate = {home}/state\nrun = {home}/run\nlocal_keys = {self.folder}/keys\n"
        )
        self._start(name, "vmclient", "-c", str(home / "vmclient.ini"))

    def _start(self, name: str, module: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            environment = {key: value for key, value in os.environ.items() if key not in ("JOURNAL_STREAM", "NOTIFY_SOCKET")}
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def terminate(self, name: str) -> int:
        """SIGTERM; the exit code."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(LIMIT_S)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    # --- questions ------------------------------------------------------------------------------------------------------

    def ask(self, manager: str, op: str, **args: Any) -> Any:
        """The result; AssertionError with the manager's sentence where it refuses."""
        *_, last = self.lines(manager, op, args)
        assert last.get("ok"), last
        return last["result"]

    def lines(self, manager: str, op: str, args: dict[str, Any]) -> list[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(LIMIT_S)
            connection.connect(os.fspath(self.folder / manager / "run" / "vmmanager.sock"))
            connection.sendall(json.dumps({"op": op, "args": args}).encode() + b"\n")
            told: list[dict[str, Any]] = []
            with connection.makefile("rb") as file:
                while not told or "more" in told[-1]:
                    told.append(json.loads(file.readline()))
            return told

    def leads(self, manager: str) -> bool:
        try:
            return bool(self.ask(manager, "status")["leading"])
        except (OSError, ValueError):
            return False

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Waits for something true, and returns it."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            found = holds()
            if found:
                return found
            ended = {name: p.poll() for name, p in self.processes.items() if p.poll() is not None}
            logs = "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))
            assert not ended, f"{ended} ended while waiting until {what}\n{logs}"
            assert time.monotonic() < deadline, f"waited in vain until {what}\n{logs}"
            time.sleep(0.02)


@contextmanager
def real_farm(folder: Path) -> Iterator[RealFarm]:
    farm = RealFarm(folder)
    try:
        yield farm
    finally:
        farm.stop()
