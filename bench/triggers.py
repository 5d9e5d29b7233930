"""Trigger x host evaluations a second on one core: `python -m bench.triggers [--hosts 2000] [--seconds 2]`.

`each`: the four rules below, each evaluated for each host, woken by changes of what it reads, as in a manager that takes
in readings. `fleet`: one expression goes through all hosts; an evaluation counts once per host. Both with the
time limit on. The cost of taking the reading into the farm is measured too and not counted.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from common.config.load import parse_triggers
from common.config.model import ManagerConfig
from common.protocol import Reading
from vmmanager.events import Moment
from vmmanager.state import Farm
from vmmanager.triggers.engine import Engine
from vmmanager.triggers.guard import TimeLimit

GOAL_PER_S = 50_000
WALL_S = 1_000_000_000.0

EACH = """
[load_high]
each = clients
expr = { client.load1 > 2 * client.cpus }
recovery = { client.load1 < client.cpus }
on_update_check = yes
[disk_full]
each = clients
expr = { client.disk_root > 90 and client.load1 < 50 }
on_update_check = yes
[httpd_down]
each = clients
expr = { client.httpd == "stopped" and not client.maintenance }
on_update_check = yes
[ram_low]
each = clients
expr = { avg(client, "ram_free", 300) < 1000 }
on_update_check = yes
"""

FLEET = {
    "any": "any(c.load1 > 90 for c in manager.clients.values())",
    "all": "not all(c.load1 < 90 and c.httpd == 'running' for c in manager.clients.values())",
    "avg": "avg(values(manager.clients, 'load1')) > 90",
    "alive": "any(c.age > 120 for c in manager.groups['mailers'].values())",
}


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    evaluations: int
    elapsed_s: float

    @property
    def per_s(self) -> float:
        return self.evaluations / self.elapsed_s


def farm_of(hosts: int) -> Farm:
    farm = Farm()
    for number in range(hosts):
        name = f"host{number}.example.org"
        farm.heard(name, f"#h{number}", WALL_S)
        farm.introduce(name, ("dom0", "mailers"), "", "", ())
        for prop, value in (("cpus", 8), ("load1", 1.5), ("disk_root", 40), ("httpd", "running"), ("maintenance", False)):
            farm.read(name, Reading(name=prop, value=value, ticks=60), WALL_S, 100, 86_400)
        for minute in range(10):
            farm.read(name, Reading(name="ram_free", value=500_000 + minute, ticks=60), WALL_S + minute, 100, 86_400)
    return farm


def each(hosts: int, seconds: float) -> Measured:
    """Rounds of readings: in each, every host tells a new load1, disk_root, httpd and ram_free, one host at a time."""
    farm, limit = farm_of(hosts), TimeLimit()
    engine = Engine(parse_triggers(EACH), ManagerConfig("m1", grace_s=0.0), Moment(WALL_S, 0.0), limit)
    engine.evaluate(farm, Moment(WALL_S + 10, 10.0), 0.0)
    names, done, elapsed, round_number = list(farm.clients), 0, 0.0, 0
    while elapsed < seconds:
        round_number += 1
        now = Moment(WALL_S + 10 + round_number, 10.0 + round_number)
        for name in names:
            for prop, value in (("load1", round_number % 7), ("disk_root", 41), ("httpd", "running"), ("ram_free", 500_000)):
                farm.read(name, Reading(name=prop, value=value, ticks=60), now.wall, 100, 86_400)
            began = perf_counter()
            engine.evaluate(farm, now, 0.0)
            elapsed += perf_counter() - began
            done += 4
    limit.close()
    return Measured("each, 4 triggers woken by 4 changes", done, elapsed)


def fleet(name: str, expression: str, hosts: int, seconds: float) -> Measured:
    """One piece of news, then an evaluation that goes through everybody."""
    text = f"[fleet]\nexpr = {{ {expression} }}\non_update_check = yes\n"
    farm, limit = farm_of(hosts), TimeLimit()
    engine = Engine(parse_triggers(text), ManagerConfig("m1", grace_s=0.0), Moment(WALL_S, 0.0), limit)
    engine.evaluate(farm, Moment(WALL_S + 10, 10.0), 0.0)
    done, elapsed, number = 0, 0.0, 0
    while elapsed < seconds:
        number += 1
        now = Moment(WALL_S + 10, 10.0 + number)  # the wall clock stands, so that nothing becomes stale
        farm.read("host0.example.org", Reading(name="load1", value=number % 7, ticks=60), now.wall + number / 1e6, 100, 86_400)
        began = perf_counter()
        engine.evaluate(farm, now, 0.0)
        elapsed += perf_counter() - began
        done += hosts
    subject = engine.subject("fleet")
    assert subject is not None
    assert subject.condition is False, subject.condition
    limit.close()
    return Measured(f"fleet, {name}: {expression}", done, elapsed)


def machine() -> str:
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def run(hosts: int, seconds: float, say: Callable[[str], None] = print) -> list[Measured]:
    say(f"# {machine()}; {hosts} hosts; one core used")
    results: list[Measured] = []
    for measured in [each(hosts, seconds), *(fleet(name, text, hosts, seconds) for name, text in FLEET.items())]:
        results.append(measured)
        each_us = 1e6 * measured.elapsed_s / measured.evaluations
        say(f"{measured.per_s:>12,.0f} evaluations/s   {each_us:6.2f} us   {measured.name}")
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time per line")
    asked = parser.parse_args()
    slowest = min(run(asked.hosts, asked.seconds), key=lambda one: one.per_s)
    print(f"slowest {slowest.per_s:,.0f}/s, goal {GOAL_PER_S:,}/s: {'reached' if slowest.per_s >= GOAL_PER_S else 'MISSED'}")
    return 0 if slowest.per_s >= GOAL_PER_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
