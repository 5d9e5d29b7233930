"""A policy of the operator's own: a Python expression that says how many slots one environment could use. Runs no statement.

    { env.waiting + env.running if env.name != "test" else min(env.waiting, 2) }

It is asked for each environment by itself; what they then get is decided as by `waterfill`. Where it raises, or gives no
number, the environment stays as it is and what was rejected says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isfinite
from types import CodeType
from typing import Any, NamedTuple

from common.config.model import Code, EnvironmentsConfig, Fault
from vmmanager.environments import quotas
from vmmanager.environments.demand import Choice, Demand, Quota, Rejected, Settings, Supply
from vmmanager.triggers import expression

ARGUMENT = "env"
FUNCTIONS = {"min": min, "max": max, "ceil": ceil, "sum": sum}
NEED_MAX = 1_000_000


class View(NamedTuple):
    """What the expression sees as `env`."""

    name: str
    waiting: int
    running: int
    runtime_s: float
    slots: int
    serving: int
    idle: int
    min: int
    max: int
    jobs_per_slot: int


def policy_faults(config: EnvironmentsConfig) -> tuple[Fault, ...]:
    """What is wrong with the operator's own policy, as far as it can be told without running it."""
    try:
        if config.policy == Expression.name and config.expr:
            Expression(config.expr)
    except expression.CodeFault as wrong:
        return (wrong.fault,)
    return ()


class Expression:
    name = "expression"

    def __init__(self, code: Code) -> None:
        """Raises CodeFault."""
        compiled: CodeType = expression.compile_expr(code, (ARGUMENT,), FUNCTIONS)
        names = {"__builtins__": {}, **expression.BUILTINS, **expression.MACHINERY, **FUNCTIONS}
        self._need = eval(compiled, names)  # noqa: S307  the operator's own text, checked by compile_expr

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice:
        limits = quotas.bounds(demand, supply, settings)
        need, rejected = {}, []
        for name, has in supply.items():
            answer = self._asked(_view(name, demand[name], has, settings.quotas[name], limits.slots))
            if isinstance(answer, str):
                rejected.append(Rejected(name, has.slots, has.slots, answer))
            need[name] = has.slots if isinstance(answer, str) else answer
        target = quotas.level(need, supply, limits)
        choice = quotas.settled(quotas.kept(target, supply, limits), need, demand, supply, limits, settings)
        return Choice(choice.wanted, (*choice.rejected, *rejected), need)

    def _asked(self, view: View) -> int | str:
        """Slots, or why there is no answer."""
        try:
            answer: Any = self._need(view)
        except Exception as fault:  # noqa: BLE001  the operator's code may raise anything
            return f"the expression raised {type(fault).__name__}: {fault}"
        if isinstance(answer, (int, float)) and isfinite(answer):
            return max(0, min(NEED_MAX, ceil(answer)))
        return f"the expression gave {answer!r}, which is no number"


def _view(name: str, asked: Demand, has: Supply, quota: Quota, slots: int) -> View:
    most = slots if quota.max is None else quota.max
    return View(name, asked.waiting, asked.running, asked.runtime_s or 0.0, has.slots, has.serving, has.idle, quota.min, most,
                quota.jobs_per_slot)  # fmt: skip
