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
    DEAD = "dead"  # its VM is no more, and the batch system is being told, so that its jobs start again elsewhere
    OUT = "out"  # nothing runs on it, and no environment has it


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
    TRIAL = "paused long enough, tried once more"
    DIED = "its VM is no more"
    TOLD = "the batch system knows that its VM is no more"
    DROPPED = "not wanted before it came up"
    TAKEN = "given to an environment"
    FOUND = "found with a VM of an environment on it"


class Order(StrEnum):
    RESUME = "let the batch system send jobs"
    DRAIN = "let the batch system send no more jobs"
    STOP = "stop the VM"
    START = "start the VM"
    GONE = "tell the batch system that the VM is no more"
    NONE = "nothing"


ORDERS: dict[State, Order] = {
    State.SERVING: Order.RESUME,
    State.DRAINING: Order.DRAIN,
    State.STOPPING: Order.STOP,
    State.STARTING: Order.START,
    State.JOINING: Order.RESUME,
    State.BROKEN: Order.NONE,
    State.DEAD: Order.GONE,
    State.OUT: Order.NONE,
}
TRANSITIONS: dict[State, dict[Seen, State]] = {
    State.SERVING: {Seen.MOVED: State.DRAINING, Seen.DIED: State.DEAD},
    # safety: the only way down of a VM that serves is by EMPTY: no job is killed
    State.DRAINING: {Seen.KEPT: State.SERVING, Seen.EMPTY: State.STOPPING, Seen.DIED: State.DEAD},
    State.STOPPING: {Seen.STOPPED: State.STARTING},
    State.STARTING: {
        Seen.STARTED: State.JOINING,
        Seen.FAILED: State.STOPPING,
        Seen.DROPPED: State.STOPPING,
        Seen.GIVEN_UP: State.BROKEN,
    },
    State.JOINING: {
        Seen.JOINED: State.SERVING,
        Seen.FAILED: State.STOPPING,
        Seen.DROPPED: State.STOPPING,
        Seen.GIVEN_UP: State.BROKEN,
        Seen.DIED: State.DEAD,
    },
    State.DEAD: {Seen.TOLD: State.STOPPING, Seen.GIVEN_UP: State.BROKEN},
    State.BROKEN: {Seen.RELEASED: State.STOPPING, Seen.TRIAL: State.STOPPING},
    State.OUT: {Seen.TAKEN: State.STOPPING, Seen.FOUND: State.SERVING},
}
AWAY = frozenset({State.STOPPING, State.STARTING, State.JOINING, State.DEAD})  # no use to anybody
USABLE = frozenset(State) - {State.BROKEN, State.OUT}
STABLE_S = 600.0  # a VM that dies sooner after it has joined counts as one that failed


class Slot:
    """`environment` is the one of its VM, `target` where it goes; they differ from the drain until the new VM starts. Empty:
    none."""

    __slots__ = ("deaths", "environment", "failures", "failures_max", "given", "name", "since", "state", "target", "turn")

    def __init__(self, name: str, environment: str, now: float, state: State = State.SERVING) -> None:
        self.name = name
        self.environment = environment
        self.target = environment
        self.state = state
        self.since = now  # of the state
        self.given = NEVER  # when it came to `environment` by a switch
        self.turn = 0  # counts changes
        self.failures = 0  # starts in a row
        self.deaths = 0  # of VMs in a row, soon after they had joined
        self.failures_max = FAILURES_MAX

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

    def take(self, target: str, now: float) -> tuple[State, State] | None:
        """It is `out`, and given to an environment."""
        if self.state is not State.OUT:
            return None
        self.target = target
        return self.see(Seen.TAKEN, self.turn, now)

    def drop(self, target: str, now: float) -> tuple[State, State] | None:
        """It is on its way to an environment that does not want it any more."""
        if Seen.DROPPED not in TRANSITIONS[self.state]:
            return None
        self.target = target
        return self.see(Seen.DROPPED, self.turn, now)

    def give(self, target: str, now: float) -> tuple[State, State] | None:
        """It goes to `target` (empty: to nobody) from wherever it is; None where its state stays."""
        if self.state is State.OUT:
            return self.take(target, now) if target else None
        if self.state in (State.SERVING, State.DRAINING):
            return self.move(target, now)
        if Seen.DROPPED in TRANSITIONS[self.state]:
            return self.drop(target, now)
        self.target = target
        return self.see(Seen.RELEASED, self.turn, now)  # broken; means nothing elsewhere

    def see(self, seen: Seen, turn: int, now: float) -> tuple[State, State] | None:
        """The only way to change `state`: (old, new), or None where the news is not of this turn or means nothing here."""
        if turn != self.turn or seen not in TRANSITIONS[self.state]:
            return None
        seen = self._counted(seen, now)
        old, new = self.state, TRANSITIONS[self.state][seen]
        if new is State.STARTING and not self.target:
            new = State.OUT
        self.state, self.since, self.turn = new, now, turn + 1
        if new in (State.STARTING, State.OUT):
            self.environment = self.target
        elif new is State.SERVING:
            self.target, self.failures = self.environment, 0
            self.given = now if seen is Seen.JOINED else self.given
        elif seen is Seen.RELEASED:
            self.failures = self.deaths = 0
        elif seen is Seen.TRIAL:  # one more failure, and it is paused again
            self.failures = self.deaths = self.failures_max - 1
        return old, new

    def _counted(self, seen: Seen, now: float) -> Seen:
        """Failures and deaths; too many of them are another thing."""
        if seen is Seen.DIED and self.state is not State.DRAINING:
            soon = self.state is State.JOINING or now - self.given < STABLE_S
            self.deaths = self.deaths + 1 if soon else 0
        if seen is Seen.FAILED:
            self.failures += 1
            return Seen.GIVEN_UP if self.failures >= self.failures_max else seen
        if seen is Seen.TOLD and self.deaths >= self.failures_max:
            return Seen.GIVEN_UP
        return seen
