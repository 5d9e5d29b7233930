"""The gateway's own files and script, run in namespaces for real: routes, NAT, leases, and what must not pass."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision import domu
from provision.cpio import read
from provision.programs import NotToBeHad
from provision.roots import Workshop
from tests.provision.given import farm
from vmprovision.gateway_image import kind
from vmprovision.gateways import vms_ini
from vmprovision.inventory import load
from vmprovision.target import write_tree
from xenlab.images import CACHE

WAIT_S = 30.0
ROOT = """\
cd {0} && mount -t tmpfs dev dev && touch dev/null dev/urandom dev/console &&
mount --bind /dev/null dev/null && mount --bind /dev/urandom dev/urandom &&
mount -t proc proc proc && mount -t sysfs sys sys && exec chroot . /etc/vmherd-image/services/gw1
"""
ANNOUNCED = """\
import socket
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
card.bind(("card0", 0))
card.settimeout(30)
print("listens", flush=True)
while (frame := card.recv(2048))[28:32] != frame[38:42]:  # of ARP: who speaks, who is asked for (RFC 5227)
    pass
print(socket.inet_ntoa(frame[28:32]), end="")
"""
SECTION = """\
[gw1]
memory = 192M
image = gw1
cmdline = "console=hvc0 quiet host=gw1"
{}[[networks]]
eth0 = xenbr0
eth1 = xenbr0, vlan=12
"""


class Cables:
    """Three namespaces in a row: outside, gateway, inside. `busybox`: the gateway's own."""

    def __init__(self, busybox: Path) -> None:
        self.busybox = str(busybox)
        self.listeners: dict[str, subprocess.Popen[str]] = {}
        self.names = {name: f"vmherd-{name}-{os.getpid()}" for name in ("out", "gw", "in")}

    def run(self, where: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        argv = ["ip", "netns", "exec", self.names[where], *words]
        return subprocess.run(argv, capture_output=True, text=True, check=check, timeout=60)

    def make(self) -> None:
        for name in self.names.values():
            subprocess.run(["ip", "netns", "add", name], check=True)
        for where, card in (("out", "eth0"), ("in", "eth1")):
            there = ["peer", "name", "card0", "netns", self.names[where]]
            subprocess.run(["ip", "link", "add", card, "netns", self.names["gw"], "type", "veth", *there], check=True)
            self.run(where, "ip", "link", "set", "lo", "up")
            self.run(where, "ip", "link", "set", "card0", "up")
        self.run("out", "ip", "address", "add", "10.77.0.1/24", "dev", "card0")

    def listen(self, where: str) -> subprocess.Popen[str]:
        """From now on; says the first address that is announced there."""
        argv = ["ip", "netns", "exec", self.names[where], sys.executable, "-c", ANNOUNCED]
        made = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert made.stdout
        assert made.stdout.readline() == "listens\n"
        return made

    def remove(self) -> None:
        for name in self.names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def pings(self, where: str, address: str) -> bool:
        return self.run(where, self.busybox, "ping", "-c", "1", "-W", "1", address, check=False).returncode == 0


@pytest.fixture
def cables(tmp_path: Path) -> Iterator[Cables]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root, and the program ip")
    try:
        inventory = load(farm(tmp_path))
        shop = Workshop(CACHE)
        _, initrd, _ = domu.made(shop.apt, shop.linux, kind(inventory.gateways["gw1"], inventory))
    except NotToBeHad as fault:
        pytest.skip(str(fault))
    root = tmp_path / "gateway"
    root.mkdir()
    write_tree(read(gzip.decompress(initrd)), root)
    made = Cables(root / "usr" / "bin" / "busybox")
    process = None
    try:
        made.make()
        made.listeners = {where: made.listen(where) for where in ("out", "in")}
        argv = ["ip", "netns", "exec", made.names["gw"], "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        process = subprocess.Popen([*argv, "sh", "-c", ROOT.format(root)])
        yield made
    except subprocess.CalledProcessError as fault:
        pytest.skip(f"no network namespaces here: {fault.stderr or fault}")
    finally:
        if process:
            process.kill()
            process.wait()
        for listener in made.listeners.values():
            listener.kill()
            listener.wait()
        made.remove()


def test_it_is_a_protected_vm_unless_said_otherwise(tmp_path: Path) -> None:
    ini = farm(tmp_path)
    assert vms_ini(load(ini)).endswith(SECTION.format("protect = yes\n"))
    ini.write_text(ini.read_text() + "protect = no\n")
    assert vms_ini(load(ini)).endswith(SECTION.format(""))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_who_is_inside_gets_an_address_and_out_and_nobody_comes_in(cables: Cables, tmp_path: Path) -> None:
    lease = tmp_path / "lease"
    lease.write_text('#!/bin/sh\n[ "$1" = bound ] && ip address add "$ip/24" dev card0 && ip route add default via "$router"\n')
    lease.chmod(0o755)
    end = time.monotonic() + WAIT_S
    while cables.run("gw", "ip", "-4", "address", "show", "eth1", check=False).stdout.count("10.78.0.1/24") == 0:
        assert time.monotonic() < end, "the gateway has no address"
        time.sleep(0.1)
    heard = {where: listener.communicate(timeout=WAIT_S)[0] for where, listener in cables.listeners.items()}
    assert heard == {"out": "10.77.0.9", "in": "10.78.0.1"}, "all its addresses are announced"
    cables.run("in", cables.busybox, "udhcpc", "-i", "card0", "-q", "-n", "-t", "30", "-T", "1", "-s", str(lease))
    address = cables.run("in", "ip", "-4", "-o", "address", "show", "card0").stdout
    assert " 10.78.0.1" in address
    assert cables.pings("in", "10.78.0.1")
    assert cables.pings("in", "10.77.0.1"), "from inside to outside, by NAT: outside knows no way back"
    assert not cables.run("out", "ip", "route", "show", "10.78.0.0/24").stdout
    cables.run("out", "ip", "route", "add", "10.78.0.0/24", "via", "10.77.0.9")
    assert cables.pings("out", "10.77.0.9")
    assert not cables.pings("out", address.split("/")[0].split()[-1]), "from outside only answers come in"
