"""Evaluates what has changed and says what fires. No clock, no thread, no bus; the firing itself is pipeline.py's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vmmanager.events import Persist
from vmmanager.state import Key
from vmmanager.triggers import firing as firings
from vmmanager.triggers.board import Board
from vmmanager.triggers.effects import Effect
from vmmanager.triggers.holds import hold
from vmmanager.triggers.pipeline import Pipeline
from vmmanager.triggers.rule import ALL_CLIENTS, Guard, Rule
from vmmanager.triggers.states import NEVER, RAISED, Seen, State, Subject
from vmmanager.triggers.unknown import OverBudget, Truth, Unknown

NONE: dict[Any, Any] = {}
AMONG_KEPT = 20  # members' values kept to say why
MEMBERS_FEW = 50  # an expression that goes through more clients than these is evaluated at most so often
MEMBERS_PER_S = 4_000  # that it reads so many a second: twice a second in a farm of 2,000, which is below 1 % of a core
LOUD = {State.FIRING, State.FLAPPING}


@dataclass(slots=True)
class Verdict:
    """What a look came to, and what is to follow. `asked`: news or a tick, which let `fire = each` fire again."""

    subject: Subject
    asked: bool
    wake: float
    true: bool = False
    had_fired: bool = False
    change: tuple[State, State] | None = None


class Watch:
    def __init__(self, board: Board, pipeline: Pipeline, guard: Guard) -> None:
        self._board = board
        self._pipeline = pipeline
        self._guard = guard
        self._next_tick = -NEVER
        self._unpopulated = True  # rules came whose subjects are not made yet
        self._judged: list[Verdict] = []
        self._pending: dict[int, dict[Subject, bool]] = {}  # rule number -> subjects to look at; True: they may fire again

    def evaluate(self, changed: set[Key]) -> list[Effect]:
        board = self._board
        effects = self._end_silences()
        self._members(changed, effects)
        if not board.order and not board.look_again:
            return effects
        self._add(board.agenda.woken_by(changed, board.farm), True)
        self._add(board.agenda.ringing(board.now.mono), False)
        self._tick()
        again, board.look_again = board.look_again, {}
        for subject, asked in again.items():
            self._add((subject,), asked)
        while self._pending:
            number = min(self._pending)
            subjects = self._pending.pop(number)
            rule = board.order[number]
            for subject in sorted(subjects, key=lambda one: one.name) if len(subjects) > 1 else subjects:
                self._look(rule, subject, subjects[subject], effects)
            judged, self._judged = self._judged, []
            for verdict in judged:  # only when all are judged: max_share must see a storm before anybody is acted upon
                board.agenda.wake(verdict.subject, min(verdict.wake, self._follow(verdict, effects)))
        return effects

    def everything(self) -> None:
        """Look at all afresh at the next evaluation."""
        self._next_tick = -NEVER
        self._unpopulated = True
        for rule in self._board.order:
            rule.next_tick = -NEVER
            for subject in rule.subjects.values():
                self._board.look_again[subject] = True

    def next_wake(self) -> float | None:
        board = self._board
        times = [max(self._next_tick, board.now.mono)] if self._ticking() else []
        alarm, end = board.agenda.next_alarm(), board.silences.next_end()
        if alarm is not None:
            times.append(alarm)
        if end is not None:
            times.append(board.now.mono + max(0.0, end - board.now.wall))
        if board.look_again:
            times.append(board.now.mono)
        return min(times, default=None)

    # --- who is looked at -------------------------------------------------------------------------------------------------

    def _add(self, subjects: Iterable[Subject], asked: bool) -> None:
        for subject in subjects:
            pending = self._pending.setdefault(subject.rule.number, {})
            pending[subject] = asked or pending.get(subject, False)

    def _tick(self) -> None:
        now = self._board.now
        if now.mono < self._next_tick:
            return
        for rule in self._board.order:
            if rule.config.ticks > 0 and now.mono >= rule.next_tick and not rule.disabled:
                # by its own clock, so that late ticks do not add up; after a long sleep only once
                late = now.mono - rule.next_tick
                rule.next_tick = now.mono + rule.config.ticks - (late if late < rule.config.ticks else 0.0)
                self._add(rule.subjects.values(), True)
        self._next_tick = min((rule.next_tick for rule in self._ticking()), default=NEVER)

    def _ticking(self) -> list[Rule]:
        return [rule for rule in self._board.order if rule.config.ticks > 0 and not rule.disabled]

    def _members(self, changed: set[Key], effects: list[Effect]) -> None:
        groups = {key[1] for key in changed if key[0] == "group"}
        if ("clients",) in changed:
            groups.add(ALL_CLIENTS)
            self._board.views.forget_gone()
        if not groups and not self._unpopulated:
            return
        for rule in self._board.order:
            if rule.config.each in groups or self._unpopulated:
                effects += self.populate(rule)
        self._unpopulated = False

    def populate(self, rule: Rule) -> list[Effect]:
        """Makes and drops subjects as clients come and go."""
        effects: list[Effect] = []
        members = self._board.members(rule.config)
        for name in sorted(rule.subjects.keys() - set(members)):
            subject = rule.subjects.pop(name)
            self._board.agenda.forget(subject)
            self._pending.get(rule.number, {}).pop(subject, None)
            if subject.state in RAISED:
                effects += self._pipeline.recovered(subject, gone=True)
                text = f"{subject}: {subject.state} -> gone ({name} is no longer in {rule.config.each})"
                effects += self._board.say(rule, text, kind="trigger", subject=name)
        for name in members:
            if name not in rule.subjects:
                subject = rule.subjects[name] = Subject(rule, name, self._board.now)
                self._pipeline.recall(subject)
        fresh = [one for one in rule.subjects.values() if one.condition is None]
        if rule.config.on_update_check:
            self._add(fresh, True)
        return effects

    def _end_silences(self) -> list[Effect]:
        effects: list[Effect] = []
        for silence in self._board.silences.ended(self._board.now.wall):
            effects.append(Persist("silence", silence.id, None))
            self.look_at_held()
        return effects

    def look_at_held(self) -> None:
        for rule in self._board.order:
            self._add((one for one in rule.subjects.values() if one.hold or one.recovering), False)

    # --- one look -----------------------------------------------------------------------------------------------------------

    def _look(self, rule: Rule, subject: Subject, asked: bool, effects: list[Effect]) -> None:
        board = self._board
        if rule.disabled:
            return
        if subject.asked_again and not subject.running:
            asked, subject.asked_again = True, False
        now, reads = board.now, board.views.reads
        if now.mono < subject.not_before:
            subject.asked_again = subject.asked_again or asked
            board.agenda.wake(subject, subject.not_before)
            return
        client = board.views.client(subject.name) if subject.name else None
        before = subject.condition
        try:
            reads.start(now.wall)
            value = rule.holds(board.views, client, self._guard)
            truth: Truth = value.truth
            recovered: Truth = truth is False
            if rule.has_recovery and truth is not True and subject.state in RAISED:
                recovered = rule.recovered(board.views, client, self._guard).truth
        except OverBudget:
            effects += self._pipeline.disable(rule, f"its expr ran for more than {rule.config.budget_s:g} s (budget_s)")
            return
        if rule.config.on_update_check:
            board.agenda.reads(subject, reads.seen)
        if reads.members > MEMBERS_FEW:
            subject.not_before = now.mono + reads.members / MEMBERS_PER_S
        among = reads.among if len(reads.among) <= AMONG_KEPT else dict(islice(reversed(reads.among.items()), AMONG_KEPT))
        subject.operands = (reads.seen.copy(), among.copy() if among else NONE, reads.results.copy() if reads.results else NONE)
        if value.error != subject.error:
            self._error(rule, subject, value.error, effects)
        subject.condition = truth
        wake = now.mono + reads.wake - now.wall + 0.001 if reads.wake != NEVER else NEVER
        if truth is False and before is False and subject.state is State.OK and not subject.recovering:
            board.agenda.wake(subject, wake)  # nothing can come of it; by far the most frequent case
            return
        self._judge(rule, subject, truth, recovered, before, Verdict(subject, asked, wake), effects)

    def _error(self, rule: Rule, subject: Subject, error: str, effects: list[Effect]) -> None:
        subject.error = error
        text = f"{subject}: {error}" if error else f"{subject}: its code works again"
        effects += self._board.say(rule, text, level="error" if error else "info", kind="trigger", subject=subject.name)

    def _judge(
        self,
        rule: Rule,
        subject: Subject,
        truth: Truth,
        recovered: Truth,
        before: Truth | None,
        verdict: Verdict,
        effects: list[Effect],
    ) -> None:
        """The change of state."""
        now, config = self._board.now, rule.config
        if type(truth) is Unknown and config.unknown != "hold":
            recovered = (recovered if rule.has_recovery else True) if config.unknown == "false" else False
            truth = config.unknown == "true"
        if type(truth) is not bool or not truth:
            subject.true_since = None
        elif subject.true_since is None:
            subject.true_since = now.mono
        flipped = type(before) is bool and before is not truth
        seen = self._seen(rule, subject, truth, recovered, flipped)
        verdict.true, verdict.had_fired = truth is True, subject.fired
        change = verdict.change = subject.become(seen, lambda: self._why(subject, truth, seen), now)
        if change is not None:
            self._changed(rule, subject, change, effects)
        subject.was_known = subject.was_known or type(truth) is bool
        if subject.state is State.PENDING and subject.true_since is not None and self._board.leading:
            verdict.wake = min(verdict.wake, subject.true_since + config.for_s)
        if subject.state is State.FLAPPING:
            calm = subject.changes[-(config.flap_limit // 2) - 1] + config.flap_window_s
            verdict.wake = min(verdict.wake, calm)
        self._judged.append(verdict)

    def _seen(self, rule: Rule, subject: Subject, truth: Truth, recovered: Truth, flipped: bool) -> Seen:
        board, config = self._board, rule.config
        if subject.state in RAISED:
            if truth is True or not board.leading:  # whether it recovered is the leader's to say
                return Seen.LASTING
            if type(recovered) is Unknown:
                return Seen.UNKNOWN
            if recovered:
                return Seen.FALSE
            return Seen.UNKNOWN if type(truth) is Unknown and not rule.has_recovery else Seen.LASTING
        if config.flap_limit and self._flaps(rule, subject, flipped):
            return Seen.FLAPPING
        if type(truth) is Unknown:
            return Seen.UNKNOWN
        if not truth:
            return Seen.FALSE
        if rule.parents and any(parent.blocks(subject.name) for parent in rule.parents):
            subject.true_since = None
            return Seen.BLOCKED
        assert subject.true_since is not None
        if not board.leading or board.now.mono < subject.true_since + config.for_s:
            return Seen.TRUE
        recent = sum(1 for at in subject.changes if at > board.now.mono - config.flap_window_s)
        return Seen.FLAPPING if config.flap_limit and recent + 1 >= config.flap_limit else Seen.LASTING

    def _flaps(self, rule: Rule, subject: Subject, flipped: bool) -> bool:
        """Still flapping: calm is when no more than half as many changes as the limit lie in the window."""
        if subject.state is not State.FLAPPING:
            return False
        now, config = self._board.now.mono, rule.config
        if flipped:
            subject.changes.append(now)
        return sum(1 for at in subject.changes if at > now - config.flap_window_s) > config.flap_limit // 2

    def _why(self, subject: Subject, truth: Truth, seen: Seen) -> str:
        if seen is Seen.FLAPPING:
            return f"{len(subject.changes)} changes lately"
        if seen is Seen.BLOCKED:
            return next(filter(None, (parent.blocks(subject.name) for parent in subject.rule.parents)), "")
        if type(truth) is Unknown:
            return truth.reason
        return firings.sentence(firings.operands(*subject.operands)) or ("true" if truth else "false")

    def _changed(self, rule: Rule, subject: Subject, change: tuple[State, State], effects: list[Effect]) -> None:
        old, new = change
        text = f"{subject}: {old} -> {new} ({subject.why})"
        loud = new in LOUD or old in LOUD
        if self._board.leading or loud:
            quiet = not loud and (not subject.was_known or {old, new} <= {State.OK, State.PENDING})
            effects += self._board.say(
                rule, text, level="debug" if quiet else "info", kind="trigger" if loud else "", subject=subject.name
            )
        for child in rule.children:
            same = child.subjects.get(subject.name)
            self._add((same,) if same is not None and subject.name else child.subjects.values(), False)

    # --- what follows -------------------------------------------------------------------------------------------------------

    def _follow(self, verdict: Verdict, effects: list[Effect]) -> float:
        """Fires what is due; returns when to try again."""
        subject = verdict.subject
        if not self._board.leading:
            return NEVER
        change = verdict.change
        if change is not None and change[0] in RAISED and change[1] is State.OK and verdict.had_fired:
            effects += self._pipeline.recovered(subject)
            subject.recovering = subject.rule.recovery_cmd is not None
        if subject.raised:
            subject.recovering = False
            due = not subject.fired
            if not verdict.true or not (due or (subject.rule.config.fire == "each" and verdict.asked)):
                return NEVER
            return self._start(subject, "cmd", due, effects)
        if subject.recovering:
            return self._start(subject, "recovery_cmd", True, effects)
        subject.hold = ""
        return NEVER

    def _start(self, subject: Subject, part: str, due: bool, effects: list[Effect]) -> float:
        """Starts the code, or says what holds it and when to try again."""
        held = hold(self._board, subject, part)
        if held is None:
            subject.hold = ""
            subject.recovering = False
            effects += self._pipeline.start(subject, part)
            return NEVER
        if held.kind in ("running", "pace"):
            subject.asked_again = True
            return held.until
        limit = held.kind in ("max_actions", "max_share")
        if (due or limit) and held.kind != subject.hold.partition(":")[0]:
            text = f"{subject}: {part if part != 'cmd' else 'firing'} held: {held.reason}"
            record = "trigger" if limit or held.kind == "silence" else ""
            effects += self._board.say(subject.rule, text, kind=record, subject=subject.name)
        subject.hold = f"{held.kind}: {held.reason}"
        return held.until if due else NEVER
