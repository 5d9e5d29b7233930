"""One scenario being told: the farm is declared, then things happen to it; what is said is the log with pretend times.

docs/vmsim-failover.md lists the commands. The runner that sim/scenario.py calls is `Story().run`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from common.config.model import FailoverConfig, FenceConfig, VmsConfig, Where
from common.leases import faults
from sim.failover import operator
from sim.failover.happenings import VERBS, Wrong, happen, heal_all
from sim.failover.machine import MIB
from sim.failover.world import Plan, World, vm

WAIT_MAX_S = 86_400.0
READY_S = 60.0
MORE_KEPT = 40  # pieces of one answer that are shown
_EPOCH = re.compile(r"\b1000000\d{3}(\.\d+)?\b")


class ScenarioFault(Exception):
    """A line that means nothing."""


class Story:
    """`silent`: nothing is said, which is faster."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.plan = Plan(failover={"grace_s": 0.0})
        self.world: World | None = None
        self._said: list[str] = []
        self._zero = 0.0
        self._quiet = False
        self._vms: dict[str, Any] = {}

    def run(self, command: str, more: list[str]) -> list[str]:
        """What is said because of this command. Raises ScenarioFault."""
        self._said = []
        verb, *words = command.split()
        try:
            if verb in DECLARES:
                if self.world is not None:
                    raise Wrong(f"{verb}: the farm runs already")
                DECLARES[verb](self, words)
            elif verb in ASKS:
                ASKS[verb](self, words)
            else:
                happen(self._running(), verb, words)
                self._running().wait(0.0)
        except Wrong as wrong:
            raise ScenarioFault(f"{command}: {wrong}") from None
        return self._said

    def _log(self, at: float, who: str, text: str) -> None:
        if not self._quiet:
            self._say(f"{max(0.0, at - self._zero):.1f} {who}: {text}")

    def _say(self, line: str) -> None:
        self._said.append(_EPOCH.sub("<time>", line))

    def _running(self) -> World:
        """Nothing more is declared: the farm comes up."""
        if self.world is None:
            if wrong := faults(FailoverConfig(**self.plan.failover).terms):
                raise Wrong("; ".join(f"{key}: {why}" for key, why in wrong))
            self.plan.vms = tuple(self._vms.values())
            self.world = World(self.plan) if self.silent else World(self.plan, self._log)
            self.world.start()
        return self.world

    def begin(self) -> World:
        """The farm, which comes up now at the latest."""
        return self._running()

    def state(self, name: str) -> str:
        """What the leader says of a VM; with a reason."""
        machines = self._machines()
        if machines is None:
            return "nobody has authority"
        status = machines.status(name)
        return f"{status.state} ({status.why})"

    def excused(self, name: str) -> bool:
        """The leader knows that it does not run, and that it is an operator's turn."""
        machines = self._machines()
        record = machines.records.get(name) if machines is not None else None
        if record is None or machines is None:
            return False
        stays = record.wanted == "stopped" or record.held or record.failed or record.saved
        return bool(stays) and machines.status(name).state in ("stopped", "failed", "saved", "halted", "crashed", "paused")

    def _machines(self) -> Any:
        leaders = self._running().acting()
        core = self._running().managers[leaders[0]].core if leaders else None
        return core.machines if core is not None else None

    def _inspect(self, words: list[str]) -> None:
        """An operator goes and looks at a host; finds it without power, and says that it is dead."""
        world = self._running()
        if not world.hosts[words[0]].machine.on:
            self._vmctl(["host", "confirm-dead", words[0]])

    # --- the farm -------------------------------------------------------------------------------------------------------

    def _hosts(self, words: list[str]) -> None:
        """hosts NAME ... [memory=MIB] [watchdog=LEAST-MOST]: seconds that its watchdog can be set to; 0: there is none."""
        names, options = _split(words)
        settings: dict[str, Any] = {}
        if "memory" in options:
            settings["memory_mib"] = int(options["memory"])
        if "watchdog" in options:
            least, _, most = options["watchdog"].partition("-")
            settings["watchdog_s"] = (float(least), float(most or least))
        self.plan.hosts |= dict.fromkeys(names, settings)

    def _managers(self, words: list[str]) -> None:
        self.plan.managers = tuple(words)

    def _witness(self, words: list[str]) -> None:
        self.plan.witness = words[0]

    def _vm(self, words: list[str]) -> None:
        """vm NAME ... [plain] [stopped] [key=value]: as in vms.ini."""
        names, options = _split(words)
        more: dict[str, Any] = {}
        for word in ("plain", "stopped"):
            if word in names:
                names.remove(word)
                more |= {"protect": False} if word == "plain" else {"state": "stopped"}
        for key, value in options.items():
            more |= _vm_field(key, value)
        self._vms |= {name: vm(name, **more) for name in names}

    def _storage(self, words: list[str]) -> None:
        """Without words: there is a shared storage. With words it is something that happens."""
        self.plan.storage = True

    def _bus(self, words: list[str]) -> None:
        """bus notice=SECONDS: until it gives up a session whose link is cut."""
        _, options = _split(words)
        self.plan.notice_s = float(options["notice"])

    def _fence(self, words: list[str]) -> None:
        """fence NAME HOST ... [timeout=SECONDS]; the order is the order of levels."""
        (name, *hosts), options = _split(words)
        timeout_s = float(options.get("timeout", 30))
        device = FenceConfig(name, Where("fences.ini"), agent="fence_sim", hosts=tuple(hosts), timeout_s=timeout_s)
        self.plan.fences = (*self.plan.fences, device)

    def _settings(self, words: list[str]) -> None:
        """[failover] and [vms] of vmmanager.ini: key=value."""
        _, options = _split(words)
        known = {each.name for each in fields(FailoverConfig)}
        for key, value in options.items():
            name = next((each for each in (key, f"{key}_s") if each in known), None)
            if name is not None:
                self.plan.failover[name] = _value(value)
                continue
            name = next((each for each in (key, f"{key}_s") if each in {one.name for one in fields(VmsConfig)}), None)
            if name is None:
                raise Wrong(f"there is no key {key}")
            self.plan.orders = replace(self.plan.orders, **{name: _value(value)})

    # --- what is asked --------------------------------------------------------------------------------------------------

    def _wait(self, words: list[str]) -> None:
        seconds = float(words[0])
        if not 0 <= seconds <= WAIT_MAX_S:
            raise Wrong(f"{words[0]} s is no time to wait")
        self._running().wait(seconds)

    def _ready(self, words: list[str]) -> None:
        """Waits, quietly, until the farm stands; the time counts from here."""
        world, self._quiet = self._running(), True
        world.wait(float(words[0]) if words else READY_S)
        self._quiet, self._zero = False, world.now
        self._where([])

    def _where(self, words: list[str]) -> None:
        """Where each VM really runs."""
        world = self._running()
        for each in world.plan.vms:
            where = world.truth.running(each.name)
            self._say(f"{each.name} runs on {where}" if where else f"{each.name} runs nowhere")
        self._say(f"{' and '.join(world.acting()) or 'nobody'} has authority")

    def _vmctl(self, words: list[str]) -> None:
        world = self._running()
        manager = words.pop(0).removeprefix("@") if words and words[0].startswith("@") else ""
        op, args = operator.operation(words)
        call = world.ask(op, args, manager)
        world.wait(0.05)
        for body in world.answers(call)[:MORE_KEPT]:
            self._say(f"vmctl: {_shown(body)}")

    def _settle(self, words: list[str]) -> None:
        """Every fault ends; then the farm must come to rest with all that is wanted."""
        world = self._running()
        heal_all(world)
        world.wait(float(words[0]) if words else 120.0)
        missing = world.all_run()
        self._say("all that is wanted runs" if not missing else f"NOT RUNNING: {', '.join(missing)}")


def _split(words: list[str]) -> tuple[list[str], dict[str, str]]:
    return [word for word in words if "=" not in word], dict(word.split("=", 1) for word in words if "=" in word)


def _vm_field(key: str, value: str) -> dict[str, Any]:
    if key == "memory":
        return {"memory_bytes": int(value) * MIB}
    if key in ("hosts", "affinity", "anti_affinity", "start_after"):
        return {key: tuple(value.split(","))}
    if key in ("start_delay", "restart_window"):
        return {f"{key}_s": float(value)}
    if key in ("priority", "restart_max", "vcpus"):
        return {key: int(value)}
    if key in ("group", "restart"):
        return {key: value}
    raise Wrong(f"there is no key {key}")


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _shown(body: dict[str, Any]) -> str:
    if "more" in body:
        return _words(body["more"])
    return _words(body["result"]) if body.get("ok") else f"{body['code']}: {body['error']}"


def _words(value: Any) -> str:
    """A nested answer on one line, without what is empty."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items() if each not in (None, "", [], {}, False))
    if isinstance(value, (list, tuple)):
        return " ".join(f"[{_words(each)}]" if isinstance(each, (dict, list)) else _words(each) for each in value)
    return f"{value:.1f}" if isinstance(value, float) else str(value)


DECLARES: dict[str, Callable[[Story, list[str]], None]] = {
    "hosts": Story._hosts, "managers": Story._managers, "witness": Story._witness, "vm": Story._vm, "shared": Story._storage,
    "bus": Story._bus, "fence": Story._fence, "settings": Story._settings,
}  # fmt: skip
ASKS: dict[str, Callable[[Story, list[str]], None]] = {
    "wait": Story._wait, "ready": Story._ready, "where": Story._where, "vmctl": Story._vmctl, "settle": Story._settle,
    "inspect": Story._inspect,
}  # fmt: skip
COMMANDS = sorted({*DECLARES, *ASKS, *VERBS})
