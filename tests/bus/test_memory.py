"""The in-memory bus where it does what no real one does on request: cuts, losses, delays, pauses, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bus.contract import BusDown, Cause, Closed, Delivery, Opened, Received, View
from common.bus.memory import MemoryBus, MemoryHub, shared_hub
from common.bus.open import open_bus
from common.config.model import BusConfig


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hub(clock: Clock) -> MemoryHub:
    return MemoryHub(clock)


def end(hub: MemoryHub, name: str, *groups: str) -> MemoryBus:
    bus = hub.open(name, membership=True)
    for group in groups:
        bus.join(group)
    return bus


def drain(bus: MemoryBus) -> list[Received]:
    got: list[Received] = []
    while (item := bus.receive(0)) is not None and len(got) < 1000:
        got.append(item)
    return got


def names(*ends: MemoryBus) -> tuple[str, ...]:
    return tuple(sorted(bus.name for bus in ends))


def test_a_cut_leaves_one_primary_part_and_tells_both(hub: MemoryHub) -> None:
    a, b, c = ends = [end(hub, name, "club") for name in "abc"]
    for bus in ends:
        drain(bus)
    hub.cut([a.name, b.name], [c.name])
    for bus in (a, b):
        assert drain(bus) == [View("club", names(a, b), Cause.NETWORK, (c.name,), primary=True)]
    (lonely,) = drain(c)
    assert lonely == View("club", (c.name,), Cause.NETWORK, names(a, b), primary=False)
    assert isinstance(lonely, View)
    assert lonely.leader is None
    c.send(("club", a.name), b"nobody but me")
    a.send(("club",), b"both of us")
    assert drain(c) == [Delivery(c.name, ("club", a.name), b"nobody but me")]
    assert drain(b) == [Delivery(a.name, ("club",), b"both of us")]
    drain(a)
    hub.heal()
    for bus in ends:
        (view,) = drain(bus)
        assert view == View("club", names(a, b, c), Cause.NETWORK, names(a, b) if bus is c else (c.name,), primary=True)


def test_of_two_halves_the_one_with_the_first_member_is_primary(hub: MemoryHub) -> None:
    a, b = end(hub, "a", "club"), end(hub, "b", "club")
    drain(a), drain(b)
    hub.cut([b.name], [a.name])
    assert [getattr(view, "primary", None) for view in (*drain(a), *drain(b))] == [True, False]


def test_who_joins_a_minority_part_sees_that_it_is_none_to_lead(hub: MemoryHub) -> None:
    ends = [end(hub, name, "club") for name in "abc"]
    hub.cut([bus.name for bus in ends[:2]], [ends[2].name, "#d#memory"])
    drain(ends[2])
    late = end(hub, "d", "club")
    assert drain(late)[1:] == [View("club", names(ends[2], late), Cause.JOIN, (late.name,), primary=False)]


def test_a_three_way_cut_has_no_primary_part_until_two_meet(hub: MemoryHub) -> None:
    ends = [end(hub, name, "club") for name in "abc"]
    hub.cut(*[[bus.name] for bus in ends])
    assert [getattr(drain(bus)[-1], "primary", None) for bus in ends] == [False, False, False]
    hub.cut([ends[0].name], [ends[1].name, ends[2].name])
    assert [[getattr(view, "primary", None) for view in drain(bus)] for bus in ends] == [[], [True], [True]]


@given(st.data())
def test_at_most_one_part_of_a_group_is_primary_whatever_is_cut(data: st.DataObject) -> None:
    hub = MemoryHub(Clock())
    ends = [end(hub, name, "club") for name in "abcde"]
    latest: dict[str, View] = {}
    for _ in range(data.draw(st.integers(1, 6))):
        sides: list[list[str]] = [[], [], []]
        for bus in ends:
            sides[data.draw(st.integers(0, 2))].append(bus.name)
        hub.cut(*sides)
        for bus in ends:
            for view in drain(bus):
                if isinstance(view, View):
                    latest[bus.name] = view
        primaries = {view.members for view in latest.values() if view.primary}
        assert len(primaries) <= 1
        assert all(bus.name in latest[bus.name].members for bus in ends)
    hub.heal()
    views = [view for bus in ends for view in drain(bus)] or [*latest.values()]
    assert {getattr(view, "primary", None) for view in views} == {True}


def test_losses_are_what_was_asked_for_and_no_more(hub: MemoryHub) -> None:
    a, b, c = ends = [end(hub, name, "club") for name in "abc"]
    for bus in ends:
        drain(bus)
    hub.lose(lambda sender, receiver, payload: receiver == b.name and payload == b"lost")
    for payload in (b"lost", b"kept"):
        a.send(("club",), payload)
    hub.lose(None)
    a.send(("club",), b"lost")
    assert [item.payload for item in drain(b) if isinstance(item, Delivery)] == [b"kept", b"lost"]
    assert [item.payload for item in drain(c) if isinstance(item, Delivery)] == [b"lost", b"kept", b"lost"]


def test_delays_pass_in_virtual_time_and_keep_the_order(hub: MemoryHub, clock: Clock) -> None:
    a, b = end(hub, "a"), end(hub, "b")
    drain(a), drain(b)
    hub.delay(5.0)
    a.send((b.name,), b"first")
    hub.delay(0.0)
    a.send((b.name,), b"second")
    assert b.receive(0) is None
    assert hub.next_due() == 105.0
    clock.now = 105.0
    assert [getattr(item, "payload", None) for item in drain(b)] == [b"first", b"second"]
    assert hub.next_due() is None


def test_a_paused_end_gets_everything_when_it_goes_on(hub: MemoryHub) -> None:
    a, b = end(hub, "a"), end(hub, "b", "club")
    drain(b)
    hub.pause(b.name)
    a.send(("club",), b"x")
    assert b.receive(0) is None
    hub.resume(b.name)
    assert drain(b) == [Delivery(a.name, ("club",), b"x")]


def test_who_does_not_read_is_cut_off_and_the_others_hear_of_it(clock: Clock) -> None:
    hub = MemoryHub(clock, queue_max=10)
    slow, a = end(hub, "slow", "club"), end(hub, "a", "club")
    drain(slow), drain(a)
    name = slow.name
    for number in range(11):
        a.send((name,), b"%d" % number)
    kinds = [type(item) for item in drain(slow)]
    assert kinds == [Closed, Opened, View]
    causes = [(item.cause, item.changed) for item in drain(a) if isinstance(item, View)]
    assert causes == [(Cause.DISCONNECT, (name,)), (Cause.JOIN, (name,))]


def test_a_kicked_end_stays_away_until_it_is_readmitted(hub: MemoryHub) -> None:
    a, b = end(hub, "a", "club"), end(hub, "b", "club")
    drain(a), drain(b)
    kicked = hub.kick(b.name, "power failure", away=True)
    assert drain(b) == [Closed("power failure")]
    with pytest.raises(BusDown):
        b.send(("club",), b"x")
    hub.readmit(kicked)
    assert drain(b) == [Opened(b.name), View("club", names(a, b), Cause.JOIN, (b.name,))]


def test_the_same_calls_give_the_same_events() -> None:
    def story() -> list[list[Received]]:
        hub = MemoryHub(Clock())
        ends = [end(hub, f"host{number}", "clients", f"g{number % 3}") for number in range(9)]
        hub.cut([bus.name for bus in ends[:4]], [bus.name for bus in ends[4:]])
        for bus in ends:
            bus.send(("clients", "g1"), bus.name.encode())
        hub.stop()
        hub.start()
        hub.heal()
        return [drain(bus) for bus in ends]

    assert story() == story()


def test_the_configuration_opens_ends_that_meet() -> None:
    config = BusConfig(engine="memory", daemon="a bus of this test alone")
    a, b = (open_bus(config, name, membership=False) for name in ("a", "b"))
    a.send((b.name,), b"hello")
    assert [type(b.receive(0)), b.receive(0)] == [Opened, Delivery(a.name, (b.name,), b"hello")]
    assert shared_hub(config.daemon) is not shared_hub("another")
    a.close()
    b.close()
