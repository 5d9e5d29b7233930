"""The lab itself: bus and manager as processes here, Xen hosts in emulation, all in one network.

`fences`: with a fence device, by which a host may be switched off.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from common.keys import own_key, publish_local
from demo.files import program
from provision import machine
from provision.domu import DomU
from provision.machine import Trusted
from xenlab import fence_qemu, files, network, operator, remote
from xenlab.beats import Beats
from xenlab.deeds import Deeds
from xenlab.files import MANAGER
from xenlab.images import Images
from xenlab.processes import Failed, Processes
from xenlab.qemu import MEMORY_MIB, Guest, command

START_S = 60.0
BOOT_S = 240.0  # 5 s on an idle machine; a loaded one may take twenty times that
CONNECT_S = 240.0
ASK_S = 60.0
PREFIX = "vmherd-xenlab-"
AGENT = "fence_qemu"


@dataclass(frozen=True, slots=True)
class Keys:
    """Whose keys belong to one host: its client, its ssh daemon, its root."""

    client: SigningKey
    host: SigningKey
    root: SigningKey


class Lab:
    """`folder`: all files of this lab, wiped before it starts. `memory_mib`: of each host. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        images: Images,
        hosts: int,
        say: Callable[[str], None],
        memory_mib: int = MEMORY_MIB,
        *,
        fences: bool = False,
    ) -> None:
        self.fences = fences
        self.memory_mib = memory_mib
        self.folder = folder
        self.images = images
        self.say = say
        self.names = [f"xen{number}" for number in range(1, hosts + 1)]
        self.sockets = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))  # a unix socket's path has 107 bytes at most
        self.processes = Processes(folder / "log")
        self.guests: dict[str, Guest] = {}
        self.beats = Beats(folder / "log")
        self.do = Deeds(self).do

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *fault: object) -> None:
        self.beats.looker.close()
        self.processes.close()
        shutil.rmtree(self.sockets, ignore_errors=True)
        (self.folder / "lab.json").unlink(missing_ok=True)

    @property
    def socket(self) -> Path:
        return self.folder / "manager" / "run" / "vmmanager.sock"

    def up(self) -> None:
        """All of it, until every client is connected. Raises Failed, NotToBeHad."""
        network.make(len(self.names))
        self._folders()
        self._start_bus_and_manager()
        self._write_machines()
        for name in self.names:
            self.start_host(name)
        for name in self.names:
            self.wait_host(name)
        self._wait_clients()
        self.beats.looker.start()
        self._write_facts()

    def _folders(self) -> None:
        for name in ("log", "shared/saves", "images", "machines", "manager/run"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in self.names:
            (self.folder / "log" / name).mkdir(exist_ok=True)
        (self.folder / "machines").chmod(0o700)

    def _start_bus_and_manager(self) -> None:
        manager = self.folder / "manager"
        (manager / "vms.ini").write_text(files.vms_ini())
        self._publish()
        if self.fences:
            self._write_fences(manager / "fences.ini")
        (manager / "vmmanager.ini").write_text(files.manager_ini(self.folder / "images"))
        (manager / "triggers.d").mkdir(exist_ok=True)
        self.processes.start("vmbus", [*program("vmbus"), "--listen", f"{network.MANAGER}:{network.PORT}"], manager)
        self.processes.wait("the bus listens", lambda: re.search("listening on", self.processes.log("vmbus")), START_S)
        self.manager_key = own_key(manager / "state", MANAGER)
        self.processes.start("vmmanager", [*program("vmmanager"), "--config", str(manager / "vmmanager.ini")], manager)
        self.processes.wait("the manager leads", lambda: self.socket.exists() and self.ask("status").get("leading"), START_S)
        self.say(f"bus and manager are up at {network.MANAGER}")

    def _write_fences(self, path: Path) -> None:
        agent = self.folder / AGENT
        agent.write_text(f"#!/bin/sh\nexec {sys.executable} {fence_qemu.__file__}\n")
        agent.chmod(0o700)
        path.write_text(files.fences_ini(agent, self.sockets))
        path.chmod(0o600)

    def _publish(self) -> None:
        """The diskless domains, as anybody publishes an image. Raises Failed."""
        for name, built in (("tiny", self.images.tiny), ("guest", self.images.client)):
            self._image(name, built)

    def _image(self, name: str, built: DomU) -> None:
        parts = ["--kernel", str(built.kernel), "--initrd", str(built.initrd)]
        where = ["--repository", str(self.folder / "images"), "--create"]
        argv = [*program("vmctl"), "image", "add", name, *parts, *where]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=ASK_S)
        if done.returncode:
            raise Failed(f"vmctl image add {name}: {done.stderr.strip()}")

    def _write_machines(self) -> None:
        """Each host's image with its own files behind it; the folder is for the owner alone."""
        keys = {name: Keys(*(SigningKey.generate() for _ in range(3))) for name in self.names}
        numbered = list(enumerate(self.names, 1))
        everybody = [Trusted(name, network.address(number), keys[name].host, keys[name].root) for number, name in numbered]
        for number, name in numbered:
            publish_local(self.folder / "manager" / "keys", name, "client", keys[name].client)
            tree = files.host_tree(name, number, everybody, keys[name].client, self.manager_key, hypervisor=True)
            machine.write(self.images.dom0.archives, tree, self.folder / "machines" / name)
            self.guests[name] = self._guest(name, number)

    def _guest(self, name: str, number: int) -> Guest:
        return Guest(
            name=name,
            xen=self.images.dom0.xen,
            kernel=self.images.dom0.kernel,
            initrd=self.folder / "machines" / name,
            tap=network.tap(number),
            mac=f"52:54:00:4c:41:{number:02x}",
            sockets=self.sockets,
            console_log=self.folder / "log" / f"{name}.console",
            memory_mib=self.memory_mib,
            shares={
                "images": (self.folder / "images", True),
                "shared": (self.folder / "shared", False),
                "log": (self.folder / "log" / name, False),
            },
        )

    def start_host(self, name: str) -> None:
        if self.fences:
            self.processes.may_end(name)
        self.processes.start(name, command(self.guests[name]), self.folder)

    def wait_host(self, name: str) -> None:
        """Until its Xen answers. Raises Failed."""
        agent = self.guests[name].agent
        self.processes.wait(f"QEMU of {name} is there", agent.exists, START_S)
        try:
            remote.wait(agent, "xl list", BOOT_S)
        except remote.Unanswered as fault:
            self.processes.check()
            raise Failed(f"{name}: {fault}") from None
        self.say(f"{name} is up: {remote.run(agent, 'cut -d. -f1 /proc/uptime').output.strip()} s after its kernel started")

    def _wait_clients(self) -> None:
        def connected() -> bool:
            rows = self.ask("clients")
            return {row["name"] for row in rows if row["state"] == "connected"} >= set(self.names)

        try:
            self.processes.wait("all clients are connected", connected, CONNECT_S)
        except Failed as fault:
            tails = (path.read_text(errors="replace")[-2000:] for path in self.folder.glob("log/*/vmclient.log"))
            raise Failed("\n".join([str(fault), *tails])) from None
        self.say("the clients of all hosts are connected")

    def vmctl(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        """As an operator types it; output and errors together."""
        return operator.vmctl(self.socket, words)

    def ask(self, *words: str) -> Any:
        """What `vmctl WORDS --json` says. Raises Failed."""
        return operator.ask(self.socket, *words)

    def _write_facts(self) -> None:
        """What others need to use a lab that is up; its presence says that it is."""
        hosts = {
            name: {"agent": str(one.agent), "console": str(one.console), "monitor": str(one.monitor)}
            for name, one in self.guests.items()
        }
        facts = {"pid": os.getpid(), "socket": str(self.socket), "hosts": hosts}
        draft = self.folder / "lab.json.new"
        draft.write_text(json.dumps(facts, indent=1) + "\n")
        draft.replace(self.folder / "lab.json")
