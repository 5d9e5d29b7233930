"""The history of a property keeps what was put in, in order, up to its limits."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from vmmanager.history import TEXT_CHARS_MAX, TEXTS_MAX, History

numbers = st.one_of(st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.floats(allow_nan=False)), st.lists(st.booleans()))
texts = st.lists(st.text(max_size=20), max_size=TEXTS_MAX)


@given(st.one_of(numbers, texts), st.integers(1, 50))
def test_the_newest_values_of_one_type_come_back_as_they_were(values: list[object], keep: int) -> None:
    history = History(keep)
    for time, value in enumerate(values):
        history.append(float(time), value)  # type: ignore[arg-type]
    expected = [(float(time), value) for time, value in enumerate(values)][-keep:]
    assert list(history) == expected
    assert len(history) == len(expected)
    assert list(reversed(history)) == expected[::-1]
    assert [history[i] for i in range(-len(history), 0)] == expected
    assert history[1:3] == expected[1:3]
    assert [type(value) for _, value in history] == [type(value) for _, value in expected]


@given(st.lists(st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6))))
def test_integers_and_floats_of_one_property_stay_together(values: list[float]) -> None:
    history = History(1000)
    for time, value in enumerate(values):
        history.append(float(time), value)
    assert [value for _, value in history] == values


@given(st.lists(st.integers()), st.floats(0, 100))
def test_old_values_are_forgotten(values: list[int], before: float) -> None:
    history = History(1000, [(float(time), value) for time, value in enumerate(values)])
    kept = [(time, value) for time, value in history if time >= before]
    history.forget_before(before)
    assert list(history) == kept


def test_what_is_too_long_has_no_history() -> None:
    history = History(10)
    for value in ("x" * (TEXT_CHARS_MAX + 1), [1, 2], {"a": 1}, None, 2**70):
        history.append(0.0, value)
    assert len(history) == 0


def test_a_reader_that_changes_its_type_begins_a_new_history() -> None:
    history = History(10, [(0.0, 1), (1.0, 2)])
    history.append(2.0, "three")
    assert list(history) == [(2.0, "three")]


def test_not_a_number_is_kept() -> None:
    history = History(10, [(0.0, math.nan)])
    assert math.isnan(history[0][1])  # type: ignore[arg-type]
