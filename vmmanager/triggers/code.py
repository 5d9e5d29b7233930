"""Runs a trigger's `cmd` or `recovery_cmd`: the views in, wishes and printed lines out. Meant for a forked child.

Knows no bus: what `sender`, `notify` and `failover` are asked for is only recorded, and carried out by the manager later.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from common.config.model import Code, Fault
from common.protocol import Value
from vmmanager.events import CodeDone, Moment, RunCode, Wish
from vmmanager.triggers import expression, history
from vmmanager.triggers.firing import PRINTED_CHARS_MAX, PRINTED_MAX, WISHES_MAX
from vmmanager.triggers.rule import Rule
from vmmanager.triggers.unknown import OverBudget, Unknown
from vmmanager.triggers.views import ClientsView, ClientView, Views

SEVERITIES = ("info", "warning", "critical")
EVERYBODY = "all"


class Recorder:
    """What the code has asked for so far."""

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.printed: list[str] = []

    def wish(
        self,
        verb: Literal["get_property", "fetch_property", "execute", "control", "notify", "failover"],
        targets: tuple[str, ...],
        arguments: dict[str, Value],
    ) -> None:
        if len(self.wishes) >= WISHES_MAX:
            raise RuntimeError(f"more than {WISHES_MAX} wishes in one firing")
        self.wishes.append(Wish(verb, targets, arguments))

    def print(
        self, *values: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
    ) -> None:
        """Python's print, to the manager's log."""
        if file is not None:
            builtins.print(*values, sep=sep, end=end, file=file, flush=flush)
            return
        text = (" " if sep is None else sep).join(str(value) for value in values)
        for line in text.splitlines() or [""]:
            if len(self.printed) < PRINTED_MAX:
                self.printed.append(line[:PRINTED_CHARS_MAX])


class Sender:
    """`sender` in trigger code. `to` is a client, a group, one's name, or a list of these; "all" is every client."""

    def __init__(self, recorder: Recorder, client: ClientView | None) -> None:
        self._recorder = recorder
        self._client = client

    def send_get_property(self, names: Any = None, to: Any = None) -> None:
        """Ask for the last values. No names: all properties; no `to`: every client, or with `each` the client at hand."""
        self._recorder.wish("get_property", self._asked(to), {"names": _names(names)})

    def send_fetch_property(self, names: Any = None, to: Any = None) -> None:
        """Have them read now."""
        self._recorder.wish("fetch_property", self._asked(to), {"names": _names(names)})

    def send_execute(
        self, command: str, parameters: Mapping[str, Any] | None = None, to: Any = None, timeout: float = 60.0
    ) -> None:
        """Run a command. `to` must be given, but for `each`, where the client at hand is meant."""
        arguments: dict[str, Value] = {
            "command": _text(command, "command"),
            "parameters": _values(parameters),
            "timeout_s": float(timeout),
        }
        self._recorder.wish("execute", self._addressed(to, "send_execute"), arguments)

    def send_control(self, verb: str, arguments: Mapping[str, Any] | None = None, to: Any = None) -> None:
        wished: dict[str, Value] = {"verb": _text(verb, "verb"), "arguments": _values(arguments)}
        self._recorder.wish("control", self._addressed(to, "send_control"), wished)

    def _asked(self, to: Any) -> tuple[str, ...]:
        if to is None:
            return (self._client.name,) if self._client is not None else ()
        return _targets(to)

    def _addressed(self, to: Any, method: str) -> tuple[str, ...]:
        if to is None and self._client is None:
            raise TypeError(f'{method}: say `to` whom; to="all" is every client')
        return self._asked(to)


def run(rule: Rule, asked: RunCode, views: Views, now: Moment, clock: Callable[[], float] | None) -> CodeDone:
    """Runs the code and hands back what it wished for. Nothing it does to the views' farm reaches the manager."""
    compiled = rule.cmd if asked.part == "cmd" else rule.recovery_cmd
    source = rule.config.cmd if asked.part == "cmd" else rule.config.recovery_cmd
    assert compiled is not None
    assert source is not None
    views.reads.start(now.wall)
    recorder = Recorder()
    client = views.client(asked.subject) if asked.subject else None
    began = clock() if clock is not None else 0.0
    error, over_budget = "", False
    try:
        exec(compiled, _namespace(recorder, views, client, rule))  # the operator's own file
    except OverBudget:
        over_budget = True
    except SystemExit:
        pass  # `exit()` ends the code, as anywhere
    except Exception as fault:  # noqa: BLE001  whatever the operator's code raises is the firing's error
        error = describe(fault, source)
    elapsed_s = clock() - began if clock is not None else 0.0
    return CodeDone(asked.firing, tuple(recorder.wishes), tuple(recorder.printed), error, over_budget, elapsed_s)


def describe(fault: Exception, source: Code) -> str:
    return str(Fault(expression.error_place(fault, source), f"{type(fault).__name__}: {fault}"))


def _namespace(recorder: Recorder, views: Views, client: ClientView | None, rule: Rule) -> dict[str, Any]:
    def notify(text: object, severity: str = "") -> None:
        """Tell the site's people, by the notify program of vmmanager.ini."""
        if severity and severity not in SEVERITIES:
            raise ValueError(f"severity {severity!r}: one of {', '.join(SEVERITIES)} is wanted")
        recorder.wish("notify", (), {"text": str(text)[:4096], "severity": severity or rule.config.severity})

    def failover(vm: Any) -> None:
        """Restart a VM elsewhere; the manager decides whether that is safe."""
        recorder.wish("failover", (), {"vm": _text(getattr(vm, "name", vm), "vm")})

    return {
        **history.functions(views.reads),
        "__name__": f"trigger {rule.name}",
        "__builtins__": builtins,
        "manager": views.manager,
        "client": client,
        "sender": Sender(recorder, client),
        "notify": notify,
        "failover": failover,
        "print": recorder.print,
    }


def _targets(to: Any) -> tuple[str, ...]:
    if isinstance(to, str):
        if not to:
            raise ValueError('to = "": the name of a client or a group is wanted')
        return () if to == EVERYBODY else (to,)
    if isinstance(to, ClientView):
        return (to.name,)
    if isinstance(to, ClientsView):
        return (to.name,) if to.name else ()
    if type(to) is Unknown or not isinstance(to, Iterable):
        raise TypeError(f"to = {to!r}: a client, a group, a name, or a list of these is wanted")
    found = {_text(getattr(one, "name", one), "to"): None for one in to}
    if not found:
        raise ValueError("to is an empty list")  # it must not turn into "every client"
    return tuple(found)


def _names(names: Any) -> list[Any]:
    if names is None:
        return []
    return [_text(name, "names") for name in ([names] if isinstance(names, str) else names)]


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{what} = {value!r}: a text is wanted")
    return value


def _values(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """What msgpack carries, and no Unknown."""
    found = dict(values or {})
    for name, value in found.items():
        if type(value) is Unknown:
            raise TypeError(f"{name}: {value!r} cannot be sent")
    try:
        msgspec.msgpack.encode(found)
    except (TypeError, ValueError, OverflowError) as fault:
        raise TypeError(f"parameters {found!r}: {fault}") from None
    return found
