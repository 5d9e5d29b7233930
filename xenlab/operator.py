"""The operator of a lab: vmctl as he types it, and what it answers. Knows no lab."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.files import program
from xenlab.processes import Failed

ASK_S = 60.0
LEADS_S = 10.0  # a manager that stands still does not answer


def vmctl(socket: Path, words: tuple[str, ...]) -> subprocess.Popen[str]:
    """Output and errors together."""
    return subprocess.Popen(
        [*program("vmctl"), *words],
        env={**os.environ, "VMHERD_SOCKET": str(socket), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ask(socket: Path, *words: str, limit_s: float = ASK_S) -> Any:
    """What `vmctl WORDS --json` says. Raises Failed."""
    argv = [*program("vmctl"), *words, "--json"]
    environment = {**os.environ, "VMHERD_SOCKET": str(socket)}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise Failed(f"vmctl {' '.join(words)} has not ended within {limit_s:g} s") from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"vmctl {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}") from None


class Operator:
    """Of a farm with several managers: `sockets` by their names. He asks whoever leads."""

    def __init__(self, sockets: Mapping[str, Path]) -> None:
        self._sockets = sockets

    @property
    def managers(self) -> tuple[str, ...]:
        return tuple(self._sockets)

    def leader(self) -> str:
        """Raises Failed."""
        found = [name for name in self._sockets if self._leads(name)]
        if len(found) != 1:
            raise Failed(f"{len(found)} managers say that they lead")
        return found[0]

    def socket(self) -> Path:
        """The first manager's where none leads."""
        return self._sockets[next(filter(self._leads, self._sockets), next(iter(self._sockets)))]

    def vmctl(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        """Output and errors together."""
        return vmctl(self.socket(), words)

    def ask(self, *words: str, limit_s: float = ASK_S) -> Any:
        """What `vmctl WORDS --json` says. Raises Failed."""
        return ask(self.socket(), *words, limit_s=limit_s)

    def online(self) -> set[str]:
        """The hosts that hold a lease. Raises Failed."""
        return {row["name"] for row in self.ask("ha", "status")["hosts"] if row["state"] == "online"}

    def _leads(self, manager: str) -> bool:
        try:
            return bool(ask(self._sockets[manager], "status", limit_s=LEADS_S).get("leading"))
        except Failed:
            return False
