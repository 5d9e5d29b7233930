"""The wishes of a firing become requests; when all are answered or past their deadlines, the firing has its outcome. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.protocol import Control, Execute, FetchProp, GetProp, Value
from vmmanager.asking import EXECUTE_GRACE_S, TIMEOUT_S_MAX, Asking, Question
from vmmanager.context import Context, Refused
from vmmanager.events import Wish
from vmmanager.requests import Kind, Progress, Request
from vmmanager.triggers.effects import Act, Planned
from vmmanager.vms.tasks import PREFIX

NAMED_MAX = 5  # names in one sentence


@dataclass(slots=True)
class _Open:
    """A firing under way: requests not ended yet, and what went wrong so far."""

    waiting: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


class Acting:
    """All firings whose wishes are out."""

    def __init__(self, context: Context, asking: Asking) -> None:
        self._c = context
        self._asking = asking
        self._open: dict[str, _Open] = {}
        self.fail_over: Callable[[str], str] = lambda vm: "no virtual machine is managed here"  # set by the owner

    def act(self, act: Act) -> list[tuple[str, str]]:
        """Carries the wishes out, in order. Returns (firing, outcome) when all is done already."""
        firing = self._open[act.firing] = _Open()
        progress: list[Progress] = []
        for planned in act.wishes:
            try:
                progress += self._wish(act, planned, firing)
            except Refused as refused:
                firing.problems.append(f"{planned.wish.verb}: {refused}")
        over = self._asking.progress(progress, self)
        return over or self._maybe_over(act.firing)

    def _wish(self, act: Act, planned: Planned, firing: _Open) -> list[Progress]:
        if planned.wish.verb == "failover":
            if why := self.fail_over(str(planned.wish.arguments.get("vm", ""))):
                raise Refused("refused", why)
            return []
        kind, message, timeout_s = self._question(planned)
        words = planned.wish.targets
        names = self._asking.targets(words or ("all",))
        if not names:
            raise Refused("no-such", f"no client is in {', '.join(words)}" if words else "no client is known")
        key, progress = self._asking.ask(kind, message, names, timeout_s, firing=act.firing)
        firing.waiting.add(key)
        if kind != "get":
            what = message.command if isinstance(message, Execute) else f"control {getattr(message, 'verb', '')}"
            details: dict[str, Value] = {"firing": act.firing, "targets": list(names), "execution": planned.execution}
            self._c.record("request", act.trigger, f"trigger {act.trigger} asks {_named(names)}: {what}", details)
        return progress

    def _question(self, planned: Planned) -> tuple[Kind, Question, float]:
        wish, default_s = planned.wish, self._c.config.request_timeout_s
        if wish.verb in ("get_property", "fetch_property"):
            names = _names(wish.arguments.get("names"))
            return "get", GetProp(names=names) if wish.verb == "get_property" else FetchProp(names=names), default_s
        if wish.verb == "execute":
            timeout_s = _seconds(wish, 60.0)
            command = str(wish.arguments.get("command", ""))
            parameters = wish.arguments.get("parameters")
            if not command:
                raise Refused("usage", "no command is named")
            if command.startswith(PREFIX):  # safety: it would pass by what keeps a VM from running twice
                raise Refused("refused", f"{command} is not for triggers: it would be ordered without a look where the VM is")
            message = Execute(
                execution=planned.execution,
                command=command,
                parameters=parameters if isinstance(parameters, dict) else {},
                timeout_s=timeout_s,
            )
            return "exec", message, timeout_s + EXECUTE_GRACE_S
        if wish.verb == "control":
            arguments = wish.arguments.get("arguments")
            verb = str(wish.arguments.get("verb", ""))
            return "control", Control(verb=verb, arguments=arguments if isinstance(arguments, dict) else {}), default_s
        raise Refused("refused", f"no such wish: {wish.verb} was not done")

    def ended(self, request: Request) -> list[tuple[str, str]]:
        """One of the requests is over."""
        firing = self._open.get(request.firing)
        if firing is None:
            return []
        firing.waiting.discard(request.key)
        firing.problems += _problems(request)
        return self._maybe_over(request.firing)

    def _maybe_over(self, id: str) -> list[tuple[str, str]]:
        firing = self._open.get(id)
        if firing is None or firing.waiting:
            return []
        del self._open[id]
        return [(id, "; ".join(firing.problems) or "ok")]

    def drop(self) -> None:
        """We lead no longer: the next leader does them again, under the same execution ids."""
        self._open.clear()


def _problems(request: Request) -> list[str]:
    found = []
    for state in ("silent", "unreachable", "late"):
        names = request.names(state)
        if names:
            found.append(f"{state}: {_named(names)}")
    for target in request.targets.values():
        if target.errors and len(found) <= NAMED_MAX:
            found.append(f"{target.name}: {target.errors[0]}")
    return found


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _names(value: Value) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(name) for name in value) if isinstance(value, (list, tuple)) else ()


def _seconds(wish: Wish, default_s: float) -> float:
    given = wish.arguments.get("timeout_s", wish.arguments.get("timeout"))
    usable = isinstance(given, (int, float)) and not isinstance(given, bool) and 0 < given <= TIMEOUT_S_MAX
    return float(given) if usable else default_s  # type: ignore[arg-type]
