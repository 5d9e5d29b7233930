"""Managers that share a bus and hosts, in pretend time, for tests of takeovers: each engine has a farm and a disk of its own.

The bus delivers in one order to all that live. A manager can be killed after any number of its effects.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from common.config.model import ManagerConfig, TriggerConfig
from common.protocol import Reading
from vmmanager.events import Moment, Persist, RunCode, Stored
from vmmanager.state import Farm
from vmmanager.triggers.effects import Act, Effect, Tell
from vmmanager.triggers.engine import Engine

WALL_S = 1_000_000.0


@dataclass
class Node:
    """One manager."""

    name: str
    engine: Engine
    farm: Farm
    disk: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    alive: bool = True
    leading_since: float | None = None
    effects_left: int | None = None  # until it is killed
    acting: list[Act] = field(default_factory=list)


@dataclass
class World:
    """`acted`: (wall, manager, execution id, trigger, subject) of each wish that reached the bus."""

    triggers: tuple[TriggerConfig, ...]
    names: tuple[str, ...] = ("m1", "m2")
    grace_s: float = 0.0
    mono: float = 0.0
    answer_at_once: bool = True
    nodes: dict[str, Node] = field(default_factory=dict)
    bus: deque[tuple[str, Tell]] = field(default_factory=deque)
    acted: list[tuple[float, str, str, str, str]] = field(default_factory=list)
    ran: list[tuple[str, RunCode]] = field(default_factory=list)

    ran_at: list[float] = field(default_factory=list)  # monotonic times of `ran`

    def __post_init__(self) -> None:
        for name in self.names:
            self.start(name)

    @property
    def now(self) -> Moment:
        return Moment(WALL_S + self.mono, self.mono)

    def settings(self, name: str) -> ManagerConfig:
        return ManagerConfig(name, managers=self.names, grace_s=self.grace_s)

    def start(self, name: str) -> Node:
        """Also again, with what is on its disk."""
        old = self.nodes.get(name)
        node = Node(name, Engine(self.triggers, self.settings(name), self.now), Farm(), old.disk if old else {})
        for (table, key), value in sorted(node.disk.items()):
            node.engine.restore(table, key, value)
        self.nodes[name] = node
        for leader in self.living():
            if leader.leading_since is not None:
                for table, key, value in list(leader.engine.rows()):
                    self.carry_out(node, node.engine.learn(table, key, value, self.now))
        return node

    def lead(self, name: str) -> None:
        for node in self.nodes.values():
            node.leading_since = self.mono if node.name == name else None
        self.look()

    def kill(self, node: Node) -> None:
        node.alive, node.leading_since = False, None

    def tell(self, client: str, prop: str, value: Any, *, groups: tuple[str, ...] = ("g",)) -> None:
        """A reading reaches every manager. None: it failed."""
        error = "failed" if value is None else ""
        for node in self.living():
            node.farm.heard(client, f"#{client}", self.now.wall)
            node.farm.introduce(client, groups, "", "", ())
            node.farm.read(client, Reading(name=prop, value=value, error=error, ticks=0), self.now.wall, 100, 86_400)
        self.look()

    def living(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.alive]

    def advance(self, seconds: float) -> None:
        end = self.mono + seconds
        while True:
            wakes = [wake for node in self.living() if (wake := node.engine.next_wake()) is not None]
            soon = min([wake for wake in wakes if wake <= end], default=None)
            if soon is None:
                break
            self.mono = max(self.mono, soon) + 1e-6
            self.look()
        self.mono = max(self.mono, end)
        self.look()

    def look(self) -> None:
        for node in self.living():
            self.carry_out(node, node.engine.evaluate(node.farm, self.now, node.leading_since))
        while self.bus:
            sender, told = self.bus.popleft()
            for node in self.living():
                leading = node.leading_since is not None
                self.carry_out(node, node.engine.heard(told.verb, told.arguments, node.name == sender, leading, self.now))

    def carry_out(self, node: Node, effects: list[Effect]) -> None:
        pending = deque(effects)
        while pending:
            if node.effects_left is not None:
                node.effects_left -= 1
                if node.effects_left < 0:
                    self.kill(node)
            if not node.alive:
                return
            pending.extend(self._one(node, pending.popleft()))

    def _one(self, node: Node, effect: Effect) -> list[Effect]:
        if isinstance(effect, RunCode):
            self.ran.append((node.name, effect))
            self.ran_at.append(self.mono)
            return node.engine.code_done(node.engine.run_code(effect, node.farm, self.now), self.now)
        if isinstance(effect, Persist):
            if effect.value is None:
                node.disk.pop((effect.table, effect.key), None)
            else:
                node.disk[effect.table, effect.key] = effect.value
            return node.engine.stored(Stored(effect.token), self.now) if effect.token else []
        if isinstance(effect, Tell):
            self.bus.append((node.name, effect))
        if isinstance(effect, Act):
            for planned in effect.wishes:
                self.acted.append((self.now.wall, node.name, planned.execution, effect.trigger, effect.subject))
            if self.answer_at_once:
                return node.engine.acted(effect.firing, "ok", self.now)
            node.acting.append(effect)
        return []

    def executions(self, subject: str | None = None) -> set[str]:
        return {execution for _, _, execution, _, of in self.acted if subject in (None, of)}
