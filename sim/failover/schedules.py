"""Random schedules of faults: a seed -> the lines of a scenario. The same seed gives the same lines, whatever the machine.

Some seeds that follow each other have the same farm, so that it needs to be brought up only once.
`plan` are declarations, `steps` what happens. Any subset of the steps is a schedule again, which is how one that fails is made
smaller.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

TERMS = (
    "settings lease=3 beat=1 stop=2 watchdog=3 storage_hold=3 authority=2 margin=0.5",
    "settings lease=4 beat=1 stop=1.5 watchdog=3 storage_hold=4 authority=1.5 margin=0.5",
    "settings lease=3 beat=0.8 stop=2 watchdog=4 storage_hold=3 authority=3 margin=0.2",
)
DRIFT_PERCENT = 0.5
SAME_FARM = 10  # seeds
FASTER = "settings grace=0 restart_delay=1 retry_delay=1 fence_retry=5"


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    plan: tuple[str, ...]
    steps: tuple[str, ...]

    def text(self) -> str:
        """As a scenario."""
        return "\n\n".join(["\n".join(self.plan), "\n".join(["ready", *self.steps]), "settle"]) + "\n"


def schedule(seed: int, steps: int) -> Schedule:
    plan, farm = _farm(random.Random(f"farm {seed // SAME_FARM}"))
    dice = random.Random(seed)
    farm = replace(farm, victim=dice.choice(farm.daemons))
    made: list[str] = []
    for _ in range(dice.randint(max(1, steps // 3), steps)):
        made.append(f"wait {_pause(dice):.2f}")
        made += dice.choices(DEEDS, WEIGHTS)[0](dice, farm)
    return Schedule(seed, plan, tuple(made))


@dataclass(frozen=True, slots=True)
class Farm:
    hosts: tuple[str, ...]
    managers: tuple[str, ...]
    vms: tuple[str, ...]
    devices: tuple[str, ...]
    storage: bool
    victim: str = ""  # every other fault strikes it: faults that come together on one machine are the ones that hurt

    @property
    def daemons(self) -> tuple[str, ...]:
        return (*self.hosts, *self.managers)

    def daemon(self, dice: random.Random) -> str:
        return self.victim if dice.random() < 0.5 else dice.choice(self.daemons)

    def host(self, dice: random.Random) -> str:
        return self.victim if self.victim in self.hosts and dice.random() < 0.5 else dice.choice(self.hosts)


def _farm(dice: random.Random) -> tuple[tuple[str, ...], Farm]:
    hosts = tuple(f"xen{number}" for number in range(1, dice.choice((2, 3, 3, 3, 4)) + 1))
    managers = tuple(f"m{number}" for number in range(1, dice.choice((1, 2, 2, 3, 3)) + 1))
    vms = tuple(f"v{number}" for number in range(1, dice.choice((1, 2, 2, 3, 4)) + 1))
    storage, fenced = dice.random() < 0.4, dice.random() < 0.4
    lines = [dice.choice(TERMS), FASTER]
    bare = dice.random() < 0.15  # the last host has no watchdog
    lines.append(f"hosts {' '.join(hosts[:-1] if bare else hosts)}")
    lines += [f"hosts {hosts[-1]} watchdog=0"] if bare else []
    lines.append(f"managers {' '.join(managers)}")
    lines += ["witness xen1"] if len(managers) == 2 else []
    lines += ["shared"] if storage else []
    lines.append(f"bus notice={dice.choice((0.5, 1, 3))}")  # who is given up late is declared dead late, whatever else is wrong
    devices = ("ipmi", "pdu")[: dice.randint(1, 2)] if fenced else ()
    lines += [f"fence {device} {' '.join(hosts)} timeout=4" for device in devices]
    lines.append(f"vm {' '.join(vms)} restart=always restart_max=0")
    return tuple(lines), Farm(hosts, managers, vms, devices, storage)


def _pause(dice: random.Random) -> float:
    """Mostly short: faults that come together are the ones that hurt."""
    return dice.choice((0.0, dice.uniform(0, 0.5), dice.uniform(0, 3), dice.uniform(0, 3), dice.uniform(2, 9)))


# --- what happens -------------------------------------------------------------------------------------------------------------


def _crash(dice: random.Random, farm: Farm) -> list[str]:
    name = farm.daemon(dice)
    part = dice.choice(("", " client", " guard", " client")) if name in farm.hosts else ""
    return [f"kill {name}{part}"]


def _restart(dice: random.Random, farm: Farm) -> list[str]:
    name = farm.daemon(dice)
    part = dice.choice((" client", " client", "")) if name in farm.hosts else ""
    return [f"restart {name}{part}"]


def _pause_one(dice: random.Random, farm: Farm) -> list[str]:
    name = farm.daemon(dice)
    part = dice.choice(("", " client", " guard")) if name in farm.hosts else ""
    return [f"pause {name}{part}", f"wait {dice.choice((dice.uniform(0, 2), dice.uniform(2, 12))):.2f}", f"resume {name}{part}"]


def _freeze(dice: random.Random, farm: Farm) -> list[str]:
    return [f"pause {farm.daemon(dice)}"]


def _resume(dice: random.Random, farm: Farm) -> list[str]:
    return [f"resume {farm.daemon(dice)}"]


def _hang(dice: random.Random, farm: Farm) -> list[str]:
    name = farm.host(dice)
    return [f"hang {name}", f"wait {dice.uniform(0, 8):.2f}", *([f"unhang {name}"] if dice.random() < 0.6 else [])]


def _cut(dice: random.Random, farm: Farm) -> list[str]:
    name, way = farm.daemon(dice), dice.choice(("", "", " out", " in"))
    healed = (
        [f"wait {dice.choice((dice.uniform(0, 3), dice.uniform(1, 12))):.2f}", f"heal {name}"] if dice.random() < 0.6 else []
    )
    return [f"cut {name}{way}", *healed]


def _heal(dice: random.Random, farm: Farm) -> list[str]:
    return [f"heal {farm.daemon(dice)}"]


def _split(dice: random.Random, farm: Farm) -> list[str]:
    one = [name for name in farm.daemons if dice.random() < 0.5]
    other = [name for name in farm.daemons if name not in one]
    if not one or not other:
        return ["heal bus"]
    return [
        f"cut {' '.join(one)} | {' '.join(other)}",
        *([f"wait {dice.uniform(0, 8):.2f}", "heal bus"] if dice.random() < 0.6 else []),
    ]


def _bus(dice: random.Random, farm: Farm) -> list[str]:
    return ["kill bus", f"wait {dice.choice((dice.uniform(0, 2), dice.uniform(1, 9))):.2f}", "restart bus"]


def _slow(dice: random.Random, farm: Farm) -> list[str]:
    name, part = farm.daemon(dice), dice.choice(("", " out", " bus", " bus"))
    seconds = dice.choice((dice.uniform(0.05, 0.6), dice.uniform(0.5, 4)))
    over = [f"wait {dice.uniform(1, 8):.2f}", f"slow {name} {0.001 if part == ' bus' else 0}{part}"]
    return [f"slow {name} {seconds:.2f}{part}", *(over if dice.random() < 0.7 else [])]


def _storage(dice: random.Random, farm: Farm) -> list[str]:
    if not farm.storage:
        return []
    name, state = farm.daemon(dice) if dice.random() < 0.9 else "all", dice.choice(("cut", "hangs", "stale", "full"))
    return [
        f"storage {name} {state}",
        *([f"wait {dice.uniform(0, 9):.2f}", f"storage {name} good"] if dice.random() < 0.6 else []),
    ]


def _cut_all(dice: random.Random, farm: Farm) -> list[str]:
    """Bus and storage, of one host."""
    name = farm.host(dice)
    return [f"cut {name}", f"storage {name} {dice.choice(('cut', 'hangs', 'stale'))}"]


def _cut_and_stand_still(dice: random.Random, farm: Farm) -> list[str]:
    """Before its lease is over, so that the watchdog alone ends what runs there."""
    name = farm.host(dice)
    still = dice.choice((f"hang {name}", f"pause {name}", f"pause {name} guard", f"kill {name} guard"))
    return [f"cut {name}", *([f"storage {name} cut"] if farm.storage else []), f"wait {dice.uniform(0.5, 4):.2f}", still]


def _drift(dice: random.Random, farm: Farm) -> list[str]:
    return [f"drift {name} {dice.choice((-DRIFT_PERCENT, 0.0, DRIFT_PERCENT)):+}%" for name in farm.daemons]


def _clock(dice: random.Random, farm: Farm) -> list[str]:
    return [f"clock {farm.daemon(dice)} {dice.uniform(-8, 8):+.1f}"]


def _disk(dice: random.Random, farm: Farm) -> list[str]:
    name = farm.daemon(dice)
    return [f"disk {dice.choice(('full', 'hangs', 'full'))} {name}", f"wait {dice.uniform(0, 6):.2f}", f"disk good {name}"]


def _power(dice: random.Random, farm: Farm) -> list[str]:
    if farm.devices and dice.random() < 0.5:
        return [f"power {dice.choice(farm.devices)} {dice.choice(('broken', 'dead', 'good'))}"]
    return [f"power {farm.host(dice)} {dice.choice(('off', 'on'))}"]


def _xl(dice: random.Random, farm: Farm) -> list[str]:
    name = farm.host(dice)
    return [f"xl {name} hangs", f"wait {dice.uniform(0, 8):.2f}", f"xl {name} works"]


def _start_fails(dice: random.Random, farm: Farm) -> list[str]:
    name = farm.host(dice)
    return [f"broken {name} no bridge", f"wait {dice.uniform(0, 8):.2f}", f"broken {name}"]


def _guest(dice: random.Random, farm: Farm) -> list[str]:
    return [f"guest {dice.choice(farm.vms)} {dice.choice(('crashes', 'ends'))}"]


def _foreign(dice: random.Random, farm: Farm) -> list[str]:
    return [f"foreign {farm.host(dice)} other{dice.randint(1, 3)}"]


def _between(dice: random.Random, farm: Farm) -> list[str]:
    one, other = dice.sample(farm.hosts, 2)
    return [f"{dice.choice(('cut', 'heal'))} {one} {other}"]


def _vmctl(dice: random.Random, farm: Farm) -> list[str]:
    vm, host = dice.choice(farm.vms), dice.choice(farm.hosts)
    return [f"vmctl vm {dice.choice((f'start {vm}', f'start {vm} --on={host}', f'stop {vm}', f'stop {vm} --now'))}"]


def _migrate(dice: random.Random, farm: Farm) -> list[str]:
    return [f"vmctl vm migrate {dice.choice(farm.vms)} {farm.host(dice)}", f"wait {dice.uniform(0, 3):.2f}"]


def _maintain(dice: random.Random, farm: Farm) -> list[str]:
    host = dice.choice(farm.hosts)
    words = (f"host maintenance {host} on", f"host maintenance {host} off", f"host evacuate {host}", f"host return {host}")
    return [f"vmctl {dice.choice(words)}"]


def _ha(dice: random.Random, farm: Farm) -> list[str]:
    return [f"vmctl ha {dice.choice(('disarm', 'arm', 'arm', 'confirm'))}"]


def _fence(dice: random.Random, farm: Farm) -> list[str]:
    return [f"vmctl host fence {farm.host(dice)}"]


def _inspect(dice: random.Random, farm: Farm) -> list[str]:
    return [f"inspect {farm.host(dice)}"]


Deed = Callable[[random.Random, Farm], list[str]]
_WEIGHED: tuple[tuple[int, Deed], ...] = (
    (8, _crash), (6, _restart), (6, _pause_one), (2, _freeze), (2, _resume), (4, _hang), (8, _cut), (3, _heal), (3, _split),
    (4, _bus), (6, _slow), (5, _storage), (3, _cut_all), (5, _cut_and_stand_still), (3, _drift), (1, _clock),
    (2, _disk), (3, _power), (2, _xl), (1, _start_fails), (1, _guest), (1, _foreign), (1, _between), (4, _vmctl),
    (5, _migrate), (3, _maintain), (1, _ha), (1, _fence), (2, _inspect),
)  # fmt: skip
WEIGHTS = tuple(weight for weight, _ in _WEIGHED)
DEEDS = tuple(deed for _, deed in _WEIGHED)
