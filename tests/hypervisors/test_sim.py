"""What the simulated hypervisor adds: capacity, time, failures on request, and processes that share the farm."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from common import hypervisor as hv
from plugins.hypervisor_sim import SimHypervisor
from plugins.sim_world import FAILURES, Failure, SimHost, SimWorld
from tests.hypervisors.test_contract import MAIL, MIB, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def xen1(tmp_path: Path, clock: Clock) -> SimHypervisor:
    world = SimWorld(tmp_path)
    world.add_host("xen1", SimHost(memory_bytes=1024 * MIB, boot_s=20, shutdown_s=5))
    world.add_host("xen2", SimHost(memory_bytes=300 * MIB))
    return SimHypervisor("xen1", tmp_path, clock, clock.wait)


def test_what_does_not_fit_is_refused_with_the_numbers(xen1: SimHypervisor) -> None:
    with pytest.raises(hv.DoesNotFit, match="big on xen1: it needs 2048 MiB, and 1024 MiB are free; nothing was started"):
        xen1.start(replace(MAIL, name="big", memory_bytes=2048 * MIB, memory_max_bytes=0), limit_s=1)
    assert xen1.domains() == ()


def test_a_guest_needs_its_time_to_boot_and_to_end(xen1: SimHypervisor, clock: Clock) -> None:
    assert xen1.start(MAIL, limit_s=1).state == "starting"
    clock.now += 20
    assert xen1.domain("mail1").state == "running"
    before = clock.now
    assert xen1.shutdown("mail1", limit_s=30) == "shutdown"
    assert 5 <= clock.now - before < 6


def test_a_guest_that_does_not_listen(xen1: SimHypervisor) -> None:
    xen1.start(MAIL, limit_s=1)
    xen1.world.add_failure(Failure("shutdown", how="hang", times=2))
    with pytest.raises(hv.TimedOut, match=r"did not shut down within 10 s .it was left as it is."):
        xen1.shutdown("mail1", limit_s=10)
    assert xen1.shutdown("mail1", limit_s=10, destroy=True) == "destroyed"
    assert xen1.domains() == ()


def test_a_failed_save_leaves_a_domain_that_halts_but_stays(xen1: SimHypervisor, tmp_path: Path, clock: Clock) -> None:
    xen1.start(MAIL, limit_s=1)
    xen1.world.add_failure(Failure("save", why="no space left on device"))
    with pytest.raises(hv.HypervisorError, match=r"no space left.*nothing watches it any more"):
        xen1.save("mail1", tmp_path / "f.save", limit_s=1)
    assert not (tmp_path / "f.save").exists()
    with pytest.raises(hv.TimedOut):
        xen1.shutdown("mail1", limit_s=1)
    clock.now += 10
    seen = xen1.domain("mail1")
    assert (seen.state, seen.note) == ("shutdown", "halted, but still there: only destroy clears it")
    assert xen1.shutdown("mail1", limit_s=1) == "shutdown"
    assert xen1.domains() == ()


def test_failures_on_request_are_used_up(xen1: SimHypervisor) -> None:
    xen1.world.add_failure(Failure("list", how="unavailable", why="xenstored does not answer"))
    with pytest.raises(hv.Unavailable, match="xen1: xenstored does not answer"):
        xen1.domains()
    assert xen1.domains() == ()


def test_a_migration_that_does_not_fit_changes_nothing(xen1: SimHypervisor) -> None:
    xen1.start(MAIL, limit_s=1)
    SimHypervisor("xen2", xen1.folder, xen1.clock, xen1.wait).add_foreign("theirs", 200 * MIB)
    with pytest.raises(hv.DoesNotFit, match="mail1 on xen2"):
        xen1.migrate("mail1", "xen2", limit_s=1)
    assert [one.name for one in xen1.domains()] == ["mail1"]


def test_a_pv_domain_is_moved_by_saving_it(xen1: SimHypervisor) -> None:
    xen1.start(replace(MAIL, type="pv"), limit_s=1)
    assert xen1.migrate("mail1", "xen2", limit_s=1) == "saved"


def test_a_crashed_domain_is_seen_and_cleared(xen1: SimHypervisor) -> None:
    xen1.start(MAIL, limit_s=1)
    xen1.crash("mail1")
    assert xen1.domain("mail1").state == "crashed"
    assert xen1.console_log("mail1", bytes_max=13) == "kernel panic\n"
    with pytest.raises(hv.WrongState, match="it is crashed"):
        xen1.reboot("mail1", limit_s=1)
    xen1.destroy("mail1", limit_s=1)


@pytest.mark.parametrize("rubbish", [b"", b"{", b'{"memory_bytes": "much"}', b"\xff"])
def test_a_broken_farm_is_unavailable(xen1: SimHypervisor, rubbish: bytes) -> None:
    (xen1.folder / "xen1.json").write_bytes(rubbish)
    with pytest.raises(hv.Unavailable, match=r"xen1: the simulated farm in .* cannot be used"):
        xen1.domains()


def test_a_broken_list_of_failures_is_unavailable(xen1: SimHypervisor) -> None:
    (xen1.folder / FAILURES).write_text("[{}]")
    with pytest.raises(hv.Unavailable, match=FAILURES):
        xen1.domains()


def test_an_unknown_host_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(hv.Unavailable, match="there is no such simulated host"):
        SimHypervisor("nosuch", tmp_path / "none").domains()


def _start_some(folder: Path, host: str, prefix: str) -> None:
    one = SimHypervisor(host, folder)
    for number in range(10):
        one.start(replace(MAIL, name=f"{prefix}{number}", memory_bytes=MIB, memory_max_bytes=0), limit_s=1)


@pytest.mark.slow
def test_processes_that_work_at_once_lose_nothing(xen1: SimHypervisor) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_start_some, args=(xen1.folder, "xen1", prefix)) for prefix in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(xen1.domains()) == 30


# --- the hook -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hooked(tmp_path: Path) -> SimHypervisor:
    """A host whose hook notes what it is told, and refuses to start `bad`."""
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\n[ "$2" = bad ] && {{ echo no disk >&2; exit 3; }}\necho "$*" >> {tmp_path}/told\n')
    hook.chmod(0o755)
    for name in ("xen1", "xen2"):
        SimWorld(tmp_path / "farm").add_host(name, SimHost(hook=str(hook)))
    return SimHypervisor("xen1", tmp_path / "farm", wait=lambda seconds: None)


def told(tmp_path: Path) -> list[str]:
    return (tmp_path / "told").read_text().splitlines()


def test_the_hook_is_run_when_a_guest_begins_and_ends(hooked: SimHypervisor, tmp_path: Path) -> None:
    for ending in (
        lambda: hooked.shutdown("node", limit_s=5),
        lambda: hooked.destroy("node", limit_s=5),
        lambda: hooked.crash("node"),
    ):
        hooked.start(hv.DomainConfig("node", memory_bytes=2**28), limit_s=5)
        ending()
    hooked.destroy("node", limit_s=5)  # what has crashed is cleared away, and does not end twice
    assert told(tmp_path) == [
        "start node xen1",
        "stop node xen1",
        "start node xen1",
        "destroy node xen1",
        "start node xen1",
        "destroy node xen1",
    ]


def test_a_guest_that_moves_ends_here_and_begins_there(hooked: SimHypervisor, tmp_path: Path) -> None:
    hooked.start(hv.DomainConfig("node", memory_bytes=2**28), limit_s=5)
    hooked.migrate("node", "xen2", limit_s=5)
    assert told(tmp_path) == ["start node xen1", "stop node xen1", "start node xen2"]


def test_a_guest_whose_hook_fails_is_not_started(hooked: SimHypervisor) -> None:
    with pytest.raises(hv.HypervisorError, match="bad on xen1: sim_hook start: exit status 3: no disk"):
        hooked.start(hv.DomainConfig("bad", memory_bytes=2**28), limit_s=5)
    assert hooked.domains() == ()
