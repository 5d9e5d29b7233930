"""The commands of the manager's scenarios: a farm in pretend time (world.py), told by what its managers note and answer.

manager NAME [key=value ...]      starts a manager; again after `kill`: from its store.  disk NAME ERROR...  its disk fails
client NAME [groups=a,b] [new] [slow=S] [property=value ...]      starts a client (new: nobody accepted its key)
kill NAME, start NAME, mute NAME, speak NAME, set NAME property=value, wait SECONDS, bus stop, bus start
rules, with INI text below        the triggers of all managers, also of later ones
ask MANAGER OP [JSON]             vmctl asks; `more` shows what else it was told since; `hang up` ends it
state MANAGER CLIENT, runs CLIENT, leader     what a manager holds, what a client really ran, who leads
"""

from __future__ import annotations

import json
import re
from typing import Any

from common.config.load import parse_triggers
from common.config.model import TriggerConfig
from common.protocol import Value
from tests.manager.world import EPOCH_S, World
from vmmanager import events

QUIET_PARTS = ("bus",)
_FINGERPRINT = re.compile(r"\b[0-9a-f]{4}(:[0-9a-f]{4}){7}\b")
_STAMP = re.compile(r"\b1000000\d{3,}\.\d+|\b10000\d{5,}\b")


class Story:
    """One scenario being told."""

    def __init__(self) -> None:
        self.world = World(self._hear)
        self._said: list[str] = []
        self._triggers: tuple[TriggerConfig, ...] = ()
        self._call = 0

    def run(self, command: str, lines: list[str]) -> list[str]:
        self._said = []
        verb, *words = command.split(" ")
        getattr(self, f"_{verb}")(words, lines)
        return [_stable(line) for line in self._said]

    def _hear(self, who: str, effect: events.Effect) -> None:
        at = f"{self.world.mono:.1f} {who}"
        if isinstance(effect, events.Note) and effect.part not in QUIET_PARTS and effect.level != "debug":
            self._said.append(f"{at}: {effect.text}")
        elif isinstance(effect, events.Notify):
            self._said.append(f"{at} notifies: {effect.text}")

    # --- who is there ---------------------------------------------------------------------------------------------------

    def _manager(self, words: list[str], lines: list[str]) -> None:
        name = words[0]
        if name in self.world.managers:
            self.world.start_manager(name)
        else:
            settings: dict[str, Any] = {key: float(value) for key, value in _pairs(words[1:]).items()}
            self.world.add_manager(name, self._triggers, **settings)

    def _client(self, words: list[str], lines: list[str]) -> None:
        name, settings = words[0], _pairs(words[1:])
        groups = tuple(filter(None, str(settings.pop("groups", "")).split(",")))
        slow_s = float(settings.pop("slow", 0))
        values: dict[str, Value] = {key: _value(value) for key, value in settings.items()}
        self.world.add_client(name, values, accepted="new" not in words, groups=groups)
        self.world.clients[name].slow_s = slow_s

    def _start(self, words: list[str], lines: list[str]) -> None:
        self.world.start_client(words[0])

    def _kill(self, words: list[str], lines: list[str]) -> None:
        if words[0] in self.world.managers:
            self.world.kill_manager(words[0])
        else:
            self.world.kill_client(words[0])

    def _mute(self, words: list[str], lines: list[str]) -> None:
        self.world.clients[words[0]].mute = True

    def _speak(self, words: list[str], lines: list[str]) -> None:
        self.world.clients[words[0]].mute = False

    def _set(self, words: list[str], lines: list[str]) -> None:
        values = self.world.clients[words[0]].values
        values.update({key: _value(value) for key, value in _pairs(words[1:]).items()})

    def _disk(self, words: list[str], lines: list[str]) -> None:
        self.world.managers[words[0]].disk_error = " ".join(words[1:])

    def _bus(self, words: list[str], lines: list[str]) -> None:
        if words[0] == "stop":
            self.world.stop_bus()
        else:
            self.world.start_bus()

    def _wait(self, words: list[str], lines: list[str]) -> None:
        self.world.wait(float(words[0]))

    def _rules(self, words: list[str], lines: list[str]) -> None:
        self._triggers = parse_triggers("\n".join(lines) + "\n", "rules")
        for name in self.world.managers:
            self.world.reconfigure(name, triggers=self._triggers)

    # --- what is asked --------------------------------------------------------------------------------------------------

    def _ask(self, words: list[str], lines: list[str]) -> None:
        manager, op, text = words[0], words[1], " ".join(words[2:])
        args: dict[str, Any] = json.loads(text or "{}")
        if "until" in args:
            args["until"] += EPOCH_S
        self._call = self.world.ask(manager, op, args)
        self._answers(self._call)

    def _more(self, words: list[str], lines: list[str]) -> None:
        self._answers(self._call)

    def _hang(self, words: list[str], lines: list[str]) -> None:
        for name in self.world.managers:
            self.world.tell(name, events.HungUp(self._call))

    def _answers(self, call: int) -> None:
        for body in self.world.replies.pop(call, []):
            self._said += _shown(body)

    def _state(self, words: list[str], lines: list[str]) -> None:
        core = self.world.managers[words[0]].core
        client = core.context.farm.clients.get(words[1]) if core else None
        if client is None:
            self._said.append(f"{words[0]} knows no {words[1]}")
            return
        self._said.append(f"{client.name}: {client.status}, groups {', '.join(client.groups) or '-'}")
        for name, known in sorted(client.properties.items()):
            past = [value for _, value in known.history]
            self._said.append(
                f"  {name} = {known.reading.value}{known.reading.error and ' error: '}{known.reading.error} {past}"
            )

    def _runs(self, words: list[str], lines: list[str]) -> None:
        self._said += [f"{words[0]} ran {execution}" for execution in self.world.clients[words[0]].runs]

    def _leader(self, words: list[str], lines: list[str]) -> None:
        self._said.append(f"{self.world.leader() or 'nobody'} leads")


def _pairs(words: list[str]) -> dict[str, Any]:
    return dict(word.split("=", 1) for word in words if "=" in word)


def _value(text: str) -> Value:
    try:
        value: Value = json.loads(text)
    except ValueError:
        return text
    return value


def _shown(body: dict[str, Any]) -> list[str]:
    if "more" in body:
        return [f"more {_json(body['more'])}"]
    if not body["ok"]:
        return [f"{body['code']}: {body['error']}"]
    result = body["result"]
    return [_json(row) for row in result] if isinstance(result, list) else [f"ok {_json(result)}"]


def _json(value: Any) -> str:
    return json.dumps(_rounded(value), default=str)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 2)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def _stable(line: str) -> str:
    """Without what is long and says nothing."""
    return _STAMP.sub("<time>", _FINGERPRINT.sub("<fingerprint>", line))
