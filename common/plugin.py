"""What a plugin is: a plain function with a decorator. Knows the contract, loads and runs nothing.

    from common.plugin import reader, command, Unknown

    @reader("ram", unit="KiB")
    def ram(field: str = "MemFree") -> int:
        '''One field of /proc/meminfo.'''

    @command("service")
    def service(name: str, action: Literal["start", "stop", "restart", "status"]) -> dict[str, Value]: ...

Parameters are checked and converted from the annotations: str, int, float, bool, Literal[...], a union of these with None,
or list[str]. A reader returns a Value and raises Unknown("why") when there is none; a command returns a Value and raises
CommandFailed("why", ...). Any other exception is the plugin's fault and is reported with its last line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from common.protocol import Value

_F = TypeVar("_F", bound=Callable[..., Any])

ATTRIBUTE = "__vmherd_plugin__"


class Unknown(Exception):
    """The reader has no value now, and why: unknown, never zero."""


class CommandFailed(Exception):
    """The command was run and did not succeed. `result` and `output` go back with the reason."""

    def __init__(self, reason: str, *, result: Value = None, output: str = "") -> None:
        super().__init__(reason)
        self.result = result
        self.output = output


@dataclass(frozen=True, slots=True)
class Plugin:
    """What the decorator noted. `subject`: the parameter whose equal values never run at the same time (a VM, a service)."""

    kind: Literal["reader", "command"]
    name: str
    unit: str = ""
    subject: str = ""


def reader(name: str, *, unit: str = "") -> Callable[[_F], _F]:
    """The function reads one property value."""
    return _mark(Plugin("reader", name, unit=unit))


def command(name: str, *, subject: str = "") -> Callable[[_F], _F]:
    """The function runs one command for the manager, when the client's conf allows it."""
    return _mark(Plugin("command", name, subject=subject))


def _mark(plugin: Plugin) -> Callable[[_F], _F]:
    def mark(function: _F) -> _F:
        setattr(function, ATTRIBUTE, plugin)
        return function

    return mark
