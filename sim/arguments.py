"""The command line of `vmsim`, and what its words mean: a plan, loads, policies. Simulates nothing."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from sim import synthetic
from sim.batch import Plan, own
from sim.swf import Trace
from vmmanager.environments.demand import Quota, Settings
from vmmanager.environments.policies import POLICIES, Static

SLOTS_MAX = 100_000
SHAKES_MAX = 1_000
LOADS_MAX = 20
SHOWN = Settings({"any": Quota()})  # the defaults


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        "vmsim", description="Simulates farms on a pretend clock, with the code that the daemons run."
    )
    commands = top.add_subparsers(dest="command", required=True)
    _failover(commands.add_parser("failover", help="plays a scenario of a farm: what dies, is cut off, comes back"))
    _chaos(
        commands.add_parser("chaos", help="random faults; after each step no protected VM runs twice, after the last all run")
    )
    batch = commands.add_parser(
        "batch",
        help="policies for environments on a trace of batch jobs",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _load_options(batch.add_argument_group("the load"))
    _farm_options(batch.add_argument_group("the farm"))
    _policy_options(batch.add_argument_group("the policies"))
    batch.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="of this machine, at work")
    batch.add_argument(
        "--out", type=Path, metavar="DIR", help="writes summary.csv, waits.csv, mix.csv; with matplotlib mix.png, waits.png"
    )
    return top


def _failover(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", type=Path, nargs="+", metavar="SCENARIO.txt")
    parser.add_argument("--rewrite", action="store_true", help="write what is said now into the files, instead of showing it")


def _chaos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="so many schedules")
    parser.add_argument("--start", type=int, default=1, metavar="S", help="the first of their numbers")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="of this machine, at work")
    parser.add_argument("--steps", type=int, default=12, metavar="N", help="faults in one schedule")
    parser.add_argument("--show", action="store_true", help="print each schedule as a scenario, and what came of it")


def _load_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--trace", type=Path, default=synthetic.PATH, metavar="FILE", help="in Standard Workload Format, may be gzipped"
    )
    group.add_argument(
        "--split",
        default="group",
        metavar="KEY[:N,...]",
        help="the column that tells the environment: user, group, executable, queue, partition; jobs of no N are `others`",
    )
    group.add_argument("--load", default="1", metavar="X,...", help="jobs come so many times as fast")
    group.add_argument("--shake", type=int, default=0, metavar="N", help="so many variants of the trace, shaken a little")


def _farm_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--hosts", type=int, default=10, metavar="N", help="which have VMs")
    group.add_argument("--slots", type=int, default=2, metavar="N", help="VMs on each host")
    group.add_argument("--cores", type=int, default=1, metavar="N", help="jobs in each VM at a time")
    group.add_argument(
        "--switch-s", type=float, default=SHOWN.switch_s, metavar="S", help="to stop a VM, start another, have it join"
    )
    group.add_argument("--tick-s", type=float, default=60.0, metavar="S", help="the manager looks so often")


def _policy_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--policy",
        default="all",
        metavar="NAME,...",
        help=f"all, or some of {', '.join(POLICIES)}; all are without static, which is `fixed, by share`",
    )
    group.add_argument(
        "--expr",
        default="",
        metavar="PYTHON",
        help="a policy of your own: the slots that `env` could use, such as 'env.waiting + env.running'",
    )
    group.add_argument(
        "--quota",
        action="append",
        default=[],
        metavar="NAME=MIN[-MAX]",
        help="slots of an environment, may be repeated; the least is 1 otherwise",
    )
    group.add_argument(
        "--dead-band", type=float, default=SHOWN.dead_band, metavar="SHARE", help="of the slots; smaller changes are not made"
    )
    group.add_argument(
        "--hold-s", type=float, default=SHOWN.hold_s, metavar="S", help="a slot serves so long before it is switched again"
    )
    group.add_argument("--switches-max", type=int, default=SHOWN.switches_max, metavar="N", help="slots on their way at a time")


def plan_of(wanted: argparse.Namespace, trace: Trace) -> Plan:
    """Raises ValueError, which names the option."""
    slots = wanted.hosts * wanted.slots
    if wanted.hosts < 1 or wanted.slots < 1 or not len(trace.environments) <= slots <= SLOTS_MAX:
        raise ValueError(f"{slots} slots: at least one for each of {len(trace.environments)} environments, at most {SLOTS_MAX}")
    if wanted.tick_s <= 0 or not 0 <= wanted.shake <= SHAKES_MAX or wanted.processes < 1 or wanted.cores < 1:
        raise ValueError(f"--tick-s must be above 0, --processes and --cores 1 or more, --shake 0 to {SHAKES_MAX}")
    quotas = dict(_quota(text, trace) for text in wanted.quota)
    if sum(quota.min for quota in quotas.values()) + len(trace.environments) - len(quotas) > slots:
        raise ValueError(f"--quota: the least of all environments together is more than the {slots} slots")
    settings = Settings({"any": Quota()}, wanted.dead_band, wanted.hold_s, wanted.switch_s, wanted.switches_max)
    return Plan(slots, wanted.cores, settings, quotas, wanted.tick_s, wanted.expr)


def policies(text: str, expression: str) -> list[str]:
    """Raises ValueError, or CodeFault for the expression."""
    names = [name for name in POLICIES if name != Static.name] if text == "all" else text.split(",")
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise ValueError(f"--policy {unknown[0]}: there are {', '.join(POLICIES)}")
    return [*names, own(expression).name] if expression else names


def _quota(text: str, trace: Trace) -> tuple[str, Quota]:
    name, _, bounds = text.partition("=")
    least, _, most = bounds.partition("-")
    if name not in trace.environments:
        raise ValueError(f"--quota {text}: there is no environment {name}, there are {', '.join(trace.environments)}")
    if not least.isdigit() or (most and not most.isdigit()):
        raise ValueError(f"--quota {text}: NAME=MIN or NAME=MIN-MAX is wanted")
    return name, Quota(int(least), int(most) if most else None)


def loads(text: str) -> list[float]:
    """Raises ValueError."""
    try:
        found = [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"--load {text}: numbers are wanted, such as 0.8,1,1.2") from None
    if len(found) > LOADS_MAX or not all(0 < load < float("inf") for load in found):
        raise ValueError(f"--load {text}: at most {LOADS_MAX} numbers above 0 are wanted")
    return found
