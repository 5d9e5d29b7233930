"""The time limit of expressions, with real threads and a real clock."""

from __future__ import annotations

import random
import threading
from time import monotonic

import pytest

from common.config.load import parse_triggers
from common.config.model import ManagerConfig
from vmmanager.events import Moment
from vmmanager.state import Farm
from vmmanager.triggers.engine import Engine
from vmmanager.triggers.guard import TimeLimit
from vmmanager.triggers.unknown import OverBudget

pytestmark = pytest.mark.slow


def spin(seconds: float) -> str:
    end = monotonic() + seconds
    while monotonic() < end:
        pass
    return "done"


def test_code_that_never_ends_is_ended() -> None:
    limit = TimeLimit()
    with pytest.raises(OverBudget):
        limit(0.1, spin, 60.0)
    assert limit(5.0, spin, 0.01) == "done"
    limit.close()


def test_an_exception_that_comes_late_hits_nobody_else() -> None:
    """Runs that end just about when the budget does; whatever the outcome, the code after them is never interrupted."""
    limit, dice, outcomes = TimeLimit(), random.Random(7), set()
    for _ in range(60):
        try:
            outcomes.add(limit(0.03, spin, dice.uniform(0.0, 0.12)))
        except OverBudget:
            outcomes.add("over")
        spin(0.002)  # outside of any run: an OverBudget here would fail the test
    limit.close()
    assert outcomes == {"done", "over"}


def test_the_watcher_wakes_again_after_a_rest() -> None:
    limit = TimeLimit()
    assert limit(1.0, spin, 0.0) == "done"
    asleep = threading.Event()
    asleep.wait(1.5)  # longer than the watcher stays awake
    with pytest.raises(OverBudget):
        limit(0.1, spin, 60.0)
    limit.close()


def test_an_expression_over_its_budget_disables_its_trigger_and_no_other() -> None:
    triggers = parse_triggers(
        """
[endless]
expr = { any(0 for a in range(10**5) for b in range(10**5)) }
on_update_check = yes
budget = 0.2
[good]
expr = { len(manager.clients) == 0 }
on_update_check = yes
"""
    )
    limit = TimeLimit()
    engine = Engine(triggers, ManagerConfig("m1", grace_s=0.0), Moment(1e9, 0.0), limit)
    effects = engine.evaluate(Farm(), Moment(1e9, 0.0), 0.0)
    limit.close()
    assert "trigger endless: disabled: its expr ran for more than 0.2 s (budget_s)" in [getattr(e, "text", "") for e in effects]
    assert engine.counts() == {"total": 2, "ok": 0, "pending": 0, "firing": 1, "unknown": 0, "flapping": 0, "disabled": 1}
