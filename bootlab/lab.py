"""The boot lab: a boot server (DHCP, TFTP, HTTP, NFS), bus and manager as processes here, and empty machines in emulation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configobj import ConfigObj

from bootlab import files, machines
from bootlab.deeds import Deeds
from bootlab.machines import MACHINES
from common.keys import own_key, public_line, raw_public
from demo.files import program
from xenlab import network, operator, share
from xenlab.processes import Failed, Processes
from xenlab.qemu import PROGRAM

START_S = 60.0
BUILD_S = 600.0
DISK_BYTES = 16 * 1024 * 1024
PREFIX = "vmherd-bootlab-"
PROGRAMS = {
    PROGRAM: "qemu-system-x86",
    "dnsmasq": "dnsmasq-base",
    "dhcpd": "isc-dhcp-server",
    **share.PROGRAMS,
    "grub-mkimage": "grub-common",
    "apt-get": "apt",
}
FILES = {machines.OVMF: "ovmf", machines.ROM: "ipxe-qemu", Path("/etc/idmapd.conf"): "libnfsidmap1"}


def missing() -> str:
    """Why there can be no boot lab here; empty where there can."""
    for name, package in PROGRAMS.items():
        if not shutil.which(name):
            return f"the program {name} is missing (package {package})"
    for path, package in FILES.items():
        if not path.exists():
            return f"{path} is missing (package {package})"
    if os.geteuid() != 0:
        return "the boot lab needs root: its NFS server shows files of root"
    return network.missing()


class Lab:
    """`folder`: all files of this lab, wiped before it starts. `cache`: of packages. Use as a context manager."""

    def __init__(self, folder: Path, cache: Path, say: Callable[[str], None]) -> None:
        self.folder, self.cache, self.say = folder, cache, say
        self.sockets = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))  # a unix socket's path has 107 bytes at most
        self.processes = Processes(folder / "log")
        self.figures: dict[str, float] = {}
        self.do = Deeds(self).do

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *fault: object) -> None:
        self.processes.close()
        shutil.rmtree(self.sockets, ignore_errors=True)

    @property
    def socket(self) -> Path:
        return self.folder / "manager" / "run" / "vmmanager.sock"

    @property
    def boot(self) -> Path:
        return self.folder / "boot" / "boot"

    def prepare(self) -> None:
        """Everything is built and written, as an administrator does it. Raises Failed, NotToBeHad."""
        for name in ("log", "machines", "manager/run", "managers", "images", "overlay/etc"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = own_key(self.folder / "manager" / "state", files.MANAGER)
        (self.folder / "managers" / f"{files.MANAGER}.pub").write_text(public_line(raw_public(key), files.MANAGER) + "\n")
        (self.folder / "overlay" / "etc" / "motd").write_text("the boot lab\n")
        (self.folder / "provision.ini").write_text(files.provision_ini())
        (self.folder / "provision.ini").chmod(0o600)
        for words in (["build"], ["write"], ["publish", "--create"]):
            self.say(f"vmprovision {' '.join(words)}")
            self.provision(*words)
        for name in MACHINES:
            self._disk(name)

    def provision(self, *words: str, limit_s: float = BUILD_S) -> str:
        """What vmprovision says. Raises Failed."""
        code, said = self.provisioned(*words, limit_s=limit_s)
        if code:
            raise Failed(f"vmprovision {' '.join(words)} ended with {code}: {said}")
        return said

    def provisioned(self, *words: str, limit_s: float = BUILD_S) -> tuple[int, str]:
        argv = [sys.executable, "-m", "vmprovision", "--file", str(self.folder / "provision.ini"), "--cache", str(self.cache)]
        environment = {**os.environ, "VMHERD_SOCKET": str(self.socket)}
        done = subprocess.run(
            [*argv, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, done.stdout + done.stderr

    def _disk(self, name: str) -> None:
        """For the machine's keys; with its firmware's variables beside it."""
        path = self.folder / "machines" / f"{name}.disk"
        share.disk(path, DISK_BYTES, "-L", files.LABEL)
        shutil.copy(machines.OVMF_VARIABLES, self.folder / "machines" / f"{name}.vars")

    # --- the server ---------------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Raises Failed."""
        network.make(len(MACHINES))
        self.start_dhcp()
        http = ["-m", "http.server", "80", "--bind", network.MANAGER, "--directory", str(self.boot)]
        self.processes.start("http", [sys.executable, *http], self.folder)
        self.start_nfs()
        manager = self.folder / "manager"
        (manager / "vmmanager.ini").write_text(files.manager_ini())
        gateways = (self.folder / "boot" / "vms-gateways.ini").read_text()
        (manager / "vms.ini").write_text(files.vms_ini() + gateways)
        (manager / "triggers.d").mkdir(exist_ok=True)
        shutil.copy(self.folder / "boot" / "triggers" / "hosts.ini", manager / "triggers.d")
        self.processes.start("vmbus", [*program("vmbus"), "--listen", f"{network.MANAGER}:{network.PORT}"], manager)
        self.processes.wait("the bus listens", lambda: re.search("listening on", self.processes.log("vmbus")), START_S)
        self.processes.start("vmmanager", [*program("vmmanager"), "--config", str(manager / "vmmanager.ini")], manager)
        self.processes.wait("the manager leads", lambda: self.socket.exists() and self.ask("status").get("leading"), START_S)
        self.say(f"the boot server is up at {network.MANAGER}")

    def start_dhcp(self) -> None:
        """DHCP and TFTP, by what vmprovision has written last; TFTP is dnsmasq's in any case."""
        for name in ("dhcpd", "dnsmasq"):
            self.processes.forget(name)
        dnsmasq = ["dnsmasq", "--keep-in-foreground", "--user=root", "--log-facility=-"]
        isc = self.folder / "boot" / "dhcpd.conf"
        if isc.exists():
            leases, pid = self.folder / "dhcpd.leases", self.folder / "dhcpd.pid"
            leases.touch()
            dhcpd = ["dhcpd", "-f", "-4", "-cf", str(isc), "-lf", str(leases), "-pf", str(pid), network.BRIDGE]
            self.processes.start("dhcpd", dhcpd, self.folder)
            dnsmasq += ["--conf-file=/dev/null", "--port=0", "--enable-tftp", f"--tftp-root={self.boot}"]
        else:
            dnsmasq += [f"--conf-file={self.folder}/boot/dnsmasq.conf", f"--dhcp-leasefile={self.folder}/leases"]
        self.processes.start("dnsmasq", dnsmasq, self.folder)

    def change_server(self, key: str, value: str) -> None:
        """In provision.ini, as an administrator edits it."""
        config = ConfigObj(str(self.folder / "provision.ini"), interpolation=False, file_error=True, encoding="utf-8")
        config["server"][key] = value
        config.write()

    def start_nfs(self) -> None:
        """The roots by what vmprovision has written, and the image repository beside them."""
        text = (self.folder / "boot" / "ganesha.conf").read_text()
        images = share.export(self.folder / "images", "/images", text.count("EXPORT") + 1)
        share.serve(self.processes, self.folder, text + images)

    # --- machines -----------------------------------------------------------------------------------------------------------

    def power_on(self, name: str) -> None:
        one = MACHINES[name]
        argv = machines.command(name, one, network.tap(one.number), self.folder / "machines", self.sockets)
        self.processes.start(name, argv, self.folder)

    def console(self, name: str) -> str:
        path = self.folder / "machines" / f"{name}.console"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- the operator -------------------------------------------------------------------------------------------------------

    def vmctl(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        """As an operator types it; output and errors together."""
        return operator.vmctl(self.socket, words)

    def ask(self, *words: str) -> Any:
        """What `vmctl WORDS --json` says. Raises Failed."""
        return operator.ask(self.socket, *words)
