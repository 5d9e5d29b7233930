"""Times, sizes, rates and shares: what a person may write, and that what we write back means the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config import values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        ("1h30m", 5400),
        ("1 h 30 m", 5400),
        (" 5m ", 300),
        ("0", 0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5", "5 minutes", "1e3", "inf", "nan", "5mm", "1h 30", "٣", "9" * 16, ".5", "5."])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "count"), [("65536", 65536), ("64K", 65536), ("64k", 65536), ("64KiB", 65536), ("16M", 1 << 24), ("1 GB", 1 << 30)]
)
def test_sizes(text: str, count: int) -> None:
    assert values.size(text) == count


@pytest.mark.parametrize("text", ["", "K", "1.5M", "-1", "1T", "1e6"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        values.size(text)


def test_rates_and_shares() -> None:
    assert values.rate("5 per 10m") == (5, 600)
    assert values.rate("5/1h") == (5, 3600)
    assert values.share("10%") == 0.1
    assert values.share("12.5 %") == 0.125


@given(st.integers(0, 10**9).map(lambda tenths: tenths / 10))
def test_a_time_is_shown_as_what_reads_the_same(seconds: float) -> None:
    assert values.duration(values.show_duration(seconds)) == seconds


@given(st.integers(0, 2**40))
def test_a_size_is_shown_as_what_reads_the_same(count: int) -> None:
    assert values.size(values.show_size(count)) == count


@given(st.integers(0, 10**6), st.integers(1, 10**7))
def test_a_rate_is_shown_as_what_reads_the_same(count: int, seconds: int) -> None:
    assert values.rate(values.show_rate(count, float(seconds))) == (count, seconds)


@given(st.integers(1, 100_000))
def test_a_share_is_shown_as_what_reads_the_same(thousandths: int) -> None:
    part = thousandths / 100_000
    assert values.share(values.show_share(part)) == pytest.approx(part, abs=1e-12)
