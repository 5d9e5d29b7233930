"""How long the manager thinks about environments: `python -m bench.environments [--hosts 1000] [--jobs 100000]`.

A manager's core with so many hosts, each with one slot, and so many jobs that wait. Measured: one whole look (the answers of
the batch system read, every slot looked at, the mix decided), and a look between two decisions. One core, no daemon; processor
time.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from statistics import median
from time import process_time

from bench.triggers import machine
from common.batch import JOBS, NODES, Demand, Node
from common.config.model import EnvironmentConfig, EnvironmentsConfig, ManagerConfig, VmConfig, Where
from common.protocol import Reading
from vmmanager.environments.policies import POLICIES
from vmmanager.environments.slots import Slot, State
from vmmanager.events import Moment
from vmmanager.manager import Manager

GOAL_S = 1.0
ENVIRONMENTS = 5
USERS = 100  # of each environment
RUNS = 5
HERE = Where("environments.ini")
NOW = Moment(1_000_000_000.0, 1_000.0)


def manager(hosts: int, policy: str) -> Manager:
    """It leads; every slot serves, and the environments have the same number of them."""
    names = [f"env{number}" for number in range(ENVIRONMENTS)]
    classes = EnvironmentsConfig(
        tuple(EnvironmentConfig(name, HERE, template="worker", queue=(name,)) for name in names),
        head=("head",), policy=policy, hold_s=0.0, switches_max=hosts,
    )  # fmt: skip
    worker = VmConfig("worker", HERE, memory_bytes=1 << 30, kernel="/boot/vmlinuz", template=True)
    made = Manager(ManagerConfig("m1", vms=(worker,), environments=classes), "00", NOW)
    farm = made.context.farm
    for number in range(hosts):
        host, name = f"wn{number:04d}", names[number % ENVIRONMENTS]
        farm.heard(host, f"#{host}#b", NOW.wall)
        farm.introduce(host, (), "1", "boot", ("vm",), "sim")
        domain = {"name": f"{name}-{host}", "state": "running", "memory_bytes": 1 << 30, "vcpus": 1, "ours": True, "note": ""}
        farm.read(host, Reading(name="domains", value=[domain], ticks=10.0), NOW.wall, 1, 60.0)
        slot = made.environments.book.slots[host] = Slot(host, name, NOW.wall, State.SERVING)
        made.environments.book.nodes[slot.name] = f"{name}-{host}"
    farm.heard("head", "#head#b", NOW.wall)
    made.machines.look(all_hosts=True)
    made.environments.promoted()
    return made


def tell(made: Manager, hosts: int, jobs: int, first: int) -> None:
    """The batch system's answers: environment `first` has most of the jobs."""
    share = [jobs // 2 if number == first else jobs // 2 // (ENVIRONMENTS - 1) for number in range(ENVIRONMENTS)]
    rows = [
        asdict(Demand(f"env{number}", "", "users", f"user{user}", share[number] // USERS, 1))
        for number in range(ENVIRONMENTS)
        for user in range(USERS)
    ]
    nodes = [asdict(Node(f"env{n % ENVIRONMENTS}-wn{n:04d}", "busy", 1, 1)) for n in range(hosts)]
    farm = made.context.farm
    for name, value in ((JOBS, rows), (NODES, nodes)):
        farm.read("head", Reading(name=name, value=value, ticks=10.0), NOW.wall + first, 1, 60.0)


def measured(policy: str, hosts: int, jobs: int) -> tuple[float, float]:
    """Seconds of a look with a decision, and of one without: the median of some runs."""
    whole, between = [], []
    for run in range(RUNS):
        made = manager(hosts, policy)
        tell(made, hosts, jobs, run % ENVIRONMENTS)
        now = NOW.wall + run
        made.context.now = replace(NOW, wall=now)
        started = process_time()
        made.environments.look(ticked=True)
        whole.append(process_time() - started)
        assert made.environments.plan is not None, made.environments.stands
        started = process_time()
        made.environments.look(ticked=True)
        between.append(process_time() - started)
    return median(whole), median(between)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1_000)
    parser.add_argument("--jobs", type=int, default=100_000)
    given = parser.parse_args()
    print(f"{machine()}; {given.hosts} hosts, {given.jobs} jobs wait; goal: a decision within {GOAL_S} s")
    for policy in POLICIES:
        whole, between = measured(policy, given.hosts, given.jobs)
        print(f"{policy:14} decision {whole * 1e3:7.1f} ms, a look between two {between * 1e3:6.1f} ms")


if __name__ == "__main__":
    main()
