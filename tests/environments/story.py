"""The commands of the scenarios of environments: a farm in pretend time (farm.py), told by what its leader notes and answers.

farm HOSTS [MANAGERS]       so many hosts wn1.., one to three managers m1.., a head node; below: further keys, by section
  [sl4] min = 1
submit QUEUE COUNT LENGTH   jobs come in; `cancel QUEUE` takes those back that wait
wait SECONDS                time passes; what is noted is told
slots, mix, jobs            what is so: each slot; machines that are up and jobs, by environment; jobs killed or run twice
ask OP [JSON] [as WHO]      vmctl asks the leader
kill NAME, start NAME       a manager, or the client of a host or of the head node
crash HOST VM, power-off HOST    a machine dies; a host dies with all its machines
trouble KEY=VALUE ...       what goes wrong from now on (Trouble in farm.py)
drain NODE [REASON...]      an administrator drains a node by hand
rewrite, with keys below    other files, read again by all managers
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from common.config.model import ConfigurationError
from plugins.batch_sim_queue import SimNode
from tests.environments.farm import FILES, EnvWorld, configured
from vmmanager import events

QUIET = re.compile(r"vm \S+: (start|stop) on|vm \S+: \S+ -> ")
_STAMP = re.compile(r"\b10000\d{5}(\.\d+)?\b")


class Story:
    """One scenario being told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = EnvWorld(self._hear)
        self._said: list[str] = []
        self._call = 0

    def run(self, command: str, lines: list[str]) -> list[str]:
        self._said = []
        verb, *words = command.split(" ")
        getattr(self, f"_{verb.replace('-', '_')}")(words, lines)
        return self._said

    def _hear(self, who: str, effect: events.Effect) -> None:
        if isinstance(effect, events.Note) and effect.part in ("environments", "vms") and not QUIET.match(effect.text):
            self._said.append(f"{self.world.mono:.1f} {who}: {effect.text}")

    def _configured(self, lines: list[str]) -> None:
        keys = {"environments": "", "sl4": "", "sl5": ""}
        for line in lines:
            section, _, key = line.partition("] ")
            keys[section.strip("[")] += f"{key}\n"
        text = FILES.format(more=keys["environments"], sl4=keys["sl4"], sl5=keys["sl5"])
        gone = [name for name in ("sl4", "sl5") if "removed" in keys[name]]
        for name in gone:
            text = re.sub(rf"(?ms)^\[{name}\].*?(?=^\[|\Z)", "", text)
        self.config = configured(self.folder, text=text)

    def _farm(self, words: list[str], lines: list[str]) -> None:
        try:
            self._configured(lines)
        except ConfigurationError as wrong:
            self._said += [str(fault).replace(f"{self.folder}/", "") for fault in wrong.faults]
            return
        names = tuple(f"m{number}" for number in range(1, 1 + int(words[1] if len(words) > 1 else 1)))
        for name in names:
            self.world.add_env_manager(name, self.config, names if len(names) > 1 else ())
        self.world.add_head()
        for number in range(1, 1 + int(words[0])):
            self.world.add_host(f"wn{number}")
        self.world.settle()

    def _rewrite(self, words: list[str], lines: list[str]) -> None:
        self._configured(lines)
        self.world.configure_all(self.config.environments, self.config.vms)

    def _submit(self, words: list[str], lines: list[str]) -> None:
        self.world.submit(words[0], int(words[1]), float(words[2]))

    def _cancel(self, words: list[str], lines: list[str]) -> None:
        self.world.queue.jobs = [job for job in self.world.queue.jobs if not (job.queue == words[0] and job.waiting)]

    def _wait(self, words: list[str], lines: list[str]) -> None:
        self.world.wait(float(words[0]))

    def _slots(self, words: list[str], lines: list[str]) -> None:
        for row in self._asked("env-slots", {}):
            goes = f" for {row['target'] or 'nobody'}" if row["target"] is not None else ""
            self._said.append(
                f"{row['slot']}: {row['environment']}, {row['state']}{goes}{': ' + row['why'] if row['why'] else ''}"
            )

    def _mix(self, words: list[str], lines: list[str]) -> None:
        self._said.append(
            f"up: {', '.join(f'{name} {count}' for name, count in sorted(self.world.mix().items())) or 'nothing'}"
        )

    def _jobs(self, words: list[str], lines: list[str]) -> None:
        for queue in ("sl4", "sl5"):
            count = self.world.jobs(queue)
            self._said.append(f"{queue}: " + ", ".join(f"{number} {what}" for what, number in count.items()))
        if self.world.killed:
            self._said.append(f"killed: {', '.join(self.world.killed)}")

    def _ask(self, words: list[str], lines: list[str]) -> None:
        who, words = (words[-1], words[:-2]) if words[-2:-1] == ["as"] else ("alice", words)
        answer = self._asked(words[0], json.loads(" ".join(words[1:]) or "{}"), who)
        told = answer.get("lines") if isinstance(answer, dict) and "lines" in answer else None
        if told is not None:
            self._said += [*told, *([f"stands: {answer['stands']}"] if answer["stands"] else [])]
        else:
            rows = answer if isinstance(answer, list) else [answer]
            self._said += [_STAMP.sub("T", row if isinstance(row, str) else json.dumps(row)) for row in rows]

    def _asked(self, op: str, args: dict[str, Any], who: str = "alice") -> Any:
        call = self.world.ask(self.world.leader(), op, args, who)
        answer = self.world.replies.get(call, [{}])[-1]
        if "ok" not in answer:
            return []  # it goes on
        return answer["result"] if answer.get("ok") else f"{answer.get('code')}: {answer.get('error')}"

    def _kill(self, words: list[str], lines: list[str]) -> None:
        if words[0] in self.world.managers:
            self.world.kill_manager(words[0])
        else:
            self.world.kill_client(words[0])

    def _start(self, words: list[str], lines: list[str]) -> None:
        if words[0] in self.world.managers:
            self.world.start_manager(words[0])
        else:
            self.world.start_client(words[0])

    def _crash(self, words: list[str], lines: list[str]) -> None:
        self.world.crash(words[0], words[1])

    def _power_off(self, words: list[str], lines: list[str]) -> None:
        self.world.kill_host(words[0])

    def _trouble(self, words: list[str], lines: list[str]) -> None:
        for word in words:
            key, _, value = word.partition("=")
            setattr(self.world.trouble, key, _like(getattr(self.world.trouble, key), value))

    def _drain(self, words: list[str], lines: list[str]) -> None:
        self.world.queue.nodes[words[0]] = SimNode(drained=True, reason=" ".join(words[1:]))


def _like(old: object, value: str) -> object:
    """The value as the one that it replaces."""
    if isinstance(old, set):
        return set(filter(None, value.split(",")))
    if isinstance(old, int):
        return type(old)(int(value or 0))
    return value.replace("_", " ")
