"""The lab itself: bus and managers as processes here, Xen hosts in emulation, all in one network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
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
from xenlab import disks, fence_qemu, files, network, remote
from xenlab.beats import Beats
from xenlab.deeds import Deeds
from xenlab.images import Images
from xenlab.kinds import Kind
from xenlab.operator import Operator
from xenlab.processes import Failed, Processes
from xenlab.qemu import Guest, command

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
    """`folder`: all files of this lab, empty. Use as a context manager."""

    def __init__(self, folder: Path, images: Images, kind: Kind, say: Callable[[str], None]) -> None:
        self.kind = kind
        self.folder = folder
        self.images = images
        self.say = say
        self.names = [f"xen{number}" for number in range(1, kind.hosts + 1)]
        self.managers = files.manager_names(kind.managers)
        self.operator = Operator({name: folder / name / "run" / "vmmanager.sock" for name in self.managers})
        self.keys = folder / "keys"
        self._booted_at: dict[str, int] = {}  # host -> bytes of its console's log
        self.back_s = BOOT_S + CONNECT_S
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

    def up(self) -> None:
        """All of it, until every client is connected. Raises Failed, NotToBeHad."""
        network.make(len(self.names))
        self._folders()
        self._start_bus()
        if self.kind.disks:
            disks.serve(self)
        self._start_managers()
        self._write_machines()
        for name in self.names:
            self.start_host(name)
        for name in self.names:
            self.wait_host(name)
        self._wait_clients()
        self.beats.looker.start()
        self._write_facts()

    def _folders(self) -> None:
        for name in ("log", "shared/saves", "images", "machines", "keys"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.keys.chmod(0o700)
        for name in self.names:
            (self.folder / "log" / name).mkdir(exist_ok=True)
        (self.folder / "machines").chmod(0o700)

    def _start_bus(self) -> None:
        self.processes.start("vmbus", [*program("vmbus"), "--listen", f"{network.MANAGER}:{network.PORT}"], self.folder)
        self.processes.wait("the bus listens", lambda: re.search("listening on", self.processes.log("vmbus")), START_S)

    def _start_managers(self) -> None:
        self._publish()
        self.manager_keys = {}
        for name in self.managers:
            own = self.folder / name
            (own / "triggers.d").mkdir(parents=True)
            (own / "vms.ini").write_text(files.vms_ini() + (disks.vms_ini() if self.kind.disks else ""))
            if self.kind.fences:
                self._write_fences(own / "fences.ini")
            (own / "vmmanager.ini").write_text(self._manager_ini(name))
            self.manager_keys[name] = own_key(own / "state", name)
        for name in self.managers:
            self.start_manager(name)
        self.processes.wait("a manager leads", self._is_led, START_S)
        self.say(f"the bus and {' and '.join(self.managers)} are up at {network.MANAGER}")

    def _manager_ini(self, name: str) -> str:
        return files.manager_ini(name, self.managers, self.folder / "images", self.kind.lease_s)

    def start_manager(self, name: str) -> None:
        argv = [*program("vmmanager"), "--config", str(self.folder / name / "vmmanager.ini")]
        self.processes.start(name, argv, self.folder / name)

    def _is_led(self) -> bool:
        try:
            return bool(self.operator.leader())
        except Failed:
            return False

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
        if self.kind.disks:
            self._image("disk", disks.image(self))

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
            publish_local(self.keys, name, "client", keys[name].client)
            tree = files.host_tree(name, number, everybody, keys[name].client, self.manager_keys, hypervisor=True)
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
            memory_mib=self.kind.memory_mib,
            shares={
                "images": (self.folder / "images", True),
                "shared": (self.folder / "shared", False),
                "log": (self.folder / "log" / name, False),
            },
        )

    def start_host(self, name: str) -> None:
        if self.kind.fences:
            self.processes.may_end(name)
        console = self.guests[name].console_log
        self._booted_at[name] = console.stat().st_size if console.exists() else 0
        self.processes.start(name, command(self.guests[name]), self.folder)

    def console(self, name: str) -> str:
        """What a host's Xen and kernel have said since it was last powered on."""
        return self.guests[name].console_log.read_bytes()[self._booted_at[name] :].decode(errors="replace")

    def wait_host(self, name: str) -> None:
        """Until its Xen answers. Raises Failed."""
        agent = self.guests[name].agent
        self.processes.wait(f"QEMU of {name} is there", agent.exists, START_S)
        try:
            remote.wait(agent, "xl list", BOOT_S)
        except remote.Unanswered as fault:
            self.processes.check()
            raise Failed(f"{name}: {fault}") from None
        if self.kind.disks:
            disks.mount(self, name)
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
        return self.operator.vmctl(words)

    def ask(self, *words: str) -> Any:
        """What `vmctl WORDS --json` says. Raises Failed."""
        return self.operator.ask(*words)

    def protect(self) -> None:
        """The protected domain runs, and every host may take it. Raises Failed."""
        self.processes.wait("all hosts hold a lease", lambda: self.operator.online() >= set(self.names), CONNECT_S)
        self.processes.wait("all hosts tell what they have", self._is_told, CONNECT_S)
        began = time.monotonic()
        self.operator.ask("vm", "start", files.PROTECTED, limit_s=CONNECT_S)  # hosts that have just come up are slow
        self.processes.wait(f"{files.PROTECTED} lives", self.all_run, CONNECT_S)
        self.say(f"{files.PROTECTED} lives {time.monotonic() - began:.1f} s after its start was ordered by hand")

    def _is_told(self) -> bool:
        return all(row["cpus"] for row in self.ask("host", "list"))

    # --- who dies next --------------------------------------------------------------------------------------------------

    def victim(self) -> str:
        """Where the protected domain runs."""
        return self.beats.where(files.PROTECTED)

    def vms_of(self, host: str) -> list[str]:
        return [files.PROTECTED] if self.beats.where(files.PROTECTED) == host else []

    def elsewhere(self, vm: str, host: str, after: float) -> float:
        where, at = self.beats.began.get(vm, ("", 0.0))
        return at if where not in ("", host) and at > after else 0.0

    def all_run(self) -> bool:
        return bool(self.beats.where(files.PROTECTED))

    def _write_facts(self) -> None:
        """What others need to use a lab that is up; its presence says that it is."""
        hosts = {
            name: {"agent": str(one.agent), "console": str(one.console), "monitor": str(one.monitor)}
            for name, one in self.guests.items()
        }
        facts = {"pid": os.getpid(), "socket": str(self.operator.socket()), "hosts": hosts}
        draft = self.folder / "lab.json.new"
        draft.write_text(json.dumps(facts, indent=1) + "\n")
        draft.replace(self.folder / "lab.json")
