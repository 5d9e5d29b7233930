"""Who is there, as one manager knows it: when everybody that it waits for has come."""

from __future__ import annotations

from common.bus.contract import Cause, View
from common.config.model import ManagerConfig
from common.envelope import Envelope
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, ClbControl
from vmmanager.context import Context
from vmmanager.events import Moment
from vmmanager.roll import Roll

M1, C1, C2 = "#m1#bus", "#c1#bus", "#c2#bus"


def roll() -> Roll:
    context = Context(ManagerConfig("m1"), Moment(1000.0, 0.0))
    context.address = M1
    return Roll(context, lambda: ClbControl(verb="hello"), lambda name: None, lambda name: None)


def sees(one: Roll, *members: str) -> None:
    one.managers_viewed((M1,))
    one.viewed(View(GROUP_CLIENTS, members, Cause.JOIN, members[-1:]))


def hears(one: Roll, name: str) -> None:
    hello = ClbControl(verb="hello", values={"groups": [], "boot_id": "b"})
    one.heard(Envelope(name, "client", 1, (GROUP_MANAGERS,), 0, 1000.0, 60.0, 0, hello), f"#{name}#bus")


def test_it_is_complete_when_all_who_are_on_the_bus_have_said_who_they_are() -> None:
    one = roll()
    sees(one, M1)
    assert one.complete()
    sees(one, M1, C1)
    assert not one.complete()
    hears(one, "c1")
    assert one.complete()


def test_after_the_bus_was_lost_it_is_complete_when_all_are_back_who_were_there() -> None:
    one = roll()
    sees(one, M1, C1, C2)
    hears(one, "c1")
    hears(one, "c2")
    one.disconnected()
    sees(one, M1)  # the manager is the first to be back
    assert not one.complete()
    sees(one, M1, C1)
    hears(one, "c1")
    one.disconnected()  # lost once more, before all were back
    sees(one, M1, C1)
    hears(one, "c1")
    assert not one.complete()
    sees(one, M1, C1, C2)
    hears(one, "c2")
    assert one.complete()
