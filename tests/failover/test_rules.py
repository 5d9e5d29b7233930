"""The rules one by one: what counts as proof, what a fence device says, when nothing is done, the sums, the room."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.model import FenceConfig, Where
from common.leases import Terms, faults, lease_over_s, restart_after_claim_s, restart_after_grant_s, stopped_s, storage_over_s
from common.leasewords import Ask
from tests.vms.farms import room, vm
from vmmanager.failover import timeline
from vmmanager.failover.capacity import check
from vmmanager.failover.claims import Claims
from vmmanager.failover.fencing import Action, Run, levels, options
from vmmanager.failover.hostleases import HostLeases
from vmmanager.failover.hosts import MOVES, STATES, Host, Proof, State, host_of
from vmmanager.failover.proof import NEVER, by_time, covers
from vmmanager.failover.restraint import Restraint
from vmmanager.vms.relations import Relations

TERMS = Terms()


def _host(**more: object) -> Host:
    made = Host("xen1", "lost", ask=Ask(1, "boot", ("mail1",), watchdog_s=8.0, armed=True), over_at=100.0, watchdog_s=8.0)
    for key, value in more.items():
        setattr(made, key, value)
    return made


# --- proof ------------------------------------------------------------------------------------------------------------------


def test_time_proves_death_when_lease_stop_and_watchdog_have_passed() -> None:
    assert by_time(_host(), TERMS, may_have=True, trust=False).at == 100.0 + stopped_s(TERMS, 8.0)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (_host(watchdog_s=0.0), "it has no watchdog, and a client that hangs stops nothing"),
        (_host(ask=Ask(1, "boot", ("mail1",), watchdog_s=8.0)), "its watchdog was not armed"),
        (_host(storage=True), "it may run on by its storage, where no claim of ours lies"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_time_alone_proves_nothing(host: Host, why: str) -> None:
    assert by_time(host, TERMS, may_have=True, trust=False).at == NEVER
    assert by_time(host, TERMS, may_have=True, trust=False).why == why


def test_a_host_without_a_watchdog_is_believed_where_the_operator_trusts_it_or_it_has_nothing() -> None:
    host = _host(watchdog_s=0.0)
    assert by_time(host, TERMS, may_have=True, trust=True).at < NEVER
    assert by_time(host, TERMS, may_have=False, trust=False).at < NEVER


def test_a_claim_must_have_lain_there_for_the_whole_time() -> None:
    host = _host(storage=True, claim=7, claim_at=110.0)
    assert by_time(host, TERMS, may_have=True, trust=False).at == NEVER
    host.claim_seen_at = 110.0 + storage_over_s(TERMS)
    assert by_time(host, TERMS, may_have=True, trust=False).at == 110.0 + storage_over_s(TERMS) + stopped_s(TERMS, 8.0)


def test_only_power_that_is_off_covers_what_needs_no_lease() -> None:
    assert {proof: covers(proof) for proof in get_args(Proof) if proof} == {
        "time": "protected", "said": "protected", "fence": "all", "operator": "all",
    }  # fmt: skip


def test_a_slower_watchdog_of_the_host_is_waited_for() -> None:
    assert stopped_s(TERMS, 60.0) == pytest.approx(60.0 * TERMS.stretch + TERMS.margin_s)


@given(st.builds(Terms, *(st.floats(0.1, 60.0) for _ in range(6)), st.floats(0, 0.1), st.floats(0, 5.0)), st.floats(0, 120.0))
def test_the_restart_is_after_the_last_moment_in_which_the_host_can_run(terms: Terms, watchdog_s: float) -> None:
    if faults(terms):
        return
    stops_s = terms.lease_s + max(terms.stop_s, watchdog_s or terms.watchdog_s)  # by its own clock, which may be slow
    slowest_s = stops_s / (1 - terms.drift)
    assert restart_after_grant_s(terms, watchdog_s) * (1 / (1 + terms.drift)) >= slowest_s - 1e-6
    by_claim = timeline.by_time(terms, watchdog_s, storage=True)[-1].at_s
    assert by_claim >= restart_after_claim_s(terms, watchdog_s)
    assert timeline.by_time(terms, watchdog_s, storage=False)[-1].at_s == pytest.approx(
        restart_after_grant_s(terms, watchdog_s)
    )


# --- states -----------------------------------------------------------------------------------------------------------------


def test_every_state_is_explained_and_left_by_some_way() -> None:
    assert set(STATES) == set(MOVES) == set(get_args(State))
    reached = {new for row in MOVES.values() for new in row}
    assert reached == set(STATES)
    assert all(set(row) - {"unknown"} for row in MOVES.values())


def test_a_row_keeps_a_proof_and_no_state_that_only_the_moment_knows() -> None:
    dead = _host(state="dead", proof="fence", proved_by="power is off", epoch=3, claim_last=7, leased=True, storage=True)
    known = host_of("xen1", dead.row())
    assert (known.state, known.proof, known.proved_by, known.epoch, known.claim_last) == ("dead", "fence", "power is off", 3, 7)
    assert host_of("xen1", _host(leased=True).row()).state == "unknown"
    assert host_of("xen1", {"state": "dead", "proof": "guess"}).state == "unknown"


# --- leases -----------------------------------------------------------------------------------------------------------------


def test_several_hosts_are_answered_together_and_an_old_asking_is_not() -> None:
    hosts: dict[str, Host] = {}
    leases = HostLeases(hosts, TERMS)
    for name in ("xen1", "xen2"):
        leases.asked(name, Ask(5, "boot"), 10.0)
    leases.asked("xen1", Ask(4, "boot"), 10.1)
    assert leases.grant(10.4, lambda host: True, dict) is None  # others may ask within this moment
    grant = leases.grant(10.5, lambda host: True, lambda: {"xen1": ("mail1",)})
    assert grant is not None
    assert (grant.hosts, grant.protected) == ({"xen1": 5, "xen2": 5}, {"xen1": ("mail1",), "xen2": ()})
    assert hosts["xen1"].over_at == 10.5 + lease_over_s(TERMS)


def test_who_takes_over_counts_every_host_as_granted_now_and_by_the_longer_numbers() -> None:
    hosts = {"xen1": Host("xen1")}
    leases = HostLeases(hosts, TERMS)
    leases.told(Terms(lease_s=20.0))
    leases.took_over(50.0)
    assert hosts["xen1"].over_at == 50.0 + lease_over_s(Terms(lease_s=20.0))


# --- fence devices ----------------------------------------------------------------------------------------------------------


def _device(name: str, *hosts: str, **more: object) -> FenceConfig:
    return FenceConfig(name, Where("fences.ini"), f"fence_{name}", hosts, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "ends", "asked"),
    [
        ([0], "off", ["ipmi off"]),
        ([1, 2], "off", ["ipmi off", "ipmi status"]),  # it was off already
        ([1, 0, 0], "off", ["ipmi off", "ipmi status", "pdu off"]),
        ([None, None, 0], "off", ["ipmi off", "ipmi status", "pdu off"]),  # out of time proves nothing
        ([1, 1, 1, 0], "failed", ["ipmi off", "ipmi status", "pdu off", "pdu status"]),
    ],
)
def test_a_device_after_the_other_until_the_power_is_off(answers: list[int | None], ends: str, asked: list[str]) -> None:
    run, said, outcome = Run("xen1", 1, "root", 0.0, (_device("ipmi", "xen*"), _device("pdu", "xen*"))), [], ""
    for status in answers:
        said.append(f"{run.step.device.name} {run.step.action}")
        assert not outcome
        outcome = run.ended(status, "")
    assert (outcome, said) == (ends, asked)


def test_devices_are_for_hosts_by_name_or_pattern_long_or_short() -> None:
    devices = (_device("one", "xen1"), _device("many", "xen*"), _device("other", "kvm*"))
    assert [one.name for one in levels("xen1.pg.infn.it", devices)] == ["one", "many"]


def test_an_agent_is_told_the_host_the_plug_and_the_secrets() -> None:
    device = _device("pdu", "xen*", options={"ip": "pdu1", "ssh_key": "/k/{short}"}, plugs={"xen1": "7"})
    action: Action = "off"
    assert options("xen1.pg", device, action, {"password": "s"}) == {
        "ip": "pdu1", "ssh_key": "/k/xen1", "port": "7", "password": "s", "action": "off", "nodename": "xen1.pg",
    }  # fmt: skip


# --- restraint --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late", "hosts", "storm"),
    [(1, 2, False), (1, 1, False), (2, 3, True), (2, 4, False), (3, 4, True), (3, 5, True), (2, 5, False)],
)
def test_more_than_half_and_at_least_two_are_a_storm(late: int, hosts: int, storm: bool) -> None:
    names = [f"xen{number}" for number in range(hosts)]
    restraint = Restraint()
    restraint.watch(names[:late], names, 0.5)
    assert bool(restraint.storm) == storm
    restraint.confirmed = frozenset(names[:late])
    restraint.watch(names[:late], names, 0.5)
    assert not restraint.storm


def test_why_nothing_is_done() -> None:
    restraint = Restraint(disarmed_by="alice", disarmed_why="new switches", disarmed_at=5.0)
    assert restraint.why_not(now=50.0, grace_until=0.0, maintenance="") == "fail-over is disarmed by alice (new switches)"
    assert restraint.why_not(now=50.0, grace_until=0.0, maintenance="disk") == "it is in maintenance (disk)"
    assert "declares nobody dead yet (10 s more)" in Restraint().why_not(now=50.0, grace_until=60.0, maintenance="")
    again = Restraint()
    again.restore(restraint.row())
    assert again == restraint


# --- storage ----------------------------------------------------------------------------------------------------------------


def test_a_beat_counts_as_silent_only_by_looks_that_ended_well() -> None:
    claims = Claims(TERMS)
    claims.looked(10.0, 10.1, {"xen1": "boot 1"}, {}, "")
    claims.looked(18.0, 18.1, {"xen1": "boot 1"}, {}, "")
    assert not claims.is_silent("xen1", 18.0)
    claims.looked(19.0, 19.1, {}, {}, "Stale file handle")
    assert not claims.is_silent("xen1", 30.0)
    claims.looked(20.0, 20.1, {"xen1": "boot 1"}, {}, "")
    assert claims.is_silent("xen1", 20.0)
    claims.looked(21.0, 21.1, {"xen1": "boot 2"}, {}, "")
    assert not claims.is_silent("xen1", 21.0)
    assert not claims.is_silent("xen2", 21.0)


def test_a_claim_is_no_proof_while_the_host_beats() -> None:
    host = _host(storage=True, claim=1, claim_at=110.0, claim_seen_at=200.0, beat_at=195.0)
    assert by_time(host, TERMS, may_have=True, trust=False).at == NEVER
    host.claim_seen_at = 195.0 + storage_over_s(TERMS) + stopped_s(TERMS, 8.0)
    assert by_time(host, TERMS, may_have=True, trust=False).at < host.claim_seen_at


def test_a_beat_that_a_hanging_look_saw_may_be_as_young_as_its_end() -> None:
    claims = Claims(TERMS)
    claims.looked(10.0, 30.0, {"xen1": "boot 1"}, {}, "")
    claims.looked(31.0, 31.1, {"xen1": "boot 1"}, {}, "")
    assert not claims.is_silent("xen1", 31.1)
    claims.looked(40.0, 40.1, {"xen1": "boot 1"}, {}, "")
    assert claims.is_silent("xen1", 40.1)


# --- room -------------------------------------------------------------------------------------------------------------------


def test_the_failures_that_would_leave_a_protected_vm_over_are_named() -> None:
    definitions = Relations({name: vm(name, 3000, protect=True) for name in ("mail1", "db1")} | {"web1": vm("web1", 3000)})
    rooms = [room("xen1", 1000, vms=["mail1"]), room("xen2", 1000, vms=["db1"]), room("xen3", 4000)]
    assert check(definitions, rooms, 1).failures == ()
    report = check(definitions, rooms, 2)
    assert [each.hosts for each in report.failures] == [("xen1", "xen2"), ("xen1", "xen3"), ("xen2", "xen1"), ("xen2", "xen3")]
    assert set(report.failures[0].left) == {"db1"}
    assert report.all
