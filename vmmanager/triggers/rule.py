"""One trigger: its section, its compiled code, its subjects and its counts. Evaluates expressions; decides nothing.

The time limit of an expression is the Guard's, which the edge hands in (guard.py); without one nothing is limited.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any, Protocol

from common.config.model import Code, Fault, TriggerConfig
from vmmanager.events import Moment
from vmmanager.triggers import expression, history
from vmmanager.triggers.expression import CodeFault
from vmmanager.triggers.states import NEVER, State, Subject
from vmmanager.triggers.talk import Talk
from vmmanager.triggers.unknown import Truth, Unknown, UnknownUsed, truth
from vmmanager.triggers.views import ClientView, Views

ALL_CLIENTS = "clients"  # each = clients
NAMES = frozenset(history.functions(None))  # type: ignore[arg-type]  # only the names


class Guard(Protocol):
    """Runs `function` and raises OverBudget when it takes longer than `budget_s`."""

    def __call__(self, budget_s: float, function: Callable[..., Any], *arguments: Any) -> Any: ...


def unguarded(budget_s: float, function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression gave; `error` is the Python error with the file's line, then the truth is unknown."""

    truth: Truth
    error: str = ""


class Rule:
    """`disabled` says why when it is: by the file, by an operator, or because its code ran over its budget."""

    def __init__(self, config: TriggerConfig) -> None:
        """Raises CodeFault."""
        self.config = config
        self.name = config.name
        arguments = ("manager", "client") if config.each else ("manager",)
        self._expr = expression.compile_expr(config.expr, arguments, NAMES)
        self._recovery = None if config.recovery is None else expression.compile_expr(config.recovery, arguments, NAMES)
        self._expr_call: Callable[..., Any] | None = None
        self._recovery_call: Callable[..., Any] | None = None
        self.cmd = _compiled(config.cmd)
        self.recovery_cmd = _compiled(config.recovery_cmd)
        self.fingerprint = fingerprint(config)
        self.subjects: dict[str, Subject] = {}
        self.disabled = "" if config.enabled else "enabled = no in its file"
        self.broken = False  # disabled by ourselves: those that depend on it count it as unknown
        self.fired = 0
        self.last_fired = 0.0
        self.starts: deque[float] = deque()  # monotonic times of firings within the window
        self.acted: deque[tuple[float, frozenset[str]]] = deque()  # who was acted upon within the window
        self.firings: deque[str] = deque()
        self.next_tick = -NEVER  # monotonic
        self.parents: tuple[Rule, ...] = ()
        self.children: tuple[Rule, ...] = ()
        self.number = 0  # its place in the order of evaluation
        self.talk = Talk()

    def bind(self, names: dict[str, Any], views: Views) -> None:
        """Ties the code to the farm that `views` shows."""
        namespace = {"__builtins__": {}, **expression.BUILTINS, **expression.MACHINERY, **names}
        self._expr_call = eval(self._expr, namespace)  # noqa: S307  the operator's file, checked by _refused
        if self._recovery is not None:
            self._recovery_call = eval(self._recovery, namespace)  # noqa: S307

    def holds(self, views: Views, client: ClientView | None, guard: Guard) -> Value:
        assert self._expr_call is not None
        return self._value(self._expr_call, self.config.expr, views, client, guard)

    def recovered(self, views: Views, client: ClientView | None, guard: Guard) -> Value:
        assert self._recovery_call is not None
        assert self.config.recovery is not None
        return self._value(self._recovery_call, self.config.recovery, views, client, guard)

    @property
    def has_recovery(self) -> bool:
        return self._recovery is not None

    def _value(self, call: Callable[..., Any], code: Code, views: Views, client: ClientView | None, guard: Guard) -> Value:
        try:
            if client is None:
                value = guard(self.config.budget_s, call, views.manager)
            else:
                value = guard(self.config.budget_s, call, views.manager, client)
            if value is True:
                return TRUE
            if value is False:
                return FALSE
            return Value(truth(value))
        except UnknownUsed as fault:
            return Value(fault.unknown)
        except Exception as fault:  # noqa: BLE001  whatever the operator's code raises is the trigger's state
            text = str(Fault(expression.error_place(fault, code), f"{type(fault).__name__}: {fault}"))
            return Value(Unknown(text), text)

    def state(self) -> tuple[str, Subject | None]:
        """(state, the subject it is about) of the trigger as a whole: the worst of its subjects'."""
        if self.disabled:
            return "disabled", None
        for state in (State.FIRING, State.FLAPPING, State.PENDING, State.DOUBTFUL, State.UNKNOWN):
            for subject in self.subjects.values():
                if subject.state is state:
                    return "unknown" if state is State.DOUBTFUL else str(state), subject
        return "ok", next(iter(self.subjects.values())) if len(self.subjects) == 1 else None

    def blocks(self, subject: str) -> str:
        """Why those that depend on this one must hold still; empty when they need not."""
        if self.disabled:
            return f"{self.name} is disabled: {self.disabled}" if self.broken else ""
        concerned = [self.subjects[subject]] if subject in self.subjects else list(self.subjects.values())
        for one in concerned:
            if one.state in (State.FIRING, State.DOUBTFUL):
                return f"{self.name} fires{_of(one.name)}"
        for one in concerned:
            if one.state is State.UNKNOWN:
                return f"{self.name} is unknown{_of(one.name)}"
        return ""

    def override_by(self, row: dict[str, Any]) -> None:
        """A row of table trigger: an operator's word, or our own, which holds for the code that it was about."""
        by_itself = not row.get("who")
        if by_itself and row.get("fingerprint") != self.fingerprint:
            return
        if row.get("enabled"):
            self.disabled, self.broken = "", False
        else:
            self.disabled, self.broken = str(row.get("why") or f"disabled by {row.get('who')}"), by_itself

    def window(self, now: Moment) -> None:
        """Forgets what lies before the window of max_actions and max_share."""
        since = now.mono - self.config.max_actions_window_s
        while self.starts and self.starts[0] <= since:
            self.starts.popleft()
        while self.acted and self.acted[0][0] <= since:
            self.acted.popleft()


TRUE = Value(True)
FALSE = Value(False)


def _of(name: str) -> str:
    return f" on {name}" if name else ""


def _compiled(code: Code | None) -> CodeType | None:
    return None if code is None else expression.compile_cmd(code)


def fingerprint(config: TriggerConfig) -> str:
    """Of what the trigger does; another one means that an operator has worked on it."""
    codes = (config.expr, config.cmd, config.recovery, config.recovery_cmd)
    text = "\0".join("" if code is None else code.text for code in codes) + f"\0{config.budget_s}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def faults(triggers: Iterable[TriggerConfig]) -> list[Fault]:
    """What the loader of the files cannot know: names and attributes that are not for expressions, triggers that would never
    be evaluated. Meant for load_manager(also=...)."""
    found: list[Fault] = []
    by_name = {config.name: config for config in triggers}
    for config in by_name.values():
        for compiling in _compilings(config):
            found += _caught(compiling)
        if config.ticks <= 0 and not config.on_update_check:
            found.append(Fault(config.where, "neither ticks nor on_update_check is set: it would never be evaluated"))
    return found


def _compilings(config: TriggerConfig) -> Sequence[Callable[[], object]]:
    arguments = ("manager", "client") if config.each else ("manager",)
    codes = [code for code in (config.expr, config.recovery) if code is not None]
    commands = [code for code in (config.cmd, config.recovery_cmd) if code is not None]
    return [partial(expression.compile_expr, code, arguments, NAMES) for code in codes] + [
        partial(expression.compile_cmd, code) for code in commands
    ]


def _caught(compiling: Callable[[], object]) -> list[Fault]:
    try:
        compiling()
    except CodeFault as fault:
        return [fault.fault]
    return []


def ordered(by_name: dict[str, TriggerConfig]) -> list[str]:
    """Names of triggers, each after those it depends on. Raises CodeFault when they go in a circle."""
    done: dict[str, bool] = {}
    result: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise CodeFault(by_name[name].where, f"depends_on goes in a circle: {circle}")
        if name in done or name not in by_name:
            return
        for parent in by_name[name].depends_on:
            visit(parent, (*path, name))
        done[name] = True
        result.append(name)

    for name in by_name:
        visit(name, ())
    return result
