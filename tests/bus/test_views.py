"""Spread's membership messages as views: what changed, and which side of a cut may lead."""

from __future__ import annotations

from common.bus.contract import Cause, View
from common.bus.views import Views, holds_majority

JOIN, LEAVE, DISCONNECT, NETWORK = 0x100, 0x200, 0x400, 0x800


def session_with(*members: str) -> Views:
    views = Views()
    views.changed("club", JOIN, members, members[-1:])
    return views


def test_joins_leaves_and_losses_name_who_it_was() -> None:
    views = session_with("a")
    assert views.changed("club", JOIN, ("a", "b"), ("b",)) == View("club", ("a", "b"), Cause.JOIN, ("b",))
    assert views.changed("club", DISCONNECT, ("a",), ("b",)) == View("club", ("a",), Cause.DISCONNECT, ("b",))
    assert views.changed("club", LEAVE, (), ("a",)) == View("club", (), Cause.LEAVE, ("a",))


def test_a_network_change_names_who_went_and_who_came() -> None:
    views = session_with("a", "b", "c")
    assert views.changed("club", NETWORK, ("a", "b", "x"), ("a", "b")) == View(
        "club", ("a", "b", "x"), Cause.NETWORK, ("c", "x"), primary=True
    )


def test_the_smaller_part_is_not_primary_until_it_meets_the_rest() -> None:
    views = session_with("a", "b", "c", "d", "e")
    steps = [
        (NETWORK, ("d", "e"), False),
        (DISCONNECT, ("d",), False),
        (JOIN, ("d", "x"), False),
        (NETWORK, ("a", "b", "c", "d", "x"), True),
        (LEAVE, ("a", "b", "c", "d"), True),
    ]
    for reason, members, primary in steps:
        view = views.changed("club", reason, members, ())
        assert view is not None
        assert view.primary is primary, (reason, members)


def test_the_larger_part_goes_on_and_counts_from_what_it_is_now() -> None:
    views = session_with("a", "b", "c", "d", "e")
    for members in (("a", "b", "c"), ("a", "b"), ("a",)):
        view = views.changed("club", NETWORK, members, members)
        assert view is not None
        assert view.primary


def test_halves() -> None:
    assert holds_majority(("a",), ("a", "b"))
    assert not holds_majority(("b",), ("a", "b"))
    assert not holds_majority((), ())


def test_after_leaving_nothing_is_remembered() -> None:
    views = session_with("a", "b", "c")
    views.changed("club", NETWORK, ("c",), ("c",))
    assert views.left("club", "c") == View("club", (), Cause.LEAVE, ("c",))
    view = views.changed("club", JOIN, ("c",), ("c",))
    assert view is not None
    assert view.primary


def test_a_reason_that_spread_does_not_know_is_no_view() -> None:
    assert Views().changed("club", 0x300, ("a",), ()) is None
