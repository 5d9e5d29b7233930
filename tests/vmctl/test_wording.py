"""Times, values and texts as people write and read them, and hostile text made harmless."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmctl.wording import clean, clean_lines, moment_at, span_s, span_text, value_text


@given(st.text())
def test_a_cleaned_text_is_one_printable_line(text: str) -> None:
    assert clean(text).isprintable()
    assert clean(clean(text)) == clean(text)


@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_output_of_programs_keeps_its_lines() -> None:
    assert clean_lines("a\tb\r\n\n c\x1b[1m\n\n") == ["a       b", "", " c\\x1b[1m"]


@given(st.floats(0, 1e8))
def test_a_shown_length_of_time_is_right_within_its_smallest_unit(seconds: float) -> None:
    text = span_text(seconds)
    if text.startswith("<"):
        assert seconds < 0.05
        return
    smallest_s = 1 if seconds < 3600 else 60 if seconds < 86400 else 3600
    assert abs(span_s(text) - seconds) < smallest_s + 0.5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (0.01, "<0.1s"), (0.31, "0.3s"), (9.96, "10s"), (59.7, "1m"), (192, "3m12s"), (3600, "1h"), (7322, "2h02m"),
     (90_000, "1d01h"), (-5, "-5.0s"), (None, "-"), (float("nan"), "-"), ("x", "-"), (True, "-")],
)  # fmt: skip
def test_lengths_of_time_as_people_say_them(seconds: Any, text: str) -> None:
    assert span_text(seconds) == text


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5400), ("1h30m", 5400), ("1w2d", 777_600)])
def test_lengths_of_time_as_people_write_them(text: str, seconds: float) -> None:
    assert span_s(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2 h", "2y", "1h30", "-1h", "1h-2m", "1e3", "½h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"length of time|without unit"):
        span_s(text)


def test_times_as_people_write_them(world: pytest.MonkeyPatch) -> None:
    noon = 1_764_000_000.0  # 17:00 in Rome
    assert moment_at("2h", noon) == noon - 7200
    assert moment_at("16:30", noon) == noon - 1800
    assert moment_at("9:05:01", noon) == noon - 8 * 3600 + 5 * 60 + 1
    assert moment_at("2025-11-24 16:00", noon) == noon - 3600


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "KiB", "-"), (True, "", "yes"), (0, "", "0"), (0.1 + 0.2, "", "0.3"), (1e15, "", "1000000000000000.0"),
     (3, "KiB", "3 KiB"), ({"a": [1]}, "", '{"a": [1]}')],
)  # fmt: skip
def test_values_as_people_read_them(value: Any, unit: str, text: str) -> None:
    assert value_text(value, unit) == text
