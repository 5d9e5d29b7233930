"""The lab's head node: a client with the simulated batch system, whose nodes are real domains; and its users.

It is there from when a scenario asks for it (`lab environments`): before, no host belongs to an environment.
"""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from plugins import sim_batch
from xenlab import files, network

if TYPE_CHECKING:
    from xenlab.lab import Lab

FARM = "batch-farm"
LENGTH_S = {"short": "5s", "long": "60s"}


class HeadNode:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def start(self) -> None:
        """Raises Failed."""
        lab, own = self._lab, self._lab.folder / files.HEAD
        farm = lab.folder / FARM
        for folder in (farm, own / "properties.d"):
            folder.mkdir(parents=True)
        host = lab.names[-1]
        shadows = [f"{name}-{host}={network.domain_address(number)}" for name, number in files.ENVIRONMENTS.items()]
        lab.processes.start("nodes", [sys.executable, "-m", "xenlab.nodes", str(farm), *shadows], files.ROOT)
        (own / "vmclient.ini").write_text(files.head_ini(farm, lab.keys))
        (own / "vmclient.ini").chmod(0o600)
        lab.processes.start(
            files.HEAD, [str(Path(sys.executable).parent / "vmclient"), "--config", str(own / "vmclient.ini")], own
        )
        lab.processes.wait("the head node is connected", self._connected, 60.0)
        for manager in lab.managers:
            with (lab.folder / manager / "vms.ini").open("a") as vms:
                vms.write(files.templates_ini())
            (lab.folder / manager / "environments.ini").write_text(files.environments_ini(host))
            lab.processes.signal(manager, signal.SIGHUP)

    def _connected(self) -> bool:
        return any(row["name"] == files.HEAD and row["state"] == "connected" for row in self._lab.ask("clients"))

    def submit(self, queue: str, length: str) -> None:
        self._users("submit", queue, "--length", LENGTH_S[length])

    def jobs(self) -> str:
        return self._users("jobs")

    def _users(self, *words: str) -> str:
        """What `python -m plugins.sim_batch` prints."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            sim_batch.main([str(self._lab.folder / FARM), *words])
        return said.getvalue()
