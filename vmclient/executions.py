"""EXECUTE in the client: what may run, what runs, what has run. Pure. Each execution runs at most once and has one answer.

safety: an execution is in the journal before it begins, and a repeat is answered from the record, so that two managers, or one
that repeats itself, never start a VM twice. One that a crash interrupted is answered `interrupted`, and is not run again. One
that was not run is not run later either: who asked has been told, and has gone on. That is remembered as long as the client
lives; a manager takes it as the end only in answer to the last copy that it has sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import msgspec

from common.config.model import ClientConfig
from common.envelope import Envelope
from common.protocol import ClbControl, ExecErr, Execute, ExecVal
from vmclient.events import (
    Abort,
    Effect,
    Journal,
    Journaled,
    Moment,
    Note,
    Progress,
    Recall,
    Recalled,
    Run,
    RunDone,
    Send,
    ToGuard,
)
from vmclient.guardwords import Protect, Protected, Settled
from vmclient.lease import PROTECT, RISKY, Leases

QUEUE_MAX = 64  # executions that wait for a free slot or for their subject
WAITING_MAX = 32  # requests attached to one execution
ENDED_MAX = 50_000  # ids remembered
ENDED_KEPT_MIN = 1_000  # of which so many whatever their age
OUTPUT_CHARS_MAX = 65_536
REASON_CHARS_MAX = 65_536  # protocol.Text
FAMILIES = ("vm", "batch")  # a name of `allow` that stands for all commands that begin with it and a dash
GUARD_S = 5.0  # the guard answers within a few milliseconds; it writes to the disk
PROGRESS_EVERY_S = 0.5  # of one execution; what comes in between waits, and only the newest is told

Kind = Literal["error", "timeout", "refused", "busy", "interrupted"]


class State(Enum):
    """Where an execution stands."""

    QUEUED = "queued"
    GUARDING = "guarding"  # it brings a protected VM to life, and the guard is being told
    BEGINNING = "beginning"  # its begin is being written
    RUNNING = "running"
    ENDING = "ending"  # its answer is being written
    ENDED = "ended"


MOVES: dict[State, tuple[State, ...]] = {
    State.QUEUED: (State.GUARDING, State.BEGINNING),
    State.GUARDING: (State.BEGINNING,),
    State.BEGINNING: (State.RUNNING, State.ENDED),
    State.RUNNING: (State.ENDING,),
    State.ENDING: (State.ENDED,),
    State.ENDED: (),
}
ACTIVE = (State.GUARDING, State.BEGINNING, State.RUNNING, State.ENDING)


@dataclass(slots=True)
class Execution:
    """One that has not ended. `requests`: ids of the messages that wait for its answer."""

    execute: Execute
    requests: list[int]
    subject: str
    expires_mono: float
    state: State = State.QUEUED
    answer: ExecVal | ExecErr | None = None
    progress: Progress | None = None  # the newest
    untold: bool = False  # it waits until `tell_mono`
    tell_mono: float = 0.0
    protects: str = ""  # the protected VM that it brings to life
    guard_by: float = 0.0  # the guard has answered by then
    aborted: bool = False

    def move(self, state: State) -> None:
        assert state in MOVES[self.state], f"{self.execute.execution}: {self.state} -> {state}"
        self.state = state


@dataclass(slots=True)
class Ended:
    """One that has ended. `answer` only where the journal could not take it."""

    at: float
    answer: ExecVal | ExecErr | None = None


@dataclass(slots=True)
class Executions:
    """`ended`: execution -> wall-clock time, from the journal."""

    config: ClientConfig
    ended: dict[str, Ended] = field(default_factory=dict)
    commands: Mapping[str, str] | None = None  # name -> subject parameter; None: plugins are not loaded yet
    stopping: bool = False
    leases: Leases | None = None
    _open: dict[str, Execution] = field(default_factory=dict)  # in order of arrival

    def interrupted(self, begun: Mapping[str, int], now: Moment) -> list[Effect]:
        """What the journal holds as begun and not ended: each gets its answer, once. execution -> request."""
        effects: list[Effect] = []
        for execution, request in begun.items():
            reason = "the client ended while it ran; whether it took effect is not known"
            answer = ExecErr(execution=execution, kind="interrupted", reason=reason)
            one = Execution(
                Execute(execution=execution, command="?"), [request] if request else [], "", 0.0, State.ENDING, answer
            )
            self._open[execution] = one
            effects += [Note(f"execution {execution}: interrupted", "warning", "runner"), Journal(execution, answer, now.wall)]
        return effects

    def arrive(self, envelope: Envelope, now: Moment) -> list[Effect]:
        """A request to run something."""
        execute = envelope.message
        assert isinstance(execute, Execute)
        known = self._open.get(execute.execution)
        if known is not None:
            return self._attach(known, envelope.id)
        if execute.execution in self.ended:
            return self._again(execute.execution, envelope.id)
        refusal = self._refusal(execute)
        if refusal is not None:
            kind, reason = refusal
            note = Note(
                f"execution {execute.execution}: {execute.command} for {envelope.sender}: {kind}: {reason}", part="runner"
            )
            return [note, *self._not_run(execute.execution, kind, reason, [envelope.id], now)]
        subject = self._subject(execute)
        self._open[execute.execution] = Execution(execute, [envelope.id], subject, now.mono + envelope.ttl_s)
        note = Note(f"execution {execute.execution}: {execute.command} for {envelope.sender}: queued", part="runner")
        return [note, *self.proceed(now)]

    def proceed(self, now: Moment) -> list[Effect]:
        """Begins what may begin, gives up what waited beyond its validity."""
        effects = self._expire(now)
        if self.commands is None:
            return effects
        active = [one for one in self._open.values() if one.state in ACTIVE]
        taken = {one.subject for one in active if one.subject}
        slots = self.config.parallel - len(active)
        for one in [one for one in self._open.values() if one.state is State.QUEUED]:
            if slots <= 0:
                break
            if not one.subject:
                one.subject = self._subject(one.execute)  # it may have come before the plugins were loaded
            if one.subject in taken:
                continue
            if fault := not_allowed(one.execute, self.config.allow):  # safety: a reload may have taken the permission away
                effects += self._give_up(one, "refused", fault, now)
                continue
            one.protects = self.leases.protects(one.execute) if self.leases else ""
            if one.protects and (why := self._why_not(now)):  # safety: without a lease no protected VM comes to life
                effects += self._give_up(one, "refused", why, now)
                continue
            slots -= 1
            taken |= {one.subject} - {""}
            effects.append(self._guarding(one, now) if one.protects else self._beginning(one, now))
        return effects

    def _why_not(self, now: Moment) -> str:
        return self.leases.why_not(now.mono) if self.leases else ""

    def _guarding(self, one: Execution, now: Moment) -> Effect:
        one.move(State.GUARDING)
        one.guard_by = now.mono + GUARD_S
        return ToGuard(Protect(one.protects, one.execute.execution))

    def _beginning(self, one: Execution, now: Moment) -> Effect:
        one.move(State.BEGINNING)
        return Journal(one.execute.execution, None, now.wall, one.requests[0] if one.requests else 0)

    def protected(self, event: Protected, now: Moment) -> list[Effect]:
        """The guard has it in its book, or not and why."""
        one = self._open.get(event.key)
        if one is None or one.state is not State.GUARDING:
            return []
        if why := event.error or self._why_not(now):
            return self._unguarded(one, why, now)
        return [self._beginning(one, now)]

    def _unguarded(self, one: Execution, why: str, now: Moment) -> list[Effect]:
        return [ToGuard(Settled(one.protects, one.execute.execution)), *self._give_up(one, "refused", why, now)]

    def guard_came(self) -> list[Effect]:
        """A guard that has just started does not know what is coming to life."""
        known = [one for one in self._open.values() if one.protects and one.state in (State.BEGINNING, State.RUNNING)]
        return [ToGuard(Protect(one.protects, one.execute.execution)) for one in known]

    def guard_gone(self, now: Moment) -> list[Effect]:
        waiting = [one for one in self._open.values() if one.state is State.GUARDING]
        return [effect for one in waiting for effect in self._unguarded(one, "the guard of this host has ended", now)]

    def lease_over(self) -> list[Effect]:
        """safety: what brings a protected VM to life is stopped; what it left, the guard destroys."""
        running = [one for one in self._open.values() if one.protects and one.state is State.RUNNING and not one.aborted]
        for one in running:
            one.aborted = True
        return [Abort(one.execute.execution, "the lease of this host is over") for one in running]

    def journaled(self, event: Journaled, now: Moment) -> list[Effect]:
        one = self._open.get(event.execution)
        if one is None:
            return []
        if one.state is State.ENDING:
            return self._written(one, event.error, now)
        if one.state is not State.BEGINNING:
            return []
        if event.error:
            one.answer = _failed(event.execution, "error", f"not run: the journal cannot note it: {event.error}")
            return self._close(one, now, keep_answer=True)
        one.move(State.RUNNING)
        execute = one.execute
        if one.protects and (why := self._why_not(now)):  # safety: the journal may have taken long
            one.answer = _failed(event.execution, "refused", why)
            one.move(State.ENDING)
            return [ToGuard(Settled(one.protects, event.execution)), Journal(event.execution, one.answer, now.wall)]
        ours = {PROTECT} if execute.command in RISKY else set()
        parameters = {name: value for name, value in execute.parameters.items() if name not in ours}
        return [Run(execute.execution, execute.command, parameters, execute.timeout_s)]

    def done(self, event: RunDone, now: Moment) -> list[Effect]:
        one = self._open.get(event.execution)
        if one is None or one.state is not State.RUNNING:
            return []
        one.answer = _answer(event)
        one.move(State.ENDING)
        how = "ended well" if event.kind == "ok" else f"{event.kind}: {event.reason}"
        note = Note(f"execution {event.execution}: {one.execute.command}: {how} ({event.elapsed_s:.1f} s)", part="runner")
        settled = [ToGuard(Settled(one.protects, event.execution))] if one.protects else []
        return [*settled, note, Journal(event.execution, one.answer, now.wall)]

    def progressed(self, event: Progress, now: Moment) -> list[Effect]:
        one = self._open.get(event.execution)
        if one is None or one.state is not State.RUNNING:
            return []
        one.progress, one.untold = event, True
        return self.tell(now)

    def tell(self, now: Moment) -> list[Effect]:
        """The progress whose time has come, to all who wait for the answer."""
        effects: list[Effect] = []
        for one in self._untold():
            if one.progress is not None and one.tell_mono <= now.mono:
                one.untold, one.tell_mono = False, now.mono + PROGRESS_EVERY_S
                effects += [_progress(one.progress, request) for request in one.requests]
        return effects

    def _untold(self) -> list[Execution]:
        return [one for one in self._open.values() if one.untold and one.state is State.RUNNING]

    def recalled(self, event: Recalled) -> list[Effect]:
        answer = event.answer
        if answer is None:
            reason = f"it was run before, but its record cannot be read: {event.error or 'it is gone'}"
            answer = ExecErr(execution=event.execution, kind="interrupted", reason=reason[:REASON_CHARS_MAX])
        return [Send(msgspec.structs.replace(answer, repeated=True), in_reply_to=event.in_reply_to)]

    def forget(self, before_wall: float) -> None:
        """Drops ended ones older than that, but the newest stay: the clock may have been set. The journal does the same."""
        older = list(self.ended)[:-ENDED_KEPT_MIN]
        for execution in [execution for execution in older if self.ended[execution].at < before_wall]:
            del self.ended[execution]

    def command(self, execution: str) -> str:
        """Of one that has not ended; else empty."""
        one = self._open.get(execution)
        return one.execute.command if one else ""

    @property
    def active(self) -> int:
        return sum(1 for one in self._open.values() if one.state in ACTIVE)

    @property
    def queued(self) -> int:
        return sum(1 for one in self._open.values() if one.state is State.QUEUED)

    def next_due(self) -> float:
        """When the first queued one expires, or progress that waits is to be told."""
        if not self._open:
            return float("inf")
        queued = (one.expires_mono for one in self._open.values() if one.state is State.QUEUED)
        guarding = (one.guard_by for one in self._open.values() if one.state is State.GUARDING)
        return min((*queued, *guarding, *(one.tell_mono for one in self._untold())), default=float("inf"))

    def drop_queued(self, reason: str, now: Moment) -> list[Effect]:
        """The client stops: what has not begun will not begin here."""
        effects: list[Effect] = []
        for one in [one for one in self._open.values() if one.state is State.QUEUED]:
            effects += self._give_up(one, "busy", reason, now)
        return effects

    def _refusal(self, execute: Execute) -> tuple[Kind, str] | None:
        fault = not_allowed(execute, self.config.allow)
        if fault:
            return "refused", fault
        if self.commands is not None and execute.command not in self.commands:
            return "refused", f"no plugin of this client has the command {execute.command}"
        if self.stopping:
            return "busy", "the client is stopping"
        if self.queued >= QUEUE_MAX:
            return "busy", f"{self.queued} executions wait already"
        return None

    def _subject(self, execute: Execute) -> str:
        parameter = (self.commands or {}).get(execute.command, "")
        return str(execute.parameters.get(parameter, "")) if parameter else ""

    def _attach(self, one: Execution, request: int) -> list[Effect]:
        if len(one.requests) >= WAITING_MAX:
            return [Send(_failed(one.execute.execution, "busy", "too many wait for this execution"), in_reply_to=request)]
        if request in one.requests:
            return []
        one.requests.append(request)
        return [_progress(one.progress, request)] if one.progress is not None and one.state is State.RUNNING else []

    def _again(self, execution: str, request: int) -> list[Effect]:
        answer = self.ended[execution].answer
        if answer is None:
            return [Recall(execution, request)]
        return self.recalled(Recalled(execution, answer, request))

    def _expire(self, now: Moment) -> list[Effect]:
        effects: list[Effect] = []
        for one in [one for one in self._open.values() if one.state is State.QUEUED and one.expires_mono <= now.mono]:
            why = "it waited for its turn until the request was no longer valid; not run"
            effects += self._give_up(one, "timeout", why, now)
        for one in [one for one in self._open.values() if one.state is State.GUARDING and one.guard_by <= now.mono]:
            effects += self._unguarded(one, "the guard of this host does not answer", now)
        return effects

    def _give_up(self, one: Execution, kind: Kind, reason: str, now: Moment) -> list[Effect]:
        del self._open[one.execute.execution]
        return self._not_run(one.execute.execution, kind, reason, one.requests, now)

    def _not_run(self, execution: str, kind: Kind, reason: str, requests: list[int], now: Moment) -> list[Effect]:
        answer = _failed(execution, kind, reason)
        self._remember(execution, Ended(now.wall, answer))  # safety: another copy of it may be on its way
        return [Send(answer, in_reply_to=request) for request in requests]

    def _written(self, one: Execution, error: str, now: Moment) -> list[Effect]:
        """The answer goes out even where the disk is full: the client remembers it as long as it lives."""
        name = one.execute.execution
        notes: list[Effect] = (
            [Note(f"execution {name}: its end is not in the journal: {error}", "error", "runner")] if error else []
        )
        return [*notes, *self._close(one, now, keep_answer=bool(error))]

    def _close(self, one: Execution, now: Moment, *, keep_answer: bool = False) -> list[Effect]:
        assert one.answer is not None
        one.move(State.ENDED)
        name = one.execute.execution
        del self._open[name]
        self._remember(name, Ended(now.wall, one.answer if keep_answer else None))
        effects: list[Effect] = [Send(one.answer, in_reply_to=request) for request in one.requests or [0]]
        return [*effects, *self.proceed(now)]

    def _remember(self, execution: str, ended: Ended) -> None:
        self.ended[execution] = ended
        while len(self.ended) > ENDED_MAX:
            del self.ended[next(iter(self.ended))]


def not_allowed(execute: Execute, allow: tuple[str, ...]) -> str:
    """Why the closed list forbids it, or empty. `exec:NAME` allows the one program NAME, a bare name the whole command, `vm`
    and `batch` all that begin with `vm-` and `batch-`."""
    family, dash, _ = execute.command.partition("-")
    if execute.command in allow or (dash and family in FAMILIES and family in allow):
        return ""
    if execute.command == "exec":
        program = execute.parameters.get("program")
        if isinstance(program, str) and f"exec:{program}" in allow:
            return ""
        return f"this client does not allow exec of {program}"
    return f"this client does not allow {execute.command}"


def _progress(progress: Progress, request: int) -> Send:
    """An answer on the way: the request stays open."""
    values = {"execution": progress.execution, "text": progress.text, "share": progress.share}
    return Send(ClbControl(verb="progress", values={**values}), in_reply_to=request)


def _failed(execution: str, kind: Kind, reason: str) -> ExecErr:
    return ExecErr(execution=execution, kind=kind, reason=reason[:REASON_CHARS_MAX])


def _answer(event: RunDone) -> ExecVal | ExecErr:
    output = event.output[:OUTPUT_CHARS_MAX]
    if event.kind == "ok":
        return ExecVal(execution=event.execution, result=event.result, output=output, elapsed_s=event.elapsed_s)
    return ExecErr(
        execution=event.execution,
        kind=event.kind,
        reason=(event.reason or "failed")[:REASON_CHARS_MAX],
        result=event.result,
        output=output,
        elapsed_s=event.elapsed_s,
    )
