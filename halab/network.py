"""A cable for each machine of the lab: a network namespace of its own, and a bridge where all cables meet. Starts no daemon.

Namespaces end with the last process in them; there is nothing to clear away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from demo.processes import end_with_parent
from provision.programs import NotToBeHad, output
from xenlab.network import enter

BRIDGE = "ha0"
NET = "10.78.0"
BITS = 24
BUS = f"{NET}.1"
PORT = 4803
IP_S = 20.0
HOLDER_S = 10.0
__all__ = ["BUS", "PORT", "Network", "enter", "missing"]


def missing() -> str:
    """Why there can be no such network here; empty where there can."""
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")):
        if not shutil.which(program):
            return f"the program {program} is missing (package {package})"
    return ""


class Network:
    """Of the namespace that `enter` made."""

    def __init__(self) -> None:
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def make(self, machines: tuple[str, ...]) -> None:
        """Raises NotToBeHad."""
        _ip("link", "set", "lo", "up")
        _ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0")
        _ip("address", "add", f"{BUS}/{BITS}", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for number, machine in enumerate(machines, 11):
            self._machine(machine, number)

    def _machine(self, machine: str, number: int) -> None:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=end_with_parent)
        self._holders[machine] = holder
        _wait(lambda: _namespace(holder.pid) not in ("", _namespace(os.getpid())), f"{machine} has no namespace")
        _ip("link", "add", _cable(machine), "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _ip("link", "set", _cable(machine), "master", BRIDGE, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{NET}.{number}/{BITS}", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            _run([*self.inside(machine), "ip", *words])

    def inside(self, machine: str) -> list[str]:
        """What to put before a command, so that it runs on this machine's cable."""
        return ["nsenter", f"--net=/proc/{self._holders[machine].pid}/ns/net", "--"]

    def plug(self, machine: str, plugged: bool) -> None:
        """Puts the cable in, or pulls it."""
        _ip("link", "set", _cable(machine), "up" if plugged else "down")

    def processes(self, machine: str) -> list[int]:
        """All that run on this machine's cable, but what holds it."""
        holder = self._holders[machine].pid
        wanted = _namespace(holder)
        found = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        return [pid for pid in found if pid != holder and _namespace(pid) == wanted]

    def close(self) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.wait()
        if self._holders:
            _ip("link", "delete", BRIDGE)
        self._holders.clear()


def _cable(machine: str) -> str:
    return f"ha-{machine}"


def _namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _wait(ready: Callable[[], bool], why: str) -> None:
    end = time.monotonic() + HOLDER_S
    while not ready():
        if time.monotonic() > end:
            raise NotToBeHad(why)
        time.sleep(0.01)


def _ip(*words: str) -> None:
    _run(["ip", *words])


def _run(argv: list[str]) -> None:
    try:
        output(argv, limit_s=IP_S)
    except NotToBeHad as fault:
        raise NotToBeHad(f"the lab's network: {' '.join(argv)}: {fault}") from None
