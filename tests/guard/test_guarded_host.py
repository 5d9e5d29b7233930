"""A host with protected VMs, as processes: what happens when the client, the guard, the managers or the storage fail."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.blockfile import read_block, write_block
from common.leases import Terms
from common.protocol import ExecErr, ExecVal
from common.storagebeat import Beat, Claim, beat_path, claim_path
from plugins.sim_world import Failure
from tests.client.farm import VmBus, until
from tests.guard.farm import HOST, PATIENT, TERMS, GuardedHost, Leader

pytestmark = pytest.mark.slow

STOPPED_S = TERMS.lease_s + TERMS.stop_s + 1.0
Start = Callable[..., tuple[GuardedHost, Leader]]


@pytest.fixture
def bus() -> Iterator[VmBus]:
    bus = VmBus()
    yield bus
    bus.stop()


@pytest.fixture
def start(bus: VmBus, tmp_path: Path) -> Iterator[Start]:
    ends: list[Callable[[], None]] = []

    def begin(failover: str = "watchdog = none", vm: str = "mail1", terms: Terms = TERMS) -> tuple[GuardedHost, Leader]:
        """A host that holds a lease and runs a protected VM."""
        leader = Leader(bus.port, terms)
        host = GuardedHost(tmp_path, bus.port, failover)
        ends.extend((host.end, leader.close))
        (tmp_path / "state").mkdir(mode=0o700)
        host.trust(leader)
        host.start()
        until(leader.hellos)
        host.says("leases: this host holds one")
        if vm:
            started = leader.execute("vm-start", vm)
            assert isinstance(started, ExecVal), started
            leader.ask_with(lambda ask: ask.protected == (vm,), "the book does not hold it")
        return host, leader

    yield begin
    for end in ends:
        end()


def test_without_a_manager_protected_vms_are_stopped_in_time_and_others_are_not(start: Start) -> None:
    host, leader = start()
    assert isinstance(leader.execute("vm-start", "plain1", protect=False), ExecVal)
    host.hypervisor.add_foreign("theirs", 64 * 1024 * 1024)
    leader.grants = False
    host.gone_within(STOPPED_S, "mail1")
    assert host.domains() == ["plain1", "theirs"]
    refused = leader.execute("vm-start", "mail1")
    assert isinstance(refused, ExecErr)
    assert (refused.kind, refused.reason) == ("refused", "this host holds no lease that lasts")


def test_a_client_that_is_killed_and_comes_back_costs_no_vm(start: Start) -> None:
    host, leader = start(terms=PATIENT)
    host.kill()
    host.start()
    guard = host.guard()
    leader.ask_with(lambda ask: ask.protected == ("mail1",), "the new client does not know")
    time.sleep(PATIENT.lease_s + PATIENT.stop_s)  # what would stop it has its time
    assert host.domains() == ["mail1"]
    assert host.guard() == guard


def test_a_client_that_is_killed_and_stays_away_loses_its_vms_in_time(start: Start) -> None:
    host, _ = start()
    host.kill()
    host.gone_within(STOPPED_S, "mail1")


def test_a_client_that_is_stopped_in_good_order_leaves_its_guard(start: Start) -> None:
    host, _ = start()
    assert host.kill(signal.SIGTERM) == 0
    host.says("protected VMs run on, guarded, as long as the lease lasts: mail1")
    assert host.domains() == ["mail1"]
    host.gone_within(STOPPED_S, "mail1")


def test_a_guard_that_is_killed_is_followed_by_another(start: Start) -> None:
    host, leader = start(terms=PATIENT)
    guard = host.guard()
    assert guard is not None
    guard.kill()
    until(lambda: host.guard() not in (None, guard), "no other guard")
    leader.ask_with(lambda ask: ask.protected == ("mail1",), "the new guard does not know")
    assert host.domains() == ["mail1"]
    leader.grants = False
    host.gone_within(STOPPED_S + PATIENT.lease_s, "mail1")


def test_a_guard_that_hangs_is_replaced_before_the_watchdog_resets_the_host(start: Start) -> None:
    host, leader = start("watchdog = sim", terms=replace(PATIENT, watchdog_s=8.0))
    guard = host.guard()
    assert guard is not None
    guard.suspend()
    until(lambda: host.guard() not in (None, guard), "no other guard")
    leader.ask_with(lambda ask: ask.protected == ("mail1",) and ask.armed, "the new guard does not know")
    time.sleep(9.0)
    assert host.domains() == ["mail1"]


def test_a_client_that_finds_a_hanging_guard_starts_another(start: Start) -> None:
    host, leader = start(terms=replace(PATIENT, lease_s=20.0))
    guard = host.guard()
    assert guard is not None
    guard.suspend()
    host.kill()
    host.start()
    leader.ask_with(lambda ask: ask.protected == ("mail1",), "the new guard does not know")
    assert host.guard() not in (None, guard)
    assert host.domains() == ["mail1"]


def test_what_the_leader_wants_protected_is_as_soon_as_it_is_there(start: Start) -> None:
    host, leader = start(vm="")
    leader.protected = ("moved1",)
    host.by_hand("moved1")
    host.by_hand("plain1")
    leader.ask_with(lambda ask: ask.protected == ("moved1",), "the book does not hold it")
    leader.grants = False
    host.gone_within(STOPPED_S, "moved1")
    assert host.domains() == ["plain1"]


def test_a_book_that_is_damaged_is_not_guessed_at(start: Start) -> None:
    host, leader = start(vm="")
    host.kill()
    guard = host.guard()
    assert guard is not None
    guard.kill()
    (host.folder / "state" / "protected").write_bytes(b"{")
    host.by_hand("some1")
    host.start()
    leader.ask_with(lambda ask: ask.protected == ("some1",), "it does not count as protected")


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_another_configuration_brings_another_guard_and_the_vms_notice_nothing(start: Start, how: str) -> None:
    host, leader = start(terms=PATIENT)
    before = host.guard()
    host.conf.write_text(host.conf.read_text().replace("watchdog = none", "watchdog = auto"))
    if how == "restart":
        host.kill(signal.SIGTERM)
        host.start()
    else:
        assert host.process is not None
        host.process.send_signal(signal.SIGHUP)
        host.says("the guard is gone, another one is started")
    if how == "restart":
        host.says("the guard was started with another setup: a new one takes over")
    leader.ask_with(lambda ask: ask.protected == ("mail1",), "the new guard does not know")
    assert host.guard() not in (None, before)
    time.sleep(PATIENT.lease_s + PATIENT.stop_s)
    assert host.domains() == ["mail1"]


def test_a_start_that_is_under_way_is_broken_off_when_the_lease_ends(start: Start) -> None:
    host, leader = start()
    host.hypervisor.world.add_failure(Failure("start", vm="slow1", how="hang"))
    leader.grants = False
    refused = leader.execute("vm-start", "slow1")
    assert isinstance(refused, ExecErr)
    assert refused.reason in ("the lease of this host is over", "this host holds no lease that lasts")
    host.gone_within(STOPPED_S, "mail1")
    until(lambda: not (host.folder / "state" / "protected").read_bytes().count(b"slow1"), "it stays in the book")


# --- watchdog -----------------------------------------------------------------------------------------------------------------


def test_a_host_on_which_all_hangs_is_reset(start: Start) -> None:
    host, leader = start("watchdog = sim")
    leader.ask_with(lambda ask: ask.armed and ask.watchdog_s == TERMS.watchdog_s, "the watchdog is not armed")
    guard = host.guard()
    assert guard is not None
    guard.suspend()
    assert host.process is not None
    host.process.send_signal(signal.SIGSTOP)
    host.gone_within(TERMS.watchdog_s + 1.0, "mail1")


def test_the_watchdog_is_armed_only_while_something_protected_runs(start: Start) -> None:
    host, leader = start("watchdog = sim")
    leader.ask_with(lambda ask: ask.armed, "the watchdog is not armed")
    assert isinstance(leader.execute("vm-destroy", "mail1"), ExecVal)
    leader.ask_with(lambda ask: not ask.armed and not ask.protected and ask.watchdog_s > 0, "the watchdog is not released")
    guard = host.guard()
    assert guard is not None
    host.by_hand("plain1")
    guard.suspend()
    time.sleep(TERMS.watchdog_s + 0.5)
    assert host.domains() == ["plain1"]


def test_a_hypervisor_that_hangs_leaves_the_host_to_its_watchdog(start: Start) -> None:
    host, leader = start("watchdog = sim")
    leader.ask_with(lambda ask: ask.armed, "the watchdog is not armed")
    for operation in ("list", "destroy"):
        host.hypervisor.world.add_failure(Failure(operation, how="error", times=1000))
    leader.grants = False
    host.gone_within(TERMS.lease_s + TERMS.watchdog_s + 1.0, "mail1")


# --- storage ------------------------------------------------------------------------------------------------------------------


def storage(folder: Path, number: int = 0) -> Path:
    """As the leader lays it out."""
    shared = folder / "shared"
    for path in (beat_path(shared, HOST), claim_path(shared, HOST)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_block(Path(claim_path(shared, HOST)), Claim(HOST, number, 1, "m1").encode())
    return shared


def test_while_the_storage_answers_a_bus_that_is_gone_stops_nothing(start: Start, tmp_path: Path, bus: VmBus) -> None:
    shared = storage(tmp_path)
    host, leader = start(f"watchdog = none\nstorage = {shared}")
    leader.ask_with(lambda ask: ask.storage, "it does not tell of its storage")
    time.sleep(TERMS.beat_s)
    bus.stop()
    mark = Beat.decode(read_block(Path(beat_path(shared, HOST)))).mark
    time.sleep(STOPPED_S + TERMS.storage_s)
    assert host.domains() == ["mail1"]
    assert Beat.decode(read_block(Path(beat_path(shared, HOST)))).mark != mark
    storage(tmp_path, 7)
    host.gone_within(TERMS.beat_s + TERMS.stop_s + 1.0, "mail1")
    mark = Beat.decode(read_block(Path(beat_path(shared, HOST)))).mark
    time.sleep(3 * TERMS.beat_s)
    assert Beat.decode(read_block(Path(beat_path(shared, HOST)))).mark == mark  # it beats only while it sees no claim
    bus.start()
    leader.ask_with(lambda ask: ask.stopped == 7, "it does not tell that it has obeyed")


def test_a_storage_that_hangs_is_no_evidence(start: Start, tmp_path: Path) -> None:
    shared = storage(tmp_path)
    host, leader = start(f"watchdog = none\nstorage = {shared}")
    leader.ask_with(lambda ask: ask.storage, "it does not tell of its storage")
    claim = Path(claim_path(shared, HOST))
    claim.unlink()
    os.mkfifo(claim)  # whoever opens it waits for ever
    leader.grants = False
    host.gone_within(TERMS.storage_s + TERMS.beat_s + TERMS.lease_s + TERMS.stop_s + 1.0, "mail1")


def test_an_empty_mount_point_is_no_storage(start: Start, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    host, leader = start(f"watchdog = none\nstorage = {shared}")
    assert not leader.ask_with(lambda ask: True, "it does not ask").storage
    leader.grants = False
    host.gone_within(STOPPED_S, "mail1")
    assert not list(shared.iterdir())
