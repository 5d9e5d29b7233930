"""Hosts that come to know each other's ssh keys: the manager's rule, and the hosts' own daemon and scripts for real."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config.load import load_client, parse_triggers
from common.config.model import ManagerConfig
from provision import cpio, debian, debs, dom0, project, sshkeys
from provision.programs import NotToBeHad
from provision.roots import Workshop
from tests.provision.given import farm
from tests.provision.tool import Tool
from vmmanager.events import Moment
from vmmanager.triggers.effects import Act, Effect
from vmmanager.triggers.rule import faults
from vmmanager.triggers.trial import Rehearsal, parse_samples
from vmprovision import inventory as inventories
from vmprovision import sshtrust
from vmprovision.target import write_tree
from xenlab.images import CACHE

WAIT_S = 30.0
KEYS = {
    name: f"AAAAC3NzaC1lZDI1NTE5{name[-1] * 48}:AAAAC3NzaC1lZDI1NTE5{'r' * 48}" for name in ("xen1", "xen2", "xen9")
}  # fmt: skip
HOST = """\
cd {0} && mount -t tmpfs dev dev || exit 1
for each in null urandom random tty; do touch dev/$each && mount --bind /dev/$each dev/$each; done
mkdir dev/pts && mount -t devpts devpts dev/pts && mount -t proc proc proc && mount -t tmpfs run run
exec chroot . /etc/vmherd-image/services/sshd
"""
XL = "#!/bin/sh\necho xl on $(cat /etc/hostname): $*\n"


def test_a_key_that_is_laid_out_lets_in_what_a_key_that_a_host_is_told_lets_in() -> None:
    """vmherd-ssh is shell, on a host without Python: what it writes before a key stands there a second time."""
    script = (Path(sshkeys.__file__).parent / "files" / "vmherd-ssh").read_text()
    assert re.findall(r"echo '(command=[^']*)'", script) == [sshkeys.ONLY_XL]


# --- the rule ---------------------------------------------------------------------------------------------------------------


class Told:
    """What the manager's rule has had sent, in the order of time."""

    def __init__(self, folder: Path) -> None:
        triggers = parse_triggers(sshtrust.triggers(inventories.load(farm(folder))), "hosts.ini")
        assert not faults(triggers)
        self.sent: list[tuple[object, ...]] = []
        self.rehearsal = Rehearsal(triggers, ManagerConfig("m1"), on_effect=self._hear, outcome=lambda act: "ok")

    def _hear(self, now: Moment, effect: Effect) -> None:
        if isinstance(effect, Act):
            self.sent += [(one.wish.targets, one.wish.arguments["parameters"]) for one in effect.wishes]

    def play(self, *lines: str) -> list[tuple[object, ...]]:
        """What is sent because of it."""
        self.sent = []
        self.rehearsal.play(parse_samples("\n".join(lines)))
        return self.sent


def trust(to: str, host: str, keys: str) -> tuple[object, ...]:
    return (to,), {"program": "ssh-trust", "host": host, "keys": keys}


def says(at: int, host: str, keys: str, *known: str) -> list[str]:
    return [
        f'{at} {host} ssh_keys = {{"code": 0, "text": "{keys}"}} ticks=1000',
        f'{at} {host} ssh_known = {{"code": 0, "text": "{" ".join(known)}"}} ticks=1000',
    ]


def test_hosts_are_told_the_keys_of_the_others_and_no_more_when_they_know_them(tmp_path: Path) -> None:
    told = Told(tmp_path)
    assert not told.play("0 xen1 joins dom0", *says(1, "xen1", KEYS["xen1"]), "50 -"), "alone"
    sent = told.play("60 xen2 joins dom0", *says(61, "xen2", KEYS["xen2"]), "70 -")
    assert sorted(map(str, sent)) == sorted(
        map(str, [trust("xen1", "xen2", KEYS["xen2"]), trust("xen2", "xen1", KEYS["xen1"])])
    )
    known = [*says(71, "xen1", KEYS["xen1"], f"xen2:{KEYS['xen2']}"), *says(71, "xen2", KEYS["xen2"], f"xen1:{KEYS['xen1']}")]
    assert not told.play(*known, "300 -")
    again = told.play(*says(301, "xen2", KEYS["xen9"], f"xen1:{KEYS['xen1']}"), "310 -")
    assert again == [trust("xen1", "xen2", KEYS["xen9"])], "a host that has made new keys"


def test_who_is_not_in_the_inventory_is_told_nothing_and_told_of_to_nobody(tmp_path: Path) -> None:
    told = Told(tmp_path)
    lines = ["0 xen1 joins dom0", *says(1, "xen1", KEYS["xen1"]), "2 xen9 joins dom0", *says(3, "xen9", KEYS["xen9"]), "90 -"]
    assert not told.play(*lines)


def test_the_client_of_a_host_takes_its_own_files(written: Tool, tmp_path: Path) -> None:
    own = tmp_path / "own"
    write_tree(cpio.read((written.target / "boot" / "hosts" / "xen1.cpio").read_bytes()), own)
    config = load_client(own / "etc" / "vmherd" / "vmclient.ini")
    assert {"ssh-keys", "ssh-known", "ssh-trust", "ssh-forget"} <= {one.name for one in config.programs}
    assert {"ssh_keys", "ssh_known"} <= {one.name for one in config.properties}


# --- the hosts --------------------------------------------------------------------------------------------------------------


class Pair:
    """xen1 and xen2: two roots with an ssh daemon, each in a namespace of its own, with a cable between."""

    def __init__(self, folder: Path, shop: Workshop) -> None:
        self.spaces = {name: f"vmherd-{name}-{os.getpid()}" for name in ("xen1", "xen2")}
        self.roots = {name: folder / name for name in self.spaces}
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        tree = debian.system(shop.apt.fetch(debian.current(shop.apt, ("busybox-static", "dropbear-bin"))))
        for package in shop.apt.fetch(shop.apt.versions(dom0.FLOCK[:1])):
            debs.unpack(tree, package, only=dom0.FLOCK[1:])
        debian.busybox(tree)
        project.service(tree, "sshd")
        for name in ("ssh", "vmherd-ssh"):
            project.install(tree, name, f"usr/bin/{name}" if name == "ssh" else f"usr/sbin/{name}")
        tree.file("usr/sbin/xl", XL, 0o755)
        tree.file("etc/hosts", "10.77.0.11 xen1\n10.77.0.12 xen2\n")
        for name, root in self.roots.items():
            tree.file("etc/hostname", name)
            tree.folder("etc/dropbear")
            root.mkdir()
            write_tree(tree, root)

    def make(self) -> None:
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "add", space], check=True, capture_output=True)
        one, two = self.spaces.values()
        cable = ["ip", "link", "add", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", two]
        subprocess.run(cable, check=True, capture_output=True)
        for number, space in enumerate(self.spaces.values(), 11):
            for words in (["address", "add", f"10.77.0.{number}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
                subprocess.run(["ip", "-n", space, *words], check=True, capture_output=True)
        for name in self.spaces:
            self.start(name)

    def start(self, name: str) -> None:
        argv = ["ip", "netns", "exec", self.spaces[name], "unshare", "--mount"]
        self.daemons[name] = subprocess.Popen([*argv, "sh", "-c", HOST.format(self.roots[name])])

    def stop(self, name: str) -> None:
        self.daemons[name].kill()
        self.daemons[name].wait()

    def remove(self) -> None:
        for name in self.daemons:
            self.stop(name)
        for space in self.spaces.values():
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)

    def on(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run on that host, as its client or its xl would."""
        argv = ["nsenter", "--target", str(self.daemons[name].pid), "--mount", "--net", "--root", "--wd", *words]
        environment = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/root"}
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60, env=environment
        )

    def keys(self, name: str) -> str:
        end = time.monotonic() + WAIT_S
        while True:
            done = self.on(name, "vmherd-ssh", "keys")
            if done.returncode == 0:
                return done.stdout.strip()
            assert time.monotonic() < end, done.stderr
            time.sleep(0.1)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root, and the program ip")
    try:
        made = Pair(tmp_path, Workshop(CACHE))
    except NotToBeHad as fault:
        pytest.skip(str(fault))
    try:
        made.make()
        yield made
    except subprocess.CalledProcessError as fault:
        pytest.skip(f"no network namespaces here: {fault.stderr}")
    finally:
        made.remove()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_domains_may_be_handed_over_between_hosts_that_know_each_other_and_nothing_else(pair: Pair) -> None:
    shell = ("ssh", "-o", "BatchMode=yes", "xen2")
    keys = {name: pair.keys(name) for name in pair.spaces}
    assert all(re.fullmatch(f"{sshtrust.KEY}:{sshtrust.KEY}", each) for each in keys.values()), "as the client wants them"
    stranger = pair.on("xen1", *shell, "xl", "list", "-v")
    assert stranger.returncode != 0, "whose key is not known is not believed"
    assert pair.on("xen1", "vmherd-ssh", "trust", "xen2", keys["xen2"]).returncode == 0
    assert pair.on("xen1", *shell, "xl", "list", "-v").returncode != 0, "xen2 does not know xen1"
    assert pair.on("xen2", "vmherd-ssh", "trust", "xen1", keys["xen1"]).returncode == 0
    for words in (
        ("list", "-v"),
        ("migrate-receive", "-e"),
        ("-t", "-vv", "migrate-receive"),
        ("restore", "/srv/shared/saves/web1.save"),
    ):
        done = pair.on("xen1", *shell, "xl", *words)
        assert (done.returncode, done.stdout) == (0, f"xl on xen2: {' '.join(words)}\n"), done.stderr
    for wanted in (
        "cat /etc/passwd",
        "xl destroy web1",
        "xl -t destroy migrate-receive",
        "xl list -v\nid",
        "xl restore /x y",
        "xl list -v; id",
        "xl restore /x $(id)",
        "",
    ):
        refused = pair.on("xen1", *shell, wanted)
        assert refused.returncode == 1, wanted
        assert "a host may only have xl take in a domain here" in refused.stderr
    assert pair.on("xen1", "vmherd-ssh", "known").stdout.split() == [f"xen2:{keys['xen2']}"]
    pair.on("xen2", "vmherd-ssh", "forget", "xen1")
    assert pair.on("xen1", *shell, "xl", "list", "-v").returncode != 0, "forgotten"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_private_keys_are_for_root_alone_and_a_host_with_new_ones_is_a_stranger(pair: Pair) -> None:
    keys = {name: pair.keys(name) for name in pair.spaces}
    for root in pair.roots.values():
        for name in ("dropbear_ed25519_host_key", "id_root"):
            assert stat.S_IMODE((root / "etc" / "dropbear" / name).stat().st_mode) == 0o600
    for name, other in (("xen1", "xen2"), ("xen2", "xen1")):
        pair.on(name, "vmherd-ssh", "trust", other, keys[other])
    assert pair.on("xen1", "ssh", "xen2", "xl", "list", "-v").returncode == 0
    pair.stop("xen2")
    for path in (pair.roots["xen2"] / "etc" / "dropbear").iterdir():
        path.unlink()
    pair.start("xen2")
    assert pair.keys("xen2") != keys["xen2"]
    assert pair.on("xen1", "ssh", "xen2", "xl", "list", "-v").returncode != 0
    pair.on("xen1", "vmherd-ssh", "trust", "xen2", pair.keys("xen2"))
    assert pair.on("xen1", "ssh", "xen2", "xl", "list", "-v").returncode == 0
