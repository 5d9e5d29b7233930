"""The trigger engine: what changed in, what fires out. No clock, no thread, no process, no bus.

`now` comes with every call. The manager calls `evaluate` after every change and tick, carries out what is returned, and
reports back by `code_done`, `stored`, `heard` and `acted`. docs/design/0001 has a firing step by step, docs/triggers.md the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common.config.model import ManagerConfig, TriggerConfig
from common.protocol import Value
from vmmanager.events import CodeDone, Moment, RunCode, Stored
from vmmanager.state import Farm
from vmmanager.triggers.effects import Answer, Effect


class Engine:
    """All triggers of one manager. `settings` gives the manager's name, grace_s, stale_factor."""

    def __init__(self, triggers: tuple[TriggerConfig, ...], settings: ManagerConfig, now: Moment) -> None:
        raise NotImplementedError

    def configure(self, triggers: tuple[TriggerConfig, ...], settings: ManagerConfig, now: Moment) -> list[Effect]:
        """A reload: triggers whose section did not change keep their state, the others start afresh."""
        raise NotImplementedError

    def restore(self, table: str, key: str, value: dict[str, Value]) -> None:
        """One row of the tables trigger, firing, silence: from the store at start, or from the leader."""
        raise NotImplementedError

    def rows(self) -> Iterator[tuple[str, str, dict[str, Value]]]:
        """(table, key, value) of all that a joining standby must be given."""
        raise NotImplementedError

    def evaluate(self, farm: Farm, now: Moment, leading_since: float | None) -> list[Effect]:
        """Takes farm.take_changed(). `leading_since` is monotonic; None: a standby, nothing fires."""
        raise NotImplementedError

    def promoted(self, now: Moment) -> list[Effect]:
        """This manager leads from now on: acts again on firings that are told but not done, and looks at everything afresh."""
        raise NotImplementedError

    def code_done(self, done: CodeDone, now: Moment) -> list[Effect]:
        raise NotImplementedError

    def stored(self, stored: Stored, now: Moment) -> list[Effect]:
        """Tokens that are not ours are ignored."""
        raise NotImplementedError

    def heard(self, verb: str, arguments: dict[str, Value], own: bool, leading: bool, now: Moment) -> list[Effect]:
        """A CONTROL of the group `managers`: firing, fired, silence, unsilence, trigger-enable. Other verbs: nothing."""
        raise NotImplementedError

    def acted(self, firing: str, outcome: str, now: Moment) -> list[Effect]:
        """The wishes of Act were answered, or their deadlines passed. `outcome`: one sentence, "ok" when all went well."""
        raise NotImplementedError

    def next_wake(self) -> float | None:
        """The monotonic time at which evaluate must be called at the latest."""
        raise NotImplementedError

    def answer(self, op: str, args: dict[str, Any], who: str, farm: Farm, now: Moment) -> Answer:
        """triggers, trigger, trigger-enable, silence, silences, unsilence. That a standby refuses to change things is up
        to the manager, which knows who leads."""
        raise NotImplementedError

    def run_code(self, run: RunCode, farm: Farm, now: Moment) -> CodeDone:
        """Call this in the forked child only: it runs the operator's Python."""
        raise NotImplementedError
