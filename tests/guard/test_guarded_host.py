"""A host with protected VMs, as processes: what happens when the client, the guard, the managers or the storage fail."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.protocol import ExecErr, ExecVal
from tests.client.farm import VmBus, until
from tests.guard.farm import TERMS, GuardedHost, Leader

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

    def begin(failover: str = "watchdog = none", vm: str = "mail1") -> tuple[GuardedHost, Leader]:
        """A host that holds a lease and runs a protected VM."""
        leader = Leader(bus.port)
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
    host, leader = start()
    host.kill()
    host.start()
    guard = host.guard()
    leader.ask_with(lambda ask: ask.protected == ("mail1",), "the new client does not know")
    time.sleep(TERMS.lease_s + TERMS.stop_s)  # what would stop it has its time
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
    host, leader = start()
    guard = host.guard()
    assert guard is not None
    guard.kill()
    until(lambda: host.guard() not in (None, guard), "no other guard")
    leader.ask_with(lambda ask: ask.protected == ("mail1",), "the new guard does not know")
    assert host.domains() == ["mail1"]
    leader.grants = False
    host.gone_within(STOPPED_S, "mail1")
