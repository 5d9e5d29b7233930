"""What every back end promises, on each one that can be had here. Time is pretended: no test waits.

Xen itself is not here: its back end is tried with recorded output in test_xl.py, and on a real Xen in the lab."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from common import hypervisor as hv
from common.hypervisor import Disk, DomainConfig, Hypervisor, Network
from plugins.hypervisor_libvirt import LibvirtHypervisor, connect
from plugins.hypervisor_sim import SimHypervisor
from plugins.libvirt_library import load
from plugins.sim_world import SimHost, SimWorld

MIB = 1024 * 1024
MAIL = DomainConfig(
    "mail1",
    memory_bytes=256 * MIB,
    memory_max_bytes=512 * MIB,
    vcpus=2,
    kernel="/boot/vmlinuz",
    cmdline="console=hvc0 & <quiet>",
    networks=(Network("xenbr0", "00:16:3e:00:00:01"),),
)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class Pair:
    """Two hosts that can reach each other; `foreign` is the name of a domain on the first that somebody else made."""

    here: Hypervisor
    there: Hypervisor
    foreign: str
    fresh: Callable[[], Hypervisor]


def sim(folder: Path) -> Pair:
    clock = Clock()
    for name in ("xen1", "xen2"):
        SimWorld(folder).add_host(name, SimHost(memory_bytes=4096 * MIB, cpus=4))
    here = SimHypervisor("xen1", folder, clock, clock.wait)
    here.add_foreign("theirs", 128 * MIB)
    return Pair(
        here,
        SimHypervisor("xen2", folder, clock, clock.wait),
        "theirs",
        lambda: SimHypervisor("xen1", folder, clock, clock.wait),
    )


NODE = """\
<node><domain type='test'><name>theirs</name><memory>131072</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain></node>"""


def libvirt(folder: Path) -> Pair:
    """Two hosts of libvirt's test driver; a host lives as long as a connection to it."""
    try:
        load()
    except ImportError as fault:
        pytest.skip(str(fault))
    folder.mkdir()
    for name in ("kvm1", "kvm2"):
        (folder / f"{name}.xml").write_text(NODE)
    open_once = functools.cache(connect)
    clock = Clock()

    def one(host: str) -> LibvirtHypervisor:
        uri = f"test://{folder}/{{host}}.xml"
        return LibvirtHypervisor(host, uri.format(host=host), uri, folder, connect=open_once, clock=clock, wait=clock.wait)

    return Pair(one("kvm1"), one("kvm2"), "theirs", lambda: one("kvm1"))


@pytest.fixture(params=[sim, libvirt], ids=["sim", "libvirt"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    made: Pair = request.param(tmp_path / "farm")
    return made


def names(one: Hypervisor) -> list[str]:
    return [domain.name for domain in one.domains() if domain.ours]


def test_a_started_domain_is_listed_as_it_was_wanted(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    seen = pair.here.domain("mail1")
    assert (seen.state, seen.memory_bytes, seen.vcpus, seen.uuid, seen.ours) == (
        "running",
        256 * MIB,
        2,
        hv.mark("mail1"),
        True,
    )


def test_a_domain_is_still_ours_after_the_client_has_started_anew(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    again = pair.fresh()
    assert names(again) == ["mail1"]
    again.destroy("mail1", limit_s=30)
    assert names(pair.here) == []


def test_a_second_one_of_the_name_is_refused(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    with pytest.raises(hv.AlreadyThere, match=rf"mail1 on {pair.here.host}: .* running; nothing was started"):
        pair.here.start(MAIL, limit_s=30)
    assert names(pair.here) == ["mail1"]


@pytest.mark.parametrize(
    "touch",
    [
        lambda one, vm, folder: one.destroy(vm, limit_s=1),
        lambda one, vm, folder: one.shutdown(vm, limit_s=1, destroy=True),
        lambda one, vm, folder: one.reboot(vm, limit_s=1),
        lambda one, vm, folder: one.pause(vm, limit_s=1),
        lambda one, vm, folder: one.unpause(vm, limit_s=1),
        lambda one, vm, folder: one.save(vm, folder / "f", limit_s=1),
        lambda one, vm, folder: one.migrate(vm, "xen2", limit_s=1),
        lambda one, vm, folder: one.set_memory(vm, 64 * MIB, limit_s=1),
        lambda one, vm, folder: one.console_log(vm, bytes_max=10),
        lambda one, vm, folder: one.start(replace(MAIL, name=vm), limit_s=1),
    ],
    ids=["destroy", "shutdown", "reboot", "pause", "unpause", "save", "migrate", "set_memory", "console_log", "start"],
)
def test_a_domain_of_somebody_else_is_never_touched(
    pair: Pair, tmp_path: Path, touch: Callable[[Hypervisor, str, Path], object]
) -> None:
    before = pair.here.domain(pair.foreign)
    with pytest.raises(hv.NotOurs, match=pair.foreign):
        touch(pair.here, pair.foreign, tmp_path)
    after = pair.here.domain(pair.foreign)
    assert (after.state, after.uuid, after.memory_bytes) == (before.state, before.uuid, before.memory_bytes)


def test_what_is_not_there_is_said_to_be_not_there(pair: Pair) -> None:
    with pytest.raises(hv.NoSuchDomain, match=f"nosuch on {pair.here.host}: there is no such domain"):
        pair.here.destroy("nosuch", limit_s=1)


def test_shutdown_says_that_the_guest_ended_by_itself(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    assert pair.here.shutdown("mail1", limit_s=30) == "shutdown"
    assert names(pair.here) == []


def test_pause_and_unpause_may_be_asked_twice(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    for order, state in ((pair.here.pause, "paused"), (pair.here.unpause, "running")):
        order("mail1", limit_s=10)
        order("mail1", limit_s=10)
        assert pair.here.domain("mail1").state == state


def test_a_saved_domain_is_gone_and_comes_back(pair: Pair, tmp_path: Path) -> None:
    pair.here.start(MAIL, limit_s=30)
    pair.here.save("mail1", tmp_path / "mail1.save", limit_s=30)
    assert names(pair.here) == []
    restored = pair.here.restore("mail1", tmp_path / "mail1.save", limit_s=30)
    assert (restored.state, restored.uuid, restored.memory_bytes) == ("running", hv.mark("mail1"), 256 * MIB)


def test_a_file_that_is_there_is_not_saved_over(pair: Pair, tmp_path: Path) -> None:
    pair.here.start(MAIL, limit_s=30)
    (tmp_path / "f").write_text("precious")
    with pytest.raises(hv.WrongState, match="exists already"):
        pair.here.save("mail1", tmp_path / "f", limit_s=30)
    assert (tmp_path / "f").read_text() == "precious"
    assert names(pair.here) == ["mail1"]


def test_a_file_of_another_domain_is_not_restored(pair: Pair, tmp_path: Path) -> None:
    pair.here.start(MAIL, limit_s=30)
    pair.here.save("mail1", tmp_path / "f", limit_s=30)
    (tmp_path / "rubbish").write_bytes(b"\x00garbage")
    for name, file in (("mail2", "f"), ("mail1", "rubbish"), ("mail1", "missing")):
        with pytest.raises(hv.WrongState, match="nothing was done"):
            pair.here.restore(name, tmp_path / file, limit_s=30)
    assert names(pair.here) == []


def test_migration_leaves_one_domain_and_says_how(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    how = pair.here.migrate("mail1", pair.there.host, limit_s=60)
    assert how in ("live", "saved")
    assert (names(pair.here), names(pair.there)) == ([], ["mail1"])


def test_memory_is_set_up_to_the_ceiling(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    pair.here.set_memory("mail1", 384 * MIB, limit_s=30)
    assert pair.here.domain("mail1").memory_bytes == 384 * MIB
    with pytest.raises(hv.WrongState, match="512 MiB"):
        pair.here.set_memory("mail1", 1024 * MIB, limit_s=30)


def test_what_our_domains_boot_from_is_known_and_what_others_do_is_not_asked(pair: Pair) -> None:
    pair.here.start(MAIL, limit_s=30)
    disk = Disk("xvda", "/dev/vg0/mail2")
    pair.here.start(replace(MAIL, name="mail2", type="hvm", kernel="", disks=(disk,), networks=()), limit_s=30)
    assert pair.here.kernels() == {"mail1": "/boot/vmlinuz", "mail2": "/dev/vg0/mail2"}


def test_what_is_rendered_is_not_started(pair: Pair) -> None:
    assert "mail1" in pair.here.rendered(MAIL)
    assert "preserve" in pair.here.rendered(MAIL)
    assert names(pair.here) == []


def test_the_host_says_what_it_has(pair: Pair) -> None:
    found = pair.here.host_info()
    assert found.host == pair.here.host
    assert 0 <= found.memory_free_bytes <= found.memory_bytes
    assert found.cpus >= 1
    assert found.version
