"""Scenario files: commands in, what was said below `----`, in pretend time. Knows the engine only through Rehearsal.

rules FILE...        files below conf/examples/cookbook; or INI text in the lines that follow. `grace=30` sets the manager's
play                 samples as vmmanager/triggers/trial.py has them, one a line
why TRIGGER [CLIENT] the state and the reason
ask OP JSON          an operator's request; `until` counts from the story's beginning
outcome TEXT         what the wishes of later firings come to
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config.load import load_triggers, parse_triggers
from common.config.model import ConfigurationError, ManagerConfig
from vmmanager.events import Moment, Note, Notify, Wish
from vmmanager.triggers.effects import Act, Effect
from vmmanager.triggers.rule import faults
from vmmanager.triggers.trial import EPOCH_S, Rehearsal, parse_samples

COOKBOOK = Path(__file__).resolve().parents[2] / "conf" / "examples" / "cookbook"


@dataclass
class Story:
    """One scenario file being told."""

    said: list[str] = field(default_factory=list)
    rehearsal: Rehearsal | None = None
    outcome: str = "ok"

    def run(self, command: str, lines: list[str]) -> list[str]:
        self.said = []
        verb, _, rest = command.partition(" ")
        getattr(self, f"_{verb}")(rest.strip(), lines)
        return self.said

    def _rules(self, rest: str, lines: list[str]) -> None:
        words = rest.split()
        grace = next((float(word[6:]) for word in words if word.startswith("grace=")), 0.0)
        files = [COOKBOOK / word for word in words if "=" not in word]
        try:
            triggers = load_triggers(*files) if files else parse_triggers("\n".join(lines) + "\n", "rules")
        except ConfigurationError as fault:
            self.said += str(fault).splitlines()
            return
        wrong = faults(triggers)
        if wrong:
            self.said += [str(fault) for fault in wrong]
            return
        settings = ManagerConfig("m1", grace_s=grace)
        if self.rehearsal is None:
            self.rehearsal = Rehearsal(triggers, settings, on_effect=self._hear, outcome=lambda act: self.outcome)
        else:
            for effect in self.rehearsal.engine.configure(triggers, settings, self.rehearsal.now):
                self._hear(self.rehearsal.now, effect)
        self.said.append(f"{len(triggers)} trigger{'s' * (len(triggers) != 1)}: {', '.join(one.name for one in triggers)}")

    def _play(self, rest: str, lines: list[str]) -> None:
        assert self.rehearsal is not None
        self.rehearsal.play(parse_samples("\n".join(lines)))

    def _why(self, rest: str, lines: list[str]) -> None:
        assert self.rehearsal is not None
        name, _, client = rest.partition(" ")
        subject = self.rehearsal.engine.subject(name, client)
        self.said.append(f"{subject.state}; {self.rehearsal.engine.why(subject)}" if subject else "no such trigger or client")

    def _ask(self, rest: str, lines: list[str]) -> None:
        assert self.rehearsal is not None
        op, _, text = rest.partition(" ")
        args: dict[str, Any] = json.loads(text or "{}")
        if "until" in args:
            args["until"] += EPOCH_S
        answer = self.rehearsal.engine.answer(op, args, "alice", self.rehearsal.farm, self.rehearsal.now)
        self.rehearsal.carry_out(answer.effects)
        if op == "triggers":
            self.said += [f"{row['name']}: {row['state']} ({row['why']})" for row in answer.body["result"]]
        if not answer.body["ok"]:
            self.said.append(f"{answer.body['code']}: {answer.body['error']}")

    def _outcome(self, rest: str, lines: list[str]) -> None:
        self.outcome = rest

    def _hear(self, now: Moment, effect: Effect) -> None:
        at = f"{now.mono:5.0f} s  "
        if isinstance(effect, Note) and effect.level != "debug":
            self.said.append(at + ("" if effect.level == "info" else f"{effect.level}: ") + effect.text)
        elif isinstance(effect, Notify):
            self.said.append(f"{at}notify ({effect.severity}): {effect.text}")
        elif isinstance(effect, Act):
            self.said += [f"{at}{_wish(planned.wish)}" for planned in effect.wishes]


def _wish(wish: Wish) -> str:
    whom = ", ".join(wish.targets) or "all clients"
    arguments = dict(wish.arguments)
    what = " ".join(str(arguments.pop(key)) for key in ("command", "verb", "vm") if key in arguments)
    arguments.pop("timeout_s", None)
    detail = arguments.pop("parameters", None) or arguments.pop("arguments", None) or arguments.get("names") or ""
    return f"{wish.verb} {what}{' ' if what and detail else ''}{detail or ''} -> {whom}".replace("  ", " ")


def tell(text: str) -> str:
    """The file again, with what is said now. Raises ValueError for what is no scenario."""
    story, out = Story(), []
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        line = lines[place]
        if not line.strip() or line.startswith("#"):
            out.append(line)
            place += 1
            continue
        start = place
        while lines[place] != "----":
            place += 1
            if place == len(lines):
                raise ValueError(f"line {start + 1}: no ---- after {line!r}")
        out += lines[start : place + 1]
        out += story.run(lines[start], lines[start + 1 : place])
        while place < len(lines) and lines[place].strip():
            place += 1
    return "\n".join(out).rstrip() + "\n"
