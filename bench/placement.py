"""How long it takes to say where many VMs go: `python -m bench.placement [--vms 1000] [--hosts 50]`.

place_all puts all of them on empty hosts in one go, with every reason in words; then one host of the full farm is emptied on
paper. One core, no daemon; processor time, since it is all that is used.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from time import process_time

from bench.triggers import machine
from common.config.model import VmConfig, Where
from vmmanager.vms.evacuation import plan
from vmmanager.vms.placement import MIB, Room, after, place_all

GOAL_S = 1.0
GIB = 1024 * MIB
HOST_BYTES = 64 * GIB
HOST_CPUS = 32


def vm(number: int, **more: object) -> VmConfig:
    return VmConfig(f"vm{number:04d}", Where("vms.ini"), memory_bytes=GIB, vcpus=2, **more)  # type: ignore[arg-type]


def plain(number: int) -> VmConfig:
    return vm(number)


def apart(number: int) -> VmConfig:
    """Groups of five, no two of a group on one host."""
    group = f"group{number // 5}"
    return vm(number, group=group, anti_affinity=(group,))


def tied(number: int) -> VmConfig:
    """Threes that belong on one host."""
    return vm(number, affinity=(f"vm{number - number % 3:04d}",) if number % 3 else ())


FARMS: dict[str, Callable[[int], VmConfig]] = {
    "VMs without wishes": plain,
    "groups of 5, each kept apart": apart,
    "threes tied together": tied,
}


def measured(name: str, made: Callable[[int], VmConfig], vms: int, hosts: int, runs: int) -> float:
    """Seconds for all of them, the median of some runs."""
    definitions = {one.name: one for one in map(made, range(vms))}
    rooms = tuple(Room(f"host{n:02d}", "", HOST_BYTES, HOST_BYTES, HOST_CPUS, 0.0) for n in range(hosts))
    took, emptied = [], []
    for _ in range(runs):
        started = process_time()
        found = place_all(definitions.values(), definitions, rooms)
        took.append(process_time() - started)
        full = rooms
        for one, where in found.items():
            if where.host is None:
                raise SystemExit(f"{one} found no host: {where.why}")
            full = after(full, definitions[one], where.host)
        started = process_time()
        left = plan("host00", full[0].vms, definitions, full)
        emptied.append(process_time() - started)
    steps = len(left.steps)
    print(
        f"{name:<30} {median(took):>8.3f} s {min(took):>8.3f}..{max(took):.3f} {1e3 * median(took) / vms:>8.2f} ms each"
        f" {1e3 * median(emptied):>8.1f} ms to plan the evacuation of {steps}",
        flush=True,
    )
    return median(took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vms", type=int, default=1000)
    parser.add_argument("--hosts", type=int, default=50)
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    print(f"# {machine()}; {asked.vms} VMs, {asked.hosts} hosts; one core used")
    slowest = max(measured(name, made, asked.vms, asked.hosts, asked.runs) for name, made in FARMS.items())
    print(f"slowest {slowest:.2f} s, goal {GOAL_S:g} s: {'reached' if slowest <= GOAL_S else 'MISSED'}")
    return 0 if slowest <= GOAL_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
