"""A machine with a hypervisor: its domains, what commands do to them, its watchdog, its power. No daemon, no decision.

What runs here is the truth that the daemons only hear of; `Truth` counts it (truth.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from common.hypervisor import mark
from common.protocol import Value
from sim.failover.clocks import HostClock
from sim.failover.timeline import Timeline
from sim.failover.truth import Truth

MIB = 1024 * 1024
LIST_S = 0.05
BROKEN_OFF_S = 5.0  # a migration whose source is gone
NEVER = float("inf")
Done = Callable[[str, Value], None]  # (error, result)
State = Literal["running", "paused", "incoming", "dying", "crashed", "shutdown"]


@dataclass(slots=True)
class Pace:
    """How long the hypervisor takes, in seconds."""

    start_s: float = 1.0
    stop_s: float = 2.0
    destroy_s: float = 0.3
    migrate_s: float = 3.0
    save_s: float = 1.0
    boot_s: float = 20.0  # of the machine


@dataclass(slots=True)
class Dom:
    """`ours`: made by us. `moves_to`: the machine that it migrates to."""

    vm: str
    state: State
    memory_bytes: int
    ours: bool = True
    moves_to: str = ""


@dataclass(slots=True, eq=False)
class Watchdog:
    """`least_s`, `most_s`: what it can be set to; 0 and 0: there is none."""

    least_s: float = 1.0
    most_s: float = 60.0
    armed: bool = False
    timeout_s: float = 0.0
    fed: int = 0


@dataclass(slots=True, eq=False)
class Machine:
    """`on_reset`: its processes die now; `on_boot`: they start. `hung`: the system stands still, its domains run on."""

    name: str
    timeline: Timeline
    clock: HostClock
    truth: Truth
    memory_bytes: int
    on_reset: Callable[[], None]
    on_boot: Callable[[], None]
    reach: Callable[[str, str], Machine | None]  # the machine of this name, where the network lets us
    say: Callable[[str], None]
    pace: Pace = field(default_factory=Pace)
    watchdog: Watchdog = field(default_factory=Watchdog)
    domains: dict[str, Dom] = field(default_factory=dict)
    on: bool = True
    up: bool = True
    hung: bool = False
    slow_xl: bool = False  # the hypervisor's tools hang
    broken: str = ""  # starts fail, and why
    boots: int = 1  # as often it has been booted
    saved: dict[str, int] = field(default_factory=dict)  # VM whose memory lies on the disk -> its size
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    # --- power ----------------------------------------------------------------------------------------------------------

    def power_off(self, why: str = "power off") -> None:
        if self.on:
            self.on = False
            self._stop(why)

    def power_on(self) -> None:
        if not self.on:
            self.on = True
            self._boot()

    def reset(self, why: str) -> None:
        if self.on:
            self._stop(why)
            self._boot()

    def _stop(self, why: str) -> None:
        self.say(why)
        self.up = self.hung = self.slow_xl = False
        self.boots += 1
        self.watchdog.armed = False
        self.watchdog.fed += 1
        self._waiting.clear()
        for name in list(self.domains):
            self._remove(name, "power")
        self.on_reset()

    def _boot(self) -> None:
        boots = self.boots
        self.timeline.after(self.pace.boot_s, lambda: self._booted(boots))

    def _booted(self, boots: int) -> None:
        if self.on and self.boots == boots and not self.up:
            self.up = True
            self.clock.rebooted()
            self.say("has booted")
            self.on_boot()

    def hang(self) -> None:
        self.hung = True

    def unhang(self) -> None:
        self.hung = False
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            do()

    # --- the watchdog ---------------------------------------------------------------------------------------------------

    def arm(self, timeout_s: float) -> None:
        dog = self.watchdog
        dog.armed, dog.timeout_s = True, timeout_s
        self.feed()

    def feed(self) -> None:
        dog = self.watchdog
        dog.fed += 1
        fed = dog.fed
        self.timeline.after(dog.timeout_s / self.clock.rate, lambda: self._bites(fed))

    def release(self) -> None:
        self.watchdog.armed = False

    def _bites(self, fed: int) -> None:
        if self.watchdog.armed and self.watchdog.fed == fed and self.on:
            self.reset("its watchdog resets it")

    # --- domains --------------------------------------------------------------------------------------------------------

    def _add(self, vm: str, state: State, memory_bytes: int, *, ours: bool = True) -> Dom:
        dom = self.domains[vm] = Dom(vm, state, memory_bytes, ours)
        if state == "running":
            self.truth.runs(self.name, vm, ours=ours)
        return dom

    def _remove(self, vm: str, why: str) -> None:
        dom = self.domains.pop(vm, None)
        if dom is not None and dom.state in ("running", "dying", "paused"):
            self.truth.gone(self.name, vm, why, ours=dom.ours)

    def foreign(self, vm: str) -> None:
        """Somebody starts a domain of his own by hand."""
        self._add(vm, "running", 512 * MIB, ours=False)

    def guest(self, vm: str, state: Literal["crashed", "shutdown"]) -> None:
        """The guest ends by itself."""
        dom = self.domains.get(vm)
        if dom is not None and dom.state == "running":
            dom.state = state
            self.truth.gone(self.name, vm, state, ours=dom.ours)

    def free_bytes(self) -> int:
        return self.memory_bytes - sum(dom.memory_bytes for dom in self.domains.values())

    def listed(self) -> list[Value]:
        """As the reader `domains` tells it."""
        return [
            {
                "name": _native(dom), "uuid": mark(vm) if dom.ours else f"foreign-{vm}", "state": _word(dom),
                "memory_bytes": dom.memory_bytes, "vcpus": 1, "cpu_s": 0.0, "number": None, "ours": dom.ours, "note": "",
            }
            for vm, dom in sorted(self.domains.items())
        ]  # fmt: skip

    def info(self) -> Value:
        """As the reader `hypervisor` tells it."""
        return {
            "kind": "sim", "version": "1", "memory_bytes": self.memory_bytes, "memory_free_bytes": self.free_bytes(),
            "cpus": 8, "load": None,
        }  # fmt: skip

    # --- operations -----------------------------------------------------------------------------------------------------

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        """In this boot, and only while the system runs."""
        boots = self.boots

        def due() -> None:
            if self.boots != boots:
                return
            if self.hung or self.slow_xl:
                self._waiting.append(due)
            else:
                do()

        self.timeline.after(seconds, due)

    def tools_work(self, works: bool) -> None:
        self.slow_xl = not works
        if works and not self.hung:
            self.unhang()

    def run(self, command: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        """One of the commands on virtual machines. `goes_on`: does the worker that does it still live?"""
        vm = str(parameters.get("vm", ""))
        if command not in COMMANDS:
            done(f"{vm} on {self.name}: cannot do {command}", None)
            return
        COMMANDS[command](self, vm, parameters, done, goes_on)

    def _missing(self, vm: str) -> str:
        dom = self.domains.get(vm)
        if dom is None:
            return f"{vm} on {self.name}: there is no such domain"
        return "" if dom.ours else f"{vm} on {self.name}: the domain of this name is not ours, it was not touched"

    def _start(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        definition = parameters.get("definition") or {}
        memory_bytes = int(definition.get("memory_bytes") or 512 * MIB)

        def made() -> None:
            if not goes_on():
                return
            dom = self.domains.get(vm)
            if dom is not None and dom.ours and dom.state in ("crashed", "shutdown"):
                self._remove(vm, "cleared away")
            elif dom is not None:
                what = f"there is a domain of this name already, {dom.state}; nothing was started"
                done(
                    f"{vm} on {self.name}: {what if dom.ours else 'the domain of this name is not ours, it was not touched'}",
                    None,
                )
                return
            if self.broken:
                done(f"{vm} on {self.name}: {self.broken}", None)
                return
            if memory_bytes > self.free_bytes():
                done(f"{vm} on {self.name}: it does not fit", None)
                return
            self._add(vm, "running", memory_bytes)
            done("", {"domain": self.listed()[0], "image": ""})

        self.after(self.pace.start_s, made)

    def _end(self, vm: str, seconds: float, why: str, done: Done) -> None:
        missing = self._missing(vm)
        if missing:
            done(missing, None)
            return
        dom = self.domains[vm]

        def gone() -> None:
            if self.domains.get(vm) is dom:
                self._remove(vm, why)
            done("", {"ended": why})

        self.after(seconds, gone)

    def _shut_down(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        self._end(vm, self.pace.stop_s, "shutdown", done)

    def _destroy(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        self._end(vm, self.pace.destroy_s, "destroyed", done)

    def _reboot(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        self.after(0.2, lambda: done(self._missing(vm), {"domain": None}))

    def _pause(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        self._turn(vm, "running", "paused", done)

    def _unpause(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        self._turn(vm, "paused", "running", done)

    def _turn(self, vm: str, old: State, new: State, done: Done) -> None:
        def turned() -> None:
            missing = self._missing(vm)
            if not missing and self.domains[vm].state == old:
                self.domains[vm].state = new
            done(missing, {"domain": None})

        self.after(0.2, turned)

    def _save(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        missing = self._missing(vm)
        if missing:
            done(missing, None)
            return
        self.saved[vm] = self.domains[vm].memory_bytes
        self._end(vm, self.pace.save_s, "saved", done)

    def _restore(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        """The client of a host strikes out what is only for itself: nothing here tells that it is protected."""

        def restored() -> None:
            if not goes_on():
                return
            memory_bytes = self.saved.pop(vm, 0)
            if not memory_bytes or vm in self.domains:
                done(f"{vm} on {self.name}: there is no saved memory of it here", None)
                return
            self._add(vm, "running", memory_bytes)
            done("", {"domain": None})

        self.after(self.pace.save_s, restored)

    def destroy(self, native: str, done: Callable[[str], None]) -> None:
        """The guard's. `native`: the name as the hypervisor has it."""
        vm = native.partition("--")[0]
        dom = self.domains.get(vm)
        if dom is None or _native(dom) != native:
            self.after(LIST_S, lambda: done(""))
            return

        def gone() -> None:
            if self.domains.get(vm) is dom:
                self._remove(vm, "destroyed by the guard")
            done("")

        self.after(self.pace.destroy_s, gone)

    # --- migration ------------------------------------------------------------------------------------------------------

    def _migrate(self, vm: str, parameters: dict[str, Any], done: Done, goes_on: Callable[[], bool]) -> None:
        target = str(parameters.get("target", ""))
        missing = self._missing(vm)
        dom = self.domains.get(vm)
        if missing or dom is None or dom.state != "running":
            done(missing or f"{vm} on {self.name}: it does not run", None)
            return
        other = self.reach(self.name, target)
        if other is None or vm in other.domains or dom.memory_bytes > other.free_bytes():
            done(f"{vm} on {self.name}: {target} does not take it; it runs on here", None)
            return
        coming = other._add(vm, "incoming", dom.memory_bytes)
        dom.moves_to = target
        boots = other.boots

        def moved() -> None:
            here, there = self.domains.get(vm) is dom, other.boots == boots and other.domains.get(vm) is coming
            reached = self.reach(self.name, target) is other
            dom.moves_to = ""
            if here and there and reached and goes_on() and dom.state == "running" and not other.hung:
                self._remove(vm, f"moved to {target}")
                coming.state = "running"
                self.truth.runs(target, vm)
                done("", {"moved": "live"})
                return
            if there and coming.state == "incoming":
                other._remove(vm, "")
            if goes_on():
                done(f"{vm} on {self.name}: the migration to {target} failed; it {'runs on here' if here else 'is gone'}", None)

        def broken_off() -> None:
            """The target sees at last that nothing comes any more."""
            if other.domains.get(vm) is coming and coming.state == "incoming":
                other._remove(vm, "")

        self.after(self.pace.migrate_s, moved)
        other.after(self.pace.migrate_s + BROKEN_OFF_S, broken_off)


def _native(dom: Dom) -> str:
    return f"{dom.vm}--incoming" if dom.state == "incoming" else dom.vm


def _word(dom: Dom) -> str:
    return "running" if dom.state == "dying" else dom.state


COMMANDS: dict[str, Callable[[Machine, str, dict[str, Any], Done, Callable[[], bool]], None]] = {
    "vm-start": Machine._start,
    "vm-stop": Machine._shut_down,
    "vm-destroy": Machine._destroy,
    "vm-reboot": Machine._reboot,
    "vm-pause": Machine._pause,
    "vm-unpause": Machine._unpause,
    "vm-save": Machine._save,
    "vm-restore": Machine._restore,
    "vm-migrate": Machine._migrate,
}
