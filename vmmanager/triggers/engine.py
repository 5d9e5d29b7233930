"""The trigger engine: what changed in, what fires out. No clock, no thread, no process, no bus.

`now` comes with every call. The manager calls `evaluate` after every change and tick, carries out what is returned, and reports
back by `code_done`, `stored`, `heard` and `acted`. docs/design/0001 has a firing step by step, docs/triggers.md the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from common.config.model import ManagerConfig, TriggerConfig
from common.protocol import Value
from vmmanager.events import CodeDone, Moment, Note, Persist, RunCode, Stored
from vmmanager.state import Farm
from vmmanager.triggers import answers, code, firing, silences
from vmmanager.triggers.board import PART, Board
from vmmanager.triggers.effects import Answer, Effect
from vmmanager.triggers.pipeline import Pipeline
from vmmanager.triggers.rule import Guard, Rule, unguarded
from vmmanager.triggers.states import Subject
from vmmanager.triggers.watch import Watch

STATES_SHOWN = ("ok", "pending", "firing", "unknown", "flapping", "disabled")


class Engine:
    """All triggers of one manager. `settings` gives the manager's name, the managers, grace_s and stale_factor."""

    def __init__(
        self, triggers: tuple[TriggerConfig, ...], settings: ManagerConfig, now: Moment, guard: Guard = unguarded
    ) -> None:
        """`guard` limits the time of expressions (guard.py). Raises CodeFault; rule.faults() finds all faults before."""
        self._board = Board(settings, now)
        self._pipeline = Pipeline(self._board)
        self._watch = Watch(self._board, self._pipeline, guard)
        self.configure(triggers, settings, now)

    def configure(self, triggers: tuple[TriggerConfig, ...], settings: ManagerConfig, now: Moment) -> list[Effect]:
        """A reload: triggers whose section did not change keep their state, the others start afresh. Raises CodeFault, and
        then keeps what it had."""
        board = self._board
        fresh: dict[str, Rule] = {}
        for config in triggers:
            held = board.rules.get(config.name)
            fresh[config.name] = held if held is not None and held.config == config else Rule(config)
        old = board.rules
        board.arrange(fresh)
        board.settings, board.now = settings, now
        board.views.reads.stale_factor = settings.stale_factor
        effects: list[Effect] = []
        for name, rule in old.items():
            if fresh.get(name) is not rule:
                for subject in rule.subjects.values():
                    board.agenda.forget(subject)
                    board.look_again.pop(subject, None)
        for name, rule in fresh.items():
            if old.get(name) is not rule:
                board.bind(rule)
                self._inherit(rule)
                if old:
                    text = f"trigger {name}: {'changed' if name in old else 'new'}"
                    effects.append(Note(text, "info", PART))
        effects += [Note(f"trigger {name}: gone", "info", PART) for name in old if name not in fresh]
        self._watch.everything()
        return effects

    def _inherit(self, rule: Rule) -> None:
        """What outlives a change of the section: an operator's word, and the history with what cooldown and once need."""
        override = self._board.overrides.get(rule.name)
        if override is not None:
            rule.override_by(override)
        told = sorted((one for one in self._pipeline.firings.values() if one.trigger == rule.name), key=lambda one: one.at)
        for one in told:
            self._pipeline.remember(one)

    def restore(self, table: str, key: str, value: dict[str, Value]) -> list[Effect]:
        """One row of the tables trigger, firing, silence, from the store at start. Rows that are none of ours are noted."""
        try:
            if table == "firing":
                self._pipeline.restore(firing.from_row(value))
            elif table == "silence":
                self._board.silences.add(silences.from_row(value))
            elif table == "trigger":
                self._override(key, value)
        except ValueError as fault:
            return [Note(f"table {table}, {key}: {fault}; left out", "warning", PART)]
        return []

    def rows(self) -> Iterator[tuple[str, str, dict[str, Value]]]:
        """(table, key, value) of all that a joining standby must be given; it takes them by `learn`."""
        for silence in self._board.silences:
            yield "silence", silence.id, silence.row()
        for name, row in self._board.overrides.items():
            yield "trigger", name, row
        yield from self._pipeline.rows()

    def learn(self, table: str, key: str, value: dict[str, Value], now: Moment) -> list[Effect]:
        """One of the leader's `rows`, on a standby: kept and persisted."""
        verb = {"firing": "firing", "silence": "silence", "trigger": "trigger-enable"}.get(table, "")
        return self.heard(verb, {"firing": value} if verb == "firing" else value, False, False, now)

    def evaluate(self, farm: Farm, now: Moment, leading_since: float | None) -> list[Effect]:
        """Takes farm.take_changed(). `leading_since` is monotonic; None: a standby, nothing fires."""
        board = self._board
        board.now = now
        board.attach(farm)
        effects: list[Effect] = []
        was_leading, board.leading_since = board.leading, leading_since
        if board.leading and not was_leading:
            effects += self._pipeline.promoted()
            self._watch.everything()
        elif was_leading and not board.leading:
            effects += self._pipeline.demoted()
        return effects + self._watch.evaluate(farm.take_changed())

    def promoted(self, now: Moment) -> list[Effect]:
        """This manager leads from now on: acts again on firings that are told but not done, and looks at everything afresh.
        `evaluate` notices by itself when it is not called."""
        self._board.now = now
        if self._board.leading:
            return []
        self._board.leading_since = now.mono
        self._watch.everything()
        return self._pipeline.promoted()

    def code_done(self, done: CodeDone, now: Moment) -> list[Effect]:
        self._board.now = now
        return self._pipeline.code_done(done)

    def stored(self, stored: Stored, now: Moment) -> list[Effect]:
        """Tokens that are not ours are ignored."""
        self._board.now = now
        return self._pipeline.stored(stored)

    def heard(self, verb: str, arguments: dict[str, Value], own: bool, leading: bool, now: Moment) -> list[Effect]:
        """A CONTROL of the group `managers`: firing, fired, silence, unsilence, trigger-enable. Other verbs: nothing."""
        self._board.now = now
        try:
            if verb == "firing":
                return self._pipeline.heard_firing(arguments.get("firing"), own)
            if verb == "fired":
                return self._pipeline.heard_fired(arguments, own)
            if own:
                return []  # it was applied when it was asked for
            if verb == "silence":
                silence = silences.from_row(arguments)
                self._board.silences.add(silence)
                return [Persist("silence", silence.id, silence.row())]
            if verb == "unsilence":
                silence_id = str(arguments.get("id"))
                self._board.silences.remove(silence_id)
                self._watch.look_at_held()
                return [Persist("silence", silence_id, None)]
            if verb == "trigger-enable":
                name = str(arguments.get("name"))
                self._override(name, arguments)
                return [Persist("trigger", name, arguments)]
        except ValueError as fault:
            return [Note(f"CONTROL {verb} of another manager: {fault}; left out", "warning", PART)]
        return []

    def acted(self, firing: str, outcome: str, now: Moment) -> list[Effect]:
        """The wishes of Act were answered, or their deadlines passed. `outcome`: one sentence, "ok" when all went well."""
        self._board.now = now
        return self._pipeline.acted(firing, outcome)

    def next_wake(self) -> float | None:
        """The monotonic time at which evaluate must be called at the latest."""
        return self._watch.next_wake()

    def answer(self, op: str, args: dict[str, Any], who: str, farm: Farm, now: Moment) -> Answer:
        """triggers, trigger, trigger-enable, silence, silences, unsilence. That a standby refuses to change things is up to
        the manager, which knows who leads."""
        self._board.now = now
        self._board.attach(farm)
        return answers.answer(self._board, self._pipeline, self._watch, op, args, who)

    def subject(self, trigger: str, name: str = "") -> Subject | None:
        """One trigger on one client; name empty for a trigger without `each`."""
        rule = self._board.rules.get(trigger)
        return None if rule is None else rule.subjects.get(name)

    def subjects(self) -> Iterator[Subject]:
        """In the order of evaluation."""
        for rule in self._board.order:
            yield from rule.subjects.values()

    def why(self, subject: Subject) -> str:
        """Why it is, or is not, firing, in a sentence."""
        return answers.why(self._board, subject)

    def counts(self) -> dict[str, int]:
        """Triggers by state, for the operation status: total, ok, pending, firing, unknown, flapping, disabled."""
        states = Counter(rule.state()[0] for rule in self._board.order)
        return {"total": len(self._board.order), **{name: states[name] for name in STATES_SHOWN}}

    def run_code(self, run: RunCode, farm: Farm, now: Moment, clock: Callable[[], float] | None = None) -> CodeDone:
        """Call this in the forked child only: it runs the operator's Python. `clock` measures elapsed_s."""
        self._board.now = now
        self._board.attach(farm)
        rule = self._board.rules.get(run.trigger)
        if rule is None:
            return CodeDone(run.firing, (), (), f"there is no trigger {run.trigger} any more", False, 0.0)
        return code.run(rule, run, self._board.views, now, clock)

    def _override(self, name: str, row: dict[str, Value]) -> None:
        self._board.overrides[name] = row
        rule = self._board.rules.get(name)
        if rule is not None:
            rule.override_by(row)
            self._watch.everything()
