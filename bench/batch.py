"""A year of jobs through every policy of `vmsim batch`: `python -m bench.batch [--trace FILE --split KEY:N --hosts N]`.

Without a trace: a made-up year of 230,000 jobs (sim/synthetic.py) on a farm of 20 hosts with 2 slots each.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from time import perf_counter

from sim import arguments, synthetic
from sim.batch import REFERENCES, result, tasks
from sim.swf import Trace, parse, parse_split, read

GOAL_S = 60.0
DAYS, SCALE = 365, 2.02  # 230,000 jobs


def year() -> Trace:
    return parse("a made-up year", synthetic.text(DAYS, SCALE).splitlines(), parse_split("group"))


def main() -> None:
    words = argparse.ArgumentParser(description="A year of jobs through every policy of vmsim batch.")
    words.add_argument("--trace", type=Path)
    words.add_argument("--split", default="group")
    words.add_argument("--hosts", default="20")
    wanted = words.parse_args()
    trace = read(wanted.trace, parse_split(wanted.split)) if wanted.trace else year()
    plan = arguments.plan_of(arguments.parser().parse_args(["batch", "--hosts", wanted.hosts]), trace)
    print(
        f"\n{trace.name}, {len(trace.jobs):,} jobs, {plan.slots} slots, one process; "
        f"{platform.machine()}, {os.cpu_count()} cores"
    )
    print(f"{'':<16} {'seconds':>8} {'mean wait s':>12} {'switches':>9} {'killed':>7}")
    began = perf_counter()
    for task in tasks([*REFERENCES, *arguments.policies("all", "")], [1.0], 0):
        start = perf_counter()
        found = result(trace, plan, task).figures
        took = perf_counter() - start
        print(
            f"{task.contender:<16} {took:>8.1f} {found.waits.mean_s:>12.0f} {found.switches:>9} {found.killed:>7}", flush=True
        )
    print(f"{'all':<16} {perf_counter() - began:>8.1f}   goal: {GOAL_S:.0f}")


if __name__ == "__main__":
    main()
