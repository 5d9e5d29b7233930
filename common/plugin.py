"""What a plugin is: a plain function with a decorator. Knows the contract, loads and runs nothing.

    from common.plugin import reader, command, Unknown

    @reader("ram", unit="KiB")
    def ram(field: str = "MemFree") -> int:
        '''One field of /proc/meminfo.'''

    @command("service")
    def service(name: str, action: Literal["start", "stop", "restart", "status"]) -> dict[str, Value]: ...

Parameters are checked and converted from the annotations: str, int, float, bool, Literal[...], a union of these with None,
list[str], or dict[str, Value]; `**name: str` takes what is left (common/parameters.py). A parameter annotated `Site` is not
the caller's to give: it receives what this client's own file says. A reader returns a Value, or Measured(value, unit) where
the unit depends on its parameters, and raises Unknown("why") when there is none; a command returns a Value, raises
Refused("why") before it did anything, or CommandFailed("why", ...). Any other exception is the plugin's fault and is reported
with its last line.
docs/plugins.md shows one in twenty lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from common.config.model import BatchConfig, HypervisorConfig, ProgramConfig
from common.value import Value

_F = TypeVar("_F", bound=Callable[..., Any])

ATTRIBUTE = "__vmherd_plugin__"


class Unknown(Exception):
    """The reader has no value now, and why: unknown, never zero."""


class Refused(Exception):
    """The command will not run with these parameters; nothing was done."""


class CommandFailed(Exception):
    """The command was run and did not succeed. `result` and `output` go back with the reason."""

    def __init__(self, reason: str, *, result: Value = None, output: str = "") -> None:
        super().__init__(reason)
        self.result = result
        self.output = output


@dataclass(frozen=True, slots=True)
class Measured:
    """A value with its unit, for a reader whose unit depends on its parameters."""

    value: Value
    unit: str


class TellProgress(Protocol):
    """`share`: from 0 to 1, or None where it is not known."""

    def __call__(self, text: str, share: float | None = None) -> None: ...


def untold(text: str, share: float | None = None) -> None:
    """Progress that nobody hears."""


@dataclass(frozen=True, slots=True)
class Site:
    """What this client's own file lets plugins know and touch, and what a plugin may want of its surroundings.

    `log(text, level)` writes a line to the client's log; `remaining_s()` is the time left of this read or command, after
    which the process is killed: whoever starts programs ends them before that. `progress(text, share)` tells whoever asked
    for the command how far it is."""

    client: str
    programs: Mapping[str, ProgramConfig] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    hypervisor: HypervisorConfig = field(default_factory=HypervisorConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    log: Callable[[str, str], None] = lambda text, level: None
    remaining_s: Callable[[], float] = lambda: 60.0
    progress: TellProgress = untold


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
