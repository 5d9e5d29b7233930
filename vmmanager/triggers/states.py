"""The states of a trigger for one subject, as one table. Knows no expression, no clock and no effect.

docs/triggers.md shows this table as a diagram made by `python -m vmmanager.triggers.diagram`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vmmanager.events import Moment
from vmmanager.state import Key
from vmmanager.triggers.unknown import Truth

if TYPE_CHECKING:
    from vmmanager.triggers.rule import Rule

NEVER = float("inf")
CHANGES_MAX = 100  # remembered for flap detection; a larger flap_limit counts as this


class State(StrEnum):
    OK = "ok"
    PENDING = "pending"  # true, but not for `for` yet
    FIRING = "firing"  # true for long enough; stays until recovered
    DOUBTFUL = "doubtful"  # was firing; now nobody knows
    UNKNOWN = "unknown"  # was not firing; now nobody knows
    FLAPPING = "flapping"  # came and went too often; nothing fires until it is calm


class Seen(StrEnum):
    """What an evaluation says, after `unknown`, `for`, `recovery`, `depends_on` and flap detection were looked at."""

    FALSE = "false"  # where there is a recovery expression and the trigger fires: recovered
    TRUE = "true"  # true, not yet for `for`
    LASTING = "lasting"  # true for `for` seconds, or not recovered yet
    UNKNOWN = "unknown"
    BLOCKED = "blocked"  # true, but a trigger it depends on fires or is unknown
    FLAPPING = "flapping"


RAISED = frozenset({State.FIRING, State.DOUBTFUL})

_FROM_CALM = {
    Seen.FALSE: State.OK,
    Seen.TRUE: State.PENDING,
    Seen.LASTING: State.FIRING,
    Seen.UNKNOWN: State.UNKNOWN,
    Seen.BLOCKED: State.OK,
    Seen.FLAPPING: State.FLAPPING,
}
_FROM_RAISED = {
    Seen.FALSE: State.OK,
    Seen.TRUE: State.FIRING,
    Seen.LASTING: State.FIRING,
    Seen.UNKNOWN: State.DOUBTFUL,
    Seen.BLOCKED: State.FIRING,
}
TRANSITIONS: dict[State, dict[Seen, State]] = {
    State.OK: _FROM_CALM,
    State.PENDING: _FROM_CALM,
    State.UNKNOWN: _FROM_CALM,
    State.FLAPPING: _FROM_CALM,
    State.FIRING: _FROM_RAISED,
    State.DOUBTFUL: _FROM_RAISED,
}


class Subject:
    """One trigger on one client (`each`), or on the farm as a whole (name empty)."""

    __slots__ = (
        "alarm", "asked_again", "changes", "condition", "cooldown_until", "error", "fired", "hold", "keys", "last_at",
        "last_firing", "last_run", "name", "not_before", "operands", "recovering", "rule", "running", "since", "state",
        "true_since", "wake", "was_known", "why",
    )  # fmt: skip

    def __init__(self, rule: Rule, name: str, now: Moment) -> None:
        self.rule = rule
        self.name = name
        self.state = State.OK
        self.since = now.wall
        self.why = "not evaluated yet"  # of the last change
        self.condition: Truth | None = None  # what `expr` gave last
        self.was_known = False  # `condition` has been true or false before
        self.error = ""  # of the Python code, with the file's line
        self.true_since: float | None = None  # monotonic; counts while `condition` is true
        self.fired = False  # the problem at hand has fired; before that a firing is due
        self.recovering = False  # the recovery code is due
        self.hold = ""  # why a due firing waits
        self.cooldown_until = -NEVER  # monotonic
        self.last_firing = ""
        self.last_at = 0.0  # wall clock of the last firing
        self.last_run = -NEVER  # monotonic; when code was started last
        self.running = ""  # the firing whose code has not ended yet
        self.not_before = -NEVER  # monotonic; an expression that goes through many clients is not evaluated at each news
        self.asked_again = False  # news came meanwhile
        self.changes: deque[float] = deque(maxlen=CHANGES_MAX)  # monotonic times of changes that count for flapping
        self.keys: set[Key] = set()  # what wakes it
        self.operands: tuple[dict[Any, Any], ...] = ({}, {}, {})  # as Reads has them
        self.wake = NEVER  # monotonic; when it wants to be looked at
        self.alarm = NEVER  # monotonic; when the agenda will look whether it wants

    @property
    def raised(self) -> bool:
        return self.state in RAISED

    def become(self, seen: Seen, why: Callable[[], str], now: Moment) -> tuple[State, State] | None:
        """The only way to change `state`. (old, new) when they differ."""
        old, new = self.state, TRANSITIONS[self.state][seen]
        if new is old:
            return None
        self.state, self.since, self.why = new, now.wall, why()
        if new not in RAISED:
            self.fired = False
        if (old in RAISED) != (new in RAISED) or new is State.FLAPPING:
            self.changes.append(now.mono)
        return old, new

    def __str__(self) -> str:
        return f"trigger {self.rule.name}" + (f" of {self.name}" if self.name else "")
