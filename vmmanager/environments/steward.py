"""One slot's next step: what is seen of it in, orders out. Pure; knows no clock, no manager, no policy.

Each state gives its order until it is answered, and looks until what it waits for is so. Whoever takes a slot over begins its
state anew: nothing that a predecessor saw is believed.

safety: a VM that serves goes down only when the batch system has answered the drain, and said after that, in two readings one
after the other, that the node is drained and has no job. Two, because the first may have been begun before the drain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from common.batch import Node
from vmmanager.environments.slots import Seen, Slot, State

RETRY_S = 5.0  # an order that failed is given again; the wait doubles
RETRY_MAX_S = 120.0
AGAIN_S = 20.0  # a node that has not come by then is resumed once more
REASON = "vmherd"  # how the reason of a drain of ours begins, as the batch system shows it
READY = ("idle", "busy")
UNKNOWN_NODE = "the batch system knows no node of this name (see the key node of its environment)"

Verb = Literal["drain", "resume", "gone", "start", "stop"]
Presence = Literal["absent", "up", "dead", "lost", "changing"]


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen of a slot now. `vm`: of the environment that the slot is in. Empty texts: nothing is in the way."""

    vm: Presence
    why: str = ""  # of `vm`
    stopped_by: str = ""  # the operator who wants it stopped
    host_away: str = ""  # why nothing is known of the host
    other: str = ""  # another VM of this slot that is not away yet
    pause: str = ""  # why nothing may be started here, or of this environment
    known: str = ""  # why the batch system's nodes are not known
    node: Node | None = None  # none: it knows no such node
    nodes_at: float = 0.0  # wall clock


class Order(NamedTuple):
    """To the head node (drain, resume, gone) or to the host (start, stop)."""

    verb: Verb
    slot: Slot


@dataclass(slots=True)
class Slip:
    """What this manager knows of the slot's present state. Never stored: it is true only for who has seen it."""

    turn: int = -1
    open: Verb | Literal[""] = ""  # an order under way
    answered_at: float | None = None  # by the head node: drain, resume, gone; wall clock
    told_at: float = 0.0
    first_at: float = 0.0  # the first reading after the drain that says drained
    proved: bool = False  # safety: the second one said so too
    retry_at: float = 0.0
    tries: int = 0
    blind_at: float = 0.0  # when the batch system was last not heard
    warned: bool = False
    why: str = ""  # what it waits for
    error: str = ""  # the last one

    def failed(self, why: str, now: float) -> None:
        self.error, self.open = why, ""
        self.retry_at = now + min(RETRY_MAX_S, RETRY_S * 2 ** min(self.tries, 10))
        self.tries += 1


@dataclass(slots=True)
class Limits:
    drain_limit_s: float = 0.0
    join_limit_s: float = 600.0


@dataclass(slots=True)
class Step:
    """What came of one look: the orders, the news that changed its state, whether a new reading of the nodes is wanted."""

    orders: list[Order] = field(default_factory=list)
    seen: Seen | None = None
    why: str = ""
    fetch: bool = False
    warning: str = ""


def refreshed(slip: Slip, slot: Slot) -> Slip:
    """Each state begins with an empty slip; what a drain has proved holds while it is being stopped."""
    if slip.turn == slot.turn:
        return slip
    new = Slip(turn=slot.turn)
    if slot.state is State.STOPPING and slip.turn == slot.turn - 1 and slip.proved:
        new.answered_at, new.first_at, new.proved = slip.answered_at, slip.first_at, True
    if slot.state in (State.STOPPING, State.STARTING):  # a start that failed waits before it is tried again
        new.retry_at, new.tries, new.error = slip.retry_at, slip.tries, slip.error
    return new


def look(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float) -> Step:
    """`slip` is of this turn. Changes it; the slot is changed by the caller, with `seen`."""
    step = Step()
    slip.why = ""
    if sight.known:
        slip.blind_at = now
    if sight.vm == "lost" and slot.state not in (State.OUT, State.BROKEN):
        slip.why = f"its VM is lost: {sight.why}"
    elif sight.vm == "changing" and not slip.open and slot.state is not State.STARTING:
        slip.why = sight.why
    else:
        _LOOKS[slot.state](slot, slip, sight, limits, now, step)
    return step


def _serving(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    if sight.vm in ("absent", "dead"):
        _news(step, Seen.DIED, sight.why)
    elif sight.known:
        slip.why = f"not known whether it takes jobs: {sight.known}"
    elif sight.node is None:
        slip.why = UNKNOWN_NODE
    elif sight.node.state in ("draining", "drained", "down"):
        if REASON in sight.node.note:  # ours, and taken back; what an administrator did by hand is left alone
            _tell("resume", slot, slip, now, step, again_s=AGAIN_S)
        slip.why = f"the batch system sends it no jobs: {sight.node.note or sight.node.state}"
    elif sight.node.state not in READY:
        slip.why = f"the batch system says: {sight.node.state}{f', {sight.node.note}' if sight.node.note else ''}"


def _draining(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    if sight.vm in ("absent", "dead"):
        _news(step, Seen.DIED, sight.why)
        return
    if _drained(slot, slip, sight, ("drained",), now, step):
        _news(step, Seen.EMPTY, "the batch system has said so twice since the drain")
    elif limits.drain_limit_s and now - slot.since > limits.drain_limit_s and not slip.warned:
        slip.warned = True
        step.warning = f"has been draining for {now - slot.since:.0f} s (drain_limit): {slip.why}"


def _drained(slot: Slot, slip: Slip, sight: Sight, good: tuple[str, ...], now: float, step: Step) -> bool:
    """safety: drained, and no job on it, as the batch system has said twice since it answered the drain, and says now."""
    if slip.answered_at is None:
        _tell("drain", slot, slip, now, step)
        slip.why = slip.why or "the batch system is told to send no more jobs"
        return False
    if sight.known:
        slip.first_at, slip.proved = 0.0, False
        slip.why = f"not known whether jobs run on it: {sight.known}"
        return False
    node = sight.node
    if node is None or node.state not in good or node.jobs:  # safety: one it does not know may run jobs by another name
        slip.first_at, slip.proved = 0.0, False
        slip.why = UNKNOWN_NODE if node is None else _busy(node)
        if node is not None and node.state in READY and sight.nodes_at > slip.answered_at:
            slip.answered_at = None  # somebody has resumed it
        return False
    if sight.nodes_at > slip.answered_at and not slip.first_at:
        slip.first_at = sight.nodes_at
    slip.proved = slip.proved or bool(slip.first_at and sight.nodes_at > slip.first_at)
    if not slip.proved:
        slip.why, step.fetch = "it seems drained; the next reading must say so too", True
    return slip.proved


def _busy(node: Node) -> str:
    if node.jobs:
        return f"{node.jobs} job{'s' if node.jobs > 1 else ''} still run{'s' if node.jobs == 1 else ''} on it"
    return f"the batch system says: {node.state}{f', {node.note}' if node.note else ''}"


def _stopping(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    if sight.vm == "absent":
        if sight.host_away:
            slip.why = sight.host_away
        else:
            _news(step, Seen.STOPPED, sight.why)
    elif sight.vm == "dead" or _drained(slot, slip, sight, ("drained", "down"), now, step):
        slip.why = "its VM is being stopped"
        _order("stop", slot, slip, now, step)


def _starting(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    if sight.vm == "up":
        _news(step, Seen.STARTED, sight.why)
    elif sight.vm == "changing" and not slip.open:
        slip.why = sight.why
    elif why := _in_the_way(sight):
        slip.why = why
    else:
        slip.why = "its VM is being started"
        _order("start", slot, slip, now, step)


def _in_the_way(sight: Sight) -> str:
    if sight.stopped_by:
        return f"{sight.stopped_by} wants its VM stopped"
    return sight.host_away or sight.other or sight.pause


def _joining(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    if sight.vm in ("absent", "dead"):
        _news(step, Seen.DIED, sight.why)
        return
    after = slip.answered_at is not None and sight.nodes_at > slip.answered_at
    if after and not sight.known and sight.node is not None and sight.node.state in READY:
        _news(step, Seen.JOINED, f"the batch system says: {sight.node.state}")
        return
    _tell("resume", slot, slip, now, step, again_s=AGAIN_S)
    said = "it knows no such node" if sight.node is None else sight.node.state
    slip.why = sight.known or slip.error or f"the batch system does not see it yet: {said}"
    if not sight.known and now - max(slot.since, slip.blind_at) > limits.join_limit_s:
        _news(step, Seen.FAILED, f"runs for {now - slot.since:.0f} s (join_limit); {slip.why}")


def _dead(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    if slip.answered_at is not None:
        _news(step, Seen.TOLD, "its jobs start again elsewhere")
        return
    slip.why = slip.error or "the batch system is told that its VM is no more"
    _tell("gone", slot, slip, now, step)


def _broken(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    slip.why = sight.pause
    if not sight.pause:
        _news(step, Seen.TRIAL, "it was paused long enough")


def _out(slot: Slot, slip: Slip, sight: Sight, limits: Limits, now: float, step: Step) -> None:
    """Who takes it is decided with the mix."""


_LOOKS: dict[State, Callable[[Slot, Slip, Sight, Limits, float, Step], None]] = {
    State.SERVING: _serving,
    State.DRAINING: _draining,
    State.STOPPING: _stopping,
    State.STARTING: _starting,
    State.JOINING: _joining,
    State.DEAD: _dead,
    State.BROKEN: _broken,
    State.OUT: _out,
}


def _news(step: Step, seen: Seen, why: str) -> None:
    step.seen, step.why = seen, why


def _tell(verb: Verb, slot: Slot, slip: Slip, now: float, step: Step, *, again_s: float = 0.0) -> None:
    """An order to the head node: once, again after a failure, and after `again_s` where it had no effect."""
    if slip.answered_at is not None and (not again_s or now - slip.told_at < again_s):
        return
    if slip.error and now < slip.retry_at:
        slip.why = f"{verb}: {slip.error}; tried again in {slip.retry_at - now:.0f} s"
    _order(verb, slot, slip, now, step)


def _order(verb: Verb, slot: Slot, slip: Slip, now: float, step: Step) -> None:
    if slip.open or now < slip.retry_at:
        if slip.error and not slip.open:
            slip.why = f"{slip.error}; tried again in {slip.retry_at - now:.0f} s"
        return
    slip.open, slip.told_at = verb, now
    step.orders.append(Order(verb, slot))


def answered(slip: Slip, verb: Verb, now: float, error: str = "", *, unknown_node: bool = False) -> None:
    """The head node has answered an order of this slip. Of a node that it does not know nothing is left to be said."""
    if slip.open != verb:
        return
    if error and not (unknown_node and verb == "gone"):
        slip.failed(error, now)
        return
    slip.open, slip.error, slip.tries, slip.retry_at, slip.answered_at = "", "", 0, 0.0, now
