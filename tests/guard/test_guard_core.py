"""The guard's core on a pretend clock: when protected VMs run, and when they are gone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guard.world import MAIL, TERMS, World
from vmclient import guard_events as ev
from vmclient.guardwords import Protect, Protected

STOPPED_S = TERMS.lease_s + TERMS.stop_s


def running(**options: object) -> World:
    """A protected VM runs, under a lease."""
    world = World(**options)  # type: ignore[arg-type]
    world.step(ev.Came())
    world.after(0.1)
    world.grant()
    assert world.start() == Protected("e1")
    world.after(0.1)
    assert MAIL in world.on_disk
    return world


def test_as_long_as_leases_come_nothing_is_stopped() -> None:
    world = running()
    world.after(100, granted=True)
    assert world.domains == {MAIL}
    assert not world.found(ev.Destroy)
    assert not world.was_reset


def test_without_a_lease_protected_vms_are_stopped_and_no_others() -> None:
    world = running()
    world.domains.add("plain1")
    world.after(TERMS.lease_s - 0.2)
    assert world.domains == {MAIL, "plain1"}
    world.after(TERMS.stop_s)
    assert world.domains == {"plain1"}
    assert not world.was_reset
    assert not world.status.book
    assert not world.status.armed


def test_a_lease_counts_from_when_it_was_asked_for() -> None:
    world = running()
    world.after(5)
    world.grant(asked=world.now - 4)
    world.after(4.1)
    assert world.domains == set()


def test_an_older_asking_that_is_answered_late_shortens_and_lengthens_nothing() -> None:
    world = running()
    world.grant()
    until, world.n = world.status.until, 0
    world.grant(asked=world.now + 100)
    assert world.status.until == until


@pytest.mark.parametrize("when", ["no lease", "the end is near", "disk full", "watchdog gone"])
def test_nothing_protected_comes_to_life_without_all_that_it_takes(when: str) -> None:
    world = World()
    world.step(ev.Came())
    world.after(0.1)
    if when != "no lease":
        world.grant(asked=world.now - (TERMS.lease_s - TERMS.beat_s if when == "the end is near" else 0.0))
    if when == "disk full":
        world.disk_error = "No space left on device"
    if when == "watchdog gone":
        world.frozen.add(ev.Arm)
        world.step(ev.Told(Protect(MAIL, "e1")))
        world.after(0.1)
        assert not [word for word in world.said if isinstance(word, Protected)]
        world.step(ev.Watched("/dev/watchdog: busy", 0.0, armed=False))
        return
    assert world.start().error


def test_the_answer_waits_for_the_disk_and_the_watchdog() -> None:
    world = World(latency_s=0.5)
    world.step(ev.Came())
    world.after(1)
    world.grant()
    world.step(ev.Told(Protect(MAIL, "e1")))
    world.after(0.4)
    assert not [word for word in world.said if isinstance(word, Protected)]
    world.after(0.8)
    assert [word for word in world.said if isinstance(word, Protected)] == [Protected("e1")]
    assert world.status.armed
    assert world.on_disk == {MAIL}


def test_a_domain_that_reboots_stays_in_the_book() -> None:
    world = running()
    world.domains.discard(MAIL)
    world.after(TERMS.beat_s * 5 + 0.1, granted=True)  # a list without it
    world.domains.add(MAIL)
    world.after(30, granted=True)
    assert list(world.status.book) == [MAIL]
    world.domains.discard(MAIL)
    world.after(30, granted=True)
    assert not world.status.book


def test_what_is_being_started_stays_in_the_book_however_long_it_takes() -> None:
    world = running()
    world.step(ev.Told(Protect("web1", "e2")))
    world.after(60, granted=True)
    assert list(world.status.book) == [MAIL, "web1"]
    world.step(ev.Gone())
    world.after(30, granted=True)
    assert list(world.status.book) == [MAIL]


def test_a_hypervisor_that_hangs_leaves_the_host_to_its_watchdog() -> None:
    world = running()
    world.frozen |= {ev.List, ev.Destroy}
    world.after(TERMS.lease_s + TERMS.watchdog_s + 0.5)
    assert world.was_reset


def test_the_watchdog_is_not_fed_without_a_lease_even_if_nothing_else_works() -> None:
    world = running()
    world.after(TERMS.lease_s)
    fed = len(world.found(ev.Feed))
    world.frozen.add(ev.Destroy)
    world.after(5)
    assert len(world.found(ev.Feed)) == fed


def test_what_migrates_in_late_is_stopped_too() -> None:
    world = World()
    world.step(ev.Came())
    world.grant(known=("moved1",))
    world.after(20)
    world.domains.add("moved1")
    world.after(TERMS.stop_s)
    assert world.domains == set()


def test_the_watchdog_is_armed_before_something_migrates_in() -> None:
    world = World()
    world.step(ev.Came())
    world.grant(known=("moved1",))
    world.after(0.1)
    assert world.status.armed
    assert not world.status.book
    world.domains.add("moved1")
    world.after(11, granted=True)
    assert list(world.status.book) == ["moved1"]


def test_an_idle_guard_ends_when_its_client_is_gone() -> None:
    world = World()
    world.step(ev.Came())
    world.after(60)
    assert not world.ended
    world.step(ev.Gone())
    world.after(20)
    assert world.ended


def test_a_guard_with_something_to_guard_stays_until_it_is_stopped() -> None:
    world = running()
    world.step(ev.Gone())
    world.after(STOPPED_S)
    assert world.domains == set()
    world.after(20)
    assert world.ended
    assert not world.was_reset


def test_a_new_guard_takes_over_with_the_lease_it_finds() -> None:
    world = World(book=(MAIL,), until=1005.0)
    world.domains.add(MAIL)
    world.after(4.9)
    assert world.domains == {MAIL}
    world.after(1)
    assert world.domains == set()


def test_a_new_guard_without_a_lease_gives_the_host_no_more_time() -> None:
    world = World(book=(MAIL,), until=994.0)
    world.domains.add(MAIL)
    arm = world.found(ev.Arm)[0]
    assert isinstance(arm, ev.Arm)
    assert arm.timeout_s == pytest.approx(2.0)
    world.after(1)
    assert world.domains == set()


def test_with_a_damaged_book_all_of_ours_is_protected() -> None:
    world = World(everything=True)
    world.domains |= {"a", "b"}
    assert not world.found(ev.Save)  # a guard that comes after this one is to find it as it is
    world.after(1)
    assert world.domains == set()


def test_a_machine_that_slept_has_lost_that_time() -> None:
    """Its clock stood still meanwhile, the leader's did not."""
    world = running()
    world.grant()
    world.step(ev.Slept(TERMS.lease_s + 1))
    world.after(1)
    assert world.domains == set()


# --- storage ------------------------------------------------------------------------------------------------------------------


def stored() -> World:
    world = running(storage=True)
    world.after(10, granted=True)
    assert world.status.storage
    return world


def test_while_the_storage_answers_nothing_is_stopped() -> None:
    world = stored()
    world.after(1000)
    assert world.domains == {MAIL}
    assert world.status.holds == "storage"
    assert not world.was_reset


def test_a_claim_stops_all_and_that_is_said() -> None:
    world = stored()
    world.after(100)
    world.claim = 3
    world.after(TERMS.beat_s + TERMS.stop_s)
    assert world.domains == set()
    assert world.status.stopped == 3


def test_a_claim_that_was_seen_stands_when_it_is_gone() -> None:
    world = stored()
    world.after(20)
    world.claim = 3
    world.frozen.add(ev.Destroy)
    world.after(TERMS.beat_s)
    world.claim = 0
    world.after(3)
    assert world.status.claim == 3
    assert world.status.holds == ""


def test_a_lease_that_was_asked_for_after_the_claim_ends_it() -> None:
    world = stored()
    world.claim = 3
    world.after(3, granted=True)
    assert world.domains == {MAIL}  # the lease holds
    assert world.status.claim == 3
    world.grant()
    world.claim = 0
    world.after(TERMS.beat_s + 0.1, granted=True)
    assert world.status.claim == 0


@pytest.mark.parametrize("how", ["error", "hangs"])
def test_a_storage_that_does_not_answer_is_no_evidence(how: str) -> None:
    world = stored()
    world.after(20)
    if how == "error":
        world.storage_error = "Stale file handle"
    else:
        world.frozen.add(ev.Look)
    world.after(TERMS.storage_s + TERMS.stop_s)
    assert world.domains == set()


def test_after_a_gap_the_storage_counts_only_when_the_leader_knows_of_it_again() -> None:
    """In the gap the host may have said that it has no storage; then the leader waits for no claim."""
    world = stored()
    world.storage_error = "timed out"
    world.after(TERMS.storage_s + 1, granted=True)
    assert not world.status.storage
    world.storage_error = ""
    for _ in range(3):
        world.after(TERMS.beat_s)
        world.grant(storage=False)
    world.after(TERMS.lease_s + 1)
    assert world.domains == set()


def test_the_leader_that_knows_of_no_storage_is_not_kept_waiting() -> None:
    world = running(storage=True)
    for _ in range(5):
        world.after(TERMS.beat_s)
        world.grant(storage=False)
    world.after(STOPPED_S)
    assert world.domains == set()


# --- whatever happens ---------------------------------------------------------------------------------------------------------

DEEDS = ["grant", "start", "wait", "long", "claim", "unclaim", "storage", "client", "migrate", "stop", "slow", "disk"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(DEEDS), max_size=40), st.booleans(), st.sampled_from([0.0, 8.0]))
def test_no_protected_vm_outlives_lease_and_storage(deeds: list[str], storage: bool, watchdog_s: float) -> None:
    world = World(storage=storage, watchdog_s=watchdog_s, slow=True)
    client, keys = True, 0
    world.domains.add("plain1")
    world.step(ev.Came())
    for deed in deeds:
        if deed == "grant" and client:
            world.grant(known=("moved1",))
        elif deed == "start" and client:
            keys += 1
            world.start(f"vm{keys % 3}", f"e{keys}")
        elif deed in ("wait", "long"):
            world.after(1.3 if deed == "wait" else 9.0)
        elif deed in ("claim", "unclaim"):
            world.claim = world.claim + 1 if deed == "claim" else 0
        elif deed == "storage":
            world.storage_error = "" if world.storage_error else "timed out"
        elif deed == "client":
            client = not client
            world.step(ev.Came() if client else ev.Gone())
        elif deed == "migrate" and world.core.holds(world.now):
            world.domains.add("moved1")
        elif deed == "stop":
            world.domains -= {"vm0", "moved1"}
        elif deed == "slow":
            world.latency_s = 0.4 - world.latency_s
        elif deed == "disk":
            world.disk_error = "" if world.disk_error else "No space left on device"
        world.check()
    world.after(max(0.0, world.core.holds_until() - world.now) + TERMS.stop_s + 1.0)
    world.check()
    assert "plain1" in world.domains or world.was_reset
    assert not [each for each in world.found(ev.Destroy) if isinstance(each, ev.Destroy) and each.name == "plain1"]
