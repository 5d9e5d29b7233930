"""The experiment behind `vmsim batch`: every contender on every variant of a trace, in several processes. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from common.config.model import Code, Where
from sim.farm import Farm, Run
from sim.figures import Figures, figures, reference
from sim.reference import BestSplit, fifo, level, shares, split
from sim.shaking import loaded, shaken
from sim.swf import Trace
from vmmanager.environments.demand import Policy, Quota, Settings
from vmmanager.environments.expression import Expression
from vmmanager.environments.policies import POLICIES, Static
from vmmanager.environments.quotas import Bounds, apportioned

FREE, FREE_LEVEL, BEST, SHARE = "free, one queue", "free, level", "fixed, best", "fixed, by share"
REFERENCES = (FREE, FREE_LEVEL, BEST, SHARE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. `quotas`: min and max of the environments that have any; `settings` are without quotas."""

    slots: int
    jobs_per_slot: int
    settings: Settings
    quotas: Mapping[str, Quota]
    tick_s: float
    expression: str = ""


class Task(NamedTuple):
    load: float
    shake: int
    contender: str


class Done(NamedTuple):
    task: Task
    figures: Figures


def tasks(contenders: list[str], loads: list[float], shakes: int) -> list[Task]:
    return [Task(*each) for each in product(loads, range(shakes + 1), contenders)]


def results(trace: Trace, plan: Plan, wanted: list[Task], processes: int) -> Iterator[Done]:
    """In the order of `wanted`. Raises Starved, or CodeFault for the expression."""
    if processes == 1 or len(wanted) == 1:
        yield from (result(trace, plan, task) for task in wanted)
        return
    with ProcessPoolExecutor(min(processes, len(wanted)), initializer=_given, initargs=(trace, plan)) as pool:
        yield from pool.map(_one, wanted)


def result(trace: Trace, plan: Plan, task: Task) -> Done:
    variant = loaded(shaken(trace, task.shake), task.load)
    return Done(task, figures(variant, _run(variant, plan, task.contender), plan.slots * plan.jobs_per_slot))


def by_share(trace: Trace, slots: int) -> tuple[int, ...]:
    """Slots in proportion to the work of each environment, at least one."""
    names = list(trace.environments)
    limits = Bounds(dict.fromkeys(names, 1), dict.fromkeys(names, slots), slots)
    return tuple(apportioned(dict(zip(names, shares(trace), strict=True)), limits).values())


def _run(trace: Trace, plan: Plan, contender: str) -> Run:
    places = plan.slots * plan.jobs_per_slot
    if contender == FREE:
        return reference(trace, fifo(trace.jobs, places))
    if contender == FREE_LEVEL:
        return reference(trace, level(trace, places))
    if contender in (BEST, SHARE):
        slots = by_share(trace, plan.slots)
        if contender == BEST:
            slots = BestSplit(trace, plan.slots, plan.jobs_per_slot).find(slots)
        return reference(trace, split(trace, slots, plan.jobs_per_slot), slots)
    settings = replace(plan.settings, quotas=_quotas(trace, plan))
    policy = _policy(contender, plan)
    initial = by_share(trace, plan.slots) if policy.name == Static.name else _even(plan.slots, len(trace.environments))
    return Farm(trace.jobs, trace.environments, initial, policy, settings, plan.tick_s).simulate()


def _quotas(trace: Trace, plan: Plan) -> dict[str, Quota]:
    return {
        name: replace(plan.quotas.get(name, Quota(min=1)), share=share, jobs_per_slot=plan.jobs_per_slot)
        for name, share in zip(trace.environments, shares(trace), strict=True)
    }


def _policy(contender: str, plan: Plan) -> Policy:
    if contender == Expression.name:
        return Expression(Code(plan.expression, Where("--expr", 1, "", "")))
    return POLICIES[contender]


def _even(slots: int, environments: int) -> list[int]:
    return [slots // environments + (number < slots % environments) for number in range(environments)]


_process: list[tuple[Trace, Plan]] = []  # what this worker process was given once, because it is large


def _given(trace: Trace, plan: Plan) -> None:
    _process[:] = [(trace, plan)]


def _one(task: Task) -> Done:
    return result(*_process[0], task)
