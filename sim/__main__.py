"""`vmsim`: simulators of whole farms. `vmsim batch` shows what the policies for environments would do on a trace of jobs,
`vmsim failover` and `vmsim chaos` what becomes of a farm when its parts fail."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from common.config.model import ConfigurationError
from sim import arguments, chaos, scenario, table
from sim.batch import REFERENCES, Done, Plan, results, tasks
from sim.failover.story import ScenarioFault, Story
from sim.farm import Starved
from sim.plots import draw
from sim.swf import Trace, TraceFault, parse_split, read

WIDTH = 240  # of what goes into a file or a pipe


def main(words: list[str] | None = None) -> int:
    wanted = arguments.parser().parse_args(words)
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    try:
        if wanted.command == "failover":
            return failover(wanted)
        if wanted.command == "chaos":
            return chaos.run(wanted.start, wanted.seeds, wanted.steps, wanted.processes, show=wanted.show)
        batch(wanted, screen)
    except (TraceFault, ConfigurationError, Starved, ScenarioFault, ValueError, OSError) as fault:
        print(f"vmsim: {fault}", file=sys.stderr)
        return 2
    return 0


def failover(wanted: argparse.Namespace) -> int:
    """1: a VM ran twice in one of them. Raises ScenarioFault, OSError."""
    code = 0
    for path in wanted.scenario:
        story = Story()
        try:
            told = scenario.tell(path.read_text(encoding="utf-8"), story.run)
        except ScenarioFault as fault:
            raise ScenarioFault(f"{path}: {fault}") from None
        if wanted.rewrite:
            path.write_text(told, encoding="utf-8")
        else:
            sys.stdout.write(told)
        for wrong in story.world.faults if story.world else ():
            print(f"vmsim: {path}: {wrong}", file=sys.stderr)
            code = 1
    return code


def batch(wanted: argparse.Namespace, screen: Console) -> None:
    """Raises TraceFault, ConfigurationError, Starved, ValueError, OSError."""
    loads = arguments.loads(wanted.load)
    contenders = [*REFERENCES, *arguments.policies(wanted.policy, wanted.expr)]
    trace = read(wanted.trace, parse_split(wanted.split))
    plan = arguments.plan_of(wanted, trace)
    done = list(results(trace, plan, tasks(contenders, loads, wanted.shake), wanted.processes))
    screen.print(f"{trace.name}: {len(trace.jobs)} jobs, {trace.skipped} lines of jobs that never ran left out")
    for load in loads:
        screen.print(f"\nload {load:g}, {plan.slots} slots of {plan.jobs_per_slot} jobs, {plan.settings.switch_s:g} s a switch")
        table.show_runs(screen, _plain(done, load), trace.environments)
    if wanted.shake:
        screen.print(f"\nover the trace and {wanted.shake} shaken variants of it")
        table.show_variants(screen, done)
    if wanted.out:
        table.write(wanted.out, done, trace.environments)
        _draw(wanted.out, _plain(done, loads[0]), trace, plan)


def _plain(done: list[Done], load: float) -> list[Done]:
    """Of the trace as it is."""
    return [one for one in done if one.task.load == load and not one.task.shake]


def _draw(folder: Path, done: list[Done], trace: Trace, plan: Plan) -> None:
    try:
        draw(folder, done, trace.environments, plan.slots)
    except ImportError:
        print("vmsim: no plots, because matplotlib is not installed (pip install matplotlib)", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
