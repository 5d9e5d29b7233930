"""The numbers of fail-over: the shipped ones are safe, and each way of breaking them is named."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.leases import Terms, faults, restart_after_claim_s, restart_after_grant_s, stopped_s
from common.leasewords import Ask, Grant, terms_of

SHIPPED = Terms()


def test_the_shipped_numbers_are_safe_and_quick() -> None:
    assert faults(SHIPPED) == []
    assert restart_after_grant_s(SHIPPED, SHIPPED.watchdog_s) < 20
    assert restart_after_grant_s(SHIPPED, SHIPPED.watchdog_s) + SHIPPED.storage_s < 30


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("drift", 0.5, "drift"),
        ("lease_s", 5.0, "lease"),
        ("storage_s", 3.0, "storage"),
        ("watchdog_s", 5.5, "watchdog"),
        ("stop_s", 0.0, "stop"),
        ("margin_s", -1.0, "margin"),
    ],
)
def test_a_number_that_breaks_the_argument_is_named(key: str, value: float, named: str) -> None:
    assert named in [each for each, _ in faults(replace(SHIPPED, **{key: value}))]


def test_a_host_whose_watchdog_is_slower_than_ours_is_waited_for() -> None:
    assert stopped_s(SHIPPED, 30.0) >= 30.0 + SHIPPED.margin_s


@given(st.floats(0, 0.1), st.floats(0.5, 100))
def test_no_host_within_the_drift_outlasts_the_leaders_wait(drift: float, lease_s: float) -> None:
    """A slow clock on the host, a fast one on the leader: in true time the host's lease still ends first."""
    terms = replace(SHIPPED, drift=drift, lease_s=lease_s, beat_s=lease_s / 4)
    host_true_s = terms.lease_s / (1 - drift)
    leader_true_s = (restart_after_grant_s(terms, 8.0) - stopped_s(terms, 8.0)) / (1 + drift)
    assert host_true_s <= leader_true_s * (1 + 1e-12)
    assert restart_after_claim_s(terms, 0.0) > terms.storage_s


def test_words_come_back_as_they_were() -> None:
    ask = Ask(7, "boot", ("web", "db"), 8.0, True, True, 3)
    assert Ask.of(ask.values()) == ask
    grant = Grant(SHIPPED, {"xen1": 7}, {"xen1": ("web",)})
    assert Grant.of(grant.values()) == grant


def test_numbers_that_break_the_argument_are_no_terms() -> None:
    values = Grant(SHIPPED).values()["terms"]
    assert isinstance(values, dict)
    assert terms_of({**values, "watchdog_s": 1.0}) is None
    assert terms_of({**values, "lease_s": "8"}) is None
