"""The states of a slot, a place for one VM that environments take in turn, as one table. Knows no batch system, no clock.

Each state has one order, which may be repeated at will: whoever takes over gives the order of the state it finds. News carry
the `turn` they answer, so that what is said of an earlier drain or start changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

NEVER = float("-inf")
FAILURES_MAX = 3  # starts in a row that fail, before the slot is broken and waits for an operator


class State(StrEnum):
    SERVING = "serving"  # the batch system may send jobs to its VM
    DRAINING = "draining"  # no new job; those that run end in peace
    STOPPING = "stopping"  # no job on it; the VM goes down
    STARTING = "starting"  # the VM of the other environment comes up
    JOINING = "joining"  # it is up, the batch system does not see it yet
    BROKEN = "broken"  # failed too often


class Seen(StrEnum):
    MOVED = "wanted elsewhere"
    KEPT = "wanted here again"
    EMPTY = "drained: no job on it, none can come"
    STOPPED = "the VM is gone"
    STARTED = "the VM runs"
    JOINED = "the batch system sees it"
    FAILED = "did not come up"
    GIVEN_UP = "did not come up, too often"
    RELEASED = "released by an operator"


class Order(StrEnum):
    RESUME = "let the batch system send jobs"
    DRAIN = "let the batch system send no more jobs"
    STOP = "stop the VM"
    START = "start the VM"
    NONE = "nothing"


ORDERS: dict[State, Order] = {
    State.SERVING: Order.RESUME,
    State.DRAINING: Order.DRAIN,
    State.STOPPING: Order.STOP,
    State.STARTING: Order.START,
    State.JOINING: Order.RESUME,
    State.BROKEN: Order.NONE,
}
TRANSITIONS: dict[State, dict[Seen, State]] = {
    State.SERVING: {Seen.MOVED: State.DRAINING},
    State.DRAINING: {Seen.KEPT: State.SERVING, Seen.EMPTY: State.STOPPING},  # the only way down is by EMPTY: no job is killed
    State.STOPPING: {Seen.STOPPED: State.STARTING},
    State.STARTING: {Seen.STARTED: State.JOINING, Seen.FAILED: State.STOPPING, Seen.GIVEN_UP: State.BROKEN},
    State.JOINING: {Seen.JOINED: State.SERVING, Seen.FAILED: State.STOPPING, Seen.GIVEN_UP: State.BROKEN},
    State.BROKEN: {Seen.RELEASED: State.STOPPING},
}
AWAY = frozenset({State.STOPPING, State.STARTING, State.JOINING})  # no use to anybody
USABLE = frozenset(State) - {State.BROKEN}


class Slot:
    """`environment` is the one of its VM, `target` where it goes; they differ from the drain until the new VM starts."""

    __slots__ = ("environment", "failures", "given", "name", "since", "state", "target", "turn")

    def __init__(self, name: str, environment: str, now: float, state: State = State.SERVING) -> None:
        self.name = name
        self.environment = environment
        self.target = environment
        self.state = state
        self.since = now  # of the state
        self.given = NEVER  # when it came to `environment` by a switch
        self.turn = 0  # counts changes
        self.failures = 0  # starts in a row

    @property
    def order(self) -> Order:
        return ORDERS[self.state]

    def move(self, target: str, now: float) -> tuple[State, State] | None:
        """It is wanted for `target`. Taken back when it still drains and that is its own; None where nothing changes."""
        if self.state not in (State.SERVING, State.DRAINING):
            return None
        if target == self.environment:
            return self.see(Seen.KEPT, self.turn, now)
        self.target = target
        return self.see(Seen.MOVED, self.turn, now)

    def see(self, seen: Seen, turn: int, now: float) -> tuple[State, State] | None:
        """The only way to change `state`: (old, new), or None where the news is not of this turn or means nothing here."""
        if turn != self.turn:
            return None
        if seen is Seen.FAILED:
            self.failures += 1
            seen = Seen.GIVEN_UP if self.failures >= FAILURES_MAX else seen
        old = self.state
        new = TRANSITIONS[old].get(seen)
        if new is None:
            return None
        self.state, self.since, self.turn = new, now, turn + 1
        if new is State.STARTING:
            self.environment = self.target
        elif new is State.SERVING:
            self.target, self.failures = self.environment, 0
            self.given = now if seen is Seen.JOINED else self.given
        elif seen is Seen.RELEASED:
            self.failures = 0
        return old, new
