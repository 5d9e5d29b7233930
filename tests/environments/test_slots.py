"""A slot is switched without a job killed, and from wherever the manager was interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmmanager.environments.demand import Quota, Settings
from vmmanager.environments.slots import FAILURES_MAX, ORDERS, TRANSITIONS, Order, Seen, Slot, State
from vmmanager.environments.switching import moves, supplies


@dataclass
class Machine:
    """A host and its batch system: it does what it is ordered, and says what is so."""

    vm: str = "sl4"
    open: bool = True  # the batch system may send jobs
    jobs: int = 2
    killed: int = 0
    booted: list[str] = field(default_factory=list)

    def obey(self, order: Order, environment: str) -> None:
        if order is Order.DRAIN:
            self.open = False
        elif order is Order.RESUME:
            self.open = True
        elif order is Order.STOP:
            self.killed += self.jobs
            self.jobs, self.vm, self.open = 0, "", False
        elif order is Order.START and self.vm != environment:
            assert not self.vm, "two VMs in one slot"
            self.vm = environment
            self.booted.append(environment)

    def live(self) -> None:
        """A job ends; where the batch system may send jobs, another one comes."""
        self.jobs = self.jobs if self.open and self.vm else max(0, self.jobs - 1)

    def news(self, slot: Slot) -> Seen | None:
        if slot.state is State.DRAINING:
            return Seen.EMPTY if not self.jobs and not self.open else None
        if slot.state is State.STOPPING:
            return None if self.vm else Seen.STOPPED
        if slot.state is State.STARTING:
            return Seen.STARTED if self.vm == slot.environment else None
        return Seen.JOINED if slot.state is State.JOINING else None


def switched(slot: Slot, machine: Machine, rounds: int) -> Iterator[None]:
    """A manager: gives the order of the state, hears what is so. Stops anywhere."""
    for now in range(rounds):
        machine.obey(slot.order, slot.environment)
        yield
        machine.live()
        seen = machine.news(slot)
        if seen:
            slot.see(seen, slot.turn, float(now))
        yield


def copy(slot: Slot) -> Slot:
    """What the next manager reads from the disk."""
    found = Slot(slot.name, slot.environment, slot.since, slot.state)
    found.target, found.turn, found.failures = slot.target, slot.turn, slot.failures
    return found


@pytest.mark.parametrize("interrupted", range(24))
def test_a_switch_ends_well_from_every_interruption(interrupted: int) -> None:
    slot, machine = Slot("xen1/1", "sl4", 0.0), Machine()
    slot.move("debian", 0.0)
    for step, _ in enumerate(switched(slot, machine, 20)):
        if step == interrupted:
            break
    slot = copy(slot)
    for _ in switched(slot, machine, 20):
        pass
    assert (slot.state, slot.environment, slot.target) == (State.SERVING, "debian", "debian")
    assert (machine.vm, machine.open, machine.killed, machine.booted) == ("debian", True, 0, ["debian"])


def test_a_drain_is_taken_back_and_the_late_news_of_it_stops_nothing() -> None:
    slot = Slot("xen1/1", "sl4", 0.0)
    slot.move("debian", 1.0)
    drain = slot.turn
    assert slot.move("sl4", 2.0) == (State.DRAINING, State.SERVING)
    assert slot.see(Seen.EMPTY, drain, 3.0) is None
    slot.move("debian", 4.0)
    assert slot.see(Seen.EMPTY, drain, 5.0) is None  # of the first drain; a job may have come between
    assert slot.state is State.DRAINING


def test_a_slot_that_is_on_its_way_stays_on_it() -> None:
    slot = Slot("xen1/1", "sl4", 0.0, State.STARTING)
    assert slot.move("debian", 1.0) is None
    assert slot.target == "sl4"


def test_a_slot_whose_vm_does_not_come_up_is_broken_after_some_tries_and_can_be_released() -> None:
    slot = Slot("xen1/1", "sl4", 0.0, State.STARTING)
    for _ in range(FAILURES_MAX - 1):
        assert slot.see(Seen.FAILED, slot.turn, 1.0) == (State.STARTING, State.STOPPING)
        slot.see(Seen.STOPPED, slot.turn, 2.0)
    assert slot.see(Seen.FAILED, slot.turn, 3.0) == (State.STARTING, State.BROKEN)
    assert slot.order is Order.NONE
    assert slot.see(Seen.RELEASED, slot.turn, 4.0) == (State.BROKEN, State.STOPPING)
    assert slot.failures == 0


def test_a_vm_is_stopped_only_when_it_was_empty_or_never_served() -> None:
    into = {(old, seen) for old, row in TRANSITIONS.items() for seen, new in row.items() if new is State.STOPPING}
    assert into == {
        (State.DRAINING, Seen.EMPTY),
        (State.STARTING, Seen.FAILED),
        (State.JOINING, Seen.FAILED),
        (State.STARTING, Seen.DROPPED),
        (State.JOINING, Seen.DROPPED),
        (State.BROKEN, Seen.RELEASED),
        (State.BROKEN, Seen.TRIAL),
        (State.DEAD, Seen.TOLD),
        (State.OUT, Seen.TAKEN),
    }
    assert [state for state, order in ORDERS.items() if order is Order.STOP] == [State.STOPPING]


@given(st.lists(st.tuples(st.sampled_from([*Seen, "sl4", "debian"]), st.integers(-2, 0)), max_size=40))
def test_any_news_keep_a_slot_in_its_table(story: list[tuple[str, int]]) -> None:
    slot = Slot("xen1/1", "sl4", 0.0)
    for what, late in story:
        before, turn = slot.state, slot.turn
        changed = slot.see(what, turn + late, 1.0) if isinstance(what, Seen) else slot.move(what, 1.0)
        assert (changed is None) == (slot.turn == turn)
        assert changed is None or (changed[0] is before and changed[1] in TRANSITIONS[before].values())
        assert slot.state is not State.SERVING or slot.target == slot.environment


def farm(*states: tuple[str, State, str]) -> list[Slot]:
    """(environment, state, target)"""
    slots = []
    for number, (environment, state, target) in enumerate(states):
        slot = Slot(f"s{number}", environment, 0.0, state)
        slot.target = target
        slots.append(slot)
    return slots


SETTINGS = Settings({"a": Quota(), "b": Quota()}, switches_max=2)


def planned(slots: list[Slot], jobs: list[int], wanted: dict[str, int], settings: Settings = SETTINGS) -> list[tuple[str, str]]:
    on = {slot.name: count for slot, count in zip(slots, jobs, strict=True)}
    supply = supplies(slots, on, wanted, 1e6, settings.hold_s)
    return [(move.slot.name, move.target) for move in moves(slots, on, supply, wanted, 1e6, settings)]


def test_the_cheapest_drain_comes_first() -> None:
    slots = farm(*[("a", State.SERVING, "a")] * 4)
    assert planned(slots, [3, 0, 1, 2], {"a": 2, "b": 2}) == [("s1", "b"), ("s2", "b")]


def test_a_drain_is_taken_back_where_demand_returns_the_costliest_first() -> None:
    slots = farm(("a", State.DRAINING, "b"), ("a", State.DRAINING, "b"), ("b", State.SERVING, "b"))
    assert planned(slots, [1, 3, 0], {"a": 1, "b": 2}) == [("s1", "a")]


def test_idle_slots_are_switched_only_while_few_are_on_their_way() -> None:
    slots = farm(*[("a", State.SERVING, "a")] * 4, ("b", State.STARTING, "b"))
    assert planned(slots, [0, 0, 0, 1, 0], {"a": 1, "b": 4}) == [("s0", "b"), ("s3", "b")]  # s3 is not idle, it drains


def test_a_slot_that_was_just_given_is_not_taken() -> None:
    slots = farm(*[("a", State.SERVING, "a")] * 2)
    slots[0].given = 1e6 - 10
    assert planned(slots, [0, 0], {"a": 0, "b": 2}) == [("s1", "b")]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(sorted(State)), st.sampled_from("ab"), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 12),
)
def test_moves_come_nearer_to_what_is_wanted_and_never_pass_it(rows: list[tuple[str, State, str, int]], share: int) -> None:
    slots = farm(*[(home, state, target if state is State.DRAINING else home) for home, state, target, _ in rows])
    jobs = {slot.name: count for slot, (*_, count) in zip(slots, rows, strict=True)}
    usable = sum(slot.state is not State.BROKEN for slot in slots)
    wanted = {"a": min(share, usable), "b": usable - min(share, usable)}
    supply = supplies(slots, jobs, wanted, 1e6, 0.0)
    chosen = moves(slots, jobs, supply, wanted, 1e6, SETTINGS)
    assert len({move.slot.name for move in chosen}) == len(chosen)
    after = {name: has.slots for name, has in supply.items()}
    for slot, target in chosen:
        assert slot.state in (State.SERVING, State.DRAINING)
        after[slot.target] -= 1
        after[target] += 1
    for name, has in supply.items():
        assert min(has.slots, wanted[name]) <= after[name] <= max(has.slots, wanted[name])
