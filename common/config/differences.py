"""What a reload changes, in sentences for the log: `trigger ram_low: cooldown 0 -> 5m`. Pure; knows no file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from common.config import keys
from common.config.environment_keys import ENVIRONMENT, ENVIRONMENTS
from common.config.failover_keys import FAILOVER, FENCE, GUARD
from common.config.keys import Table
from common.config.model import (
    ClientConfig,
    Code,
    EnvironmentConfig,
    FenceConfig,
    ManagerConfig,
    ProgramConfig,
    PropertyConfig,
    TriggerConfig,
    VmConfig,
)
from common.config.shown import plain, show

_Named = PropertyConfig | ProgramConfig | TriggerConfig | VmConfig | EnvironmentConfig | FenceConfig
TEXT_CHARS_MAX = 120  # a longer value is only said to have changed


def differences(old: ClientConfig | ManagerConfig, new: ClientConfig | ManagerConfig) -> list[str]:
    """One sentence for each key whose value is another now; where a section merely moved, nothing."""
    said: list[str] = []
    if isinstance(old, ClientConfig) and isinstance(new, ClientConfig):
        said += _sections(keys.CLIENT, keys.CLIENT_PATHS, old, new)
        said += (f"[hypervisor] {text}" for text in _changes(keys.HYPERVISOR, old.hypervisor, new.hypervisor))
        said += (f"[batch] {text}" for text in _changes(keys.BATCH, old.batch, new.batch))
        said += (f"[failover] {text}" for text in _changes(GUARD, old.failover, new.failover))
        said += _named("property", keys.PROPERTY, old.properties, new.properties)
        said += _named("program", keys.PROGRAM, old.programs, new.programs)
    elif isinstance(old, ManagerConfig) and isinstance(new, ManagerConfig):
        said += _sections(keys.MANAGER, keys.MANAGER_PATHS, old, new)
        said += (f"[vms] {text}" for text in _changes(keys.VMS, old.orders, new.orders))
        said += (f"[failover] {text}" for text in _changes(FAILOVER, old.failover, new.failover))
        said += _named("fence device", FENCE, old.fences, new.fences)
        said += _named("trigger", keys.TRIGGER, old.triggers, new.triggers)
        said += _named("VM", keys.VM, old.vms, new.vms)
        said += (f"[environments] {text}" for text in _changes(ENVIRONMENTS, old.environments, new.environments))
        said += _named("environment", ENVIRONMENT, old.environments.defined, new.environments.defined)
    else:
        raise TypeError("a client's configuration is compared with a manager's")
    return said


def _sections(own: Table, paths: Table, old: Any, new: Any) -> Iterator[str]:
    parts = (own, old, new), (keys.BUS, old.bus, new.bus), (keys.LOG, old.log, new.log), (paths, old.paths, new.paths)
    for table, before, after in parts:
        for text in _changes(table, before, after):
            yield f"[{table.name}] {text}"


def _named(kind: str, table: Table, old: Sequence[_Named], new: Sequence[_Named]) -> Iterator[str]:
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{kind} {name}: removed"
        elif name not in before:
            yield f"{kind} {name}: added"
        else:
            yield from (f"{kind} {name}: {text}" for text in _changes(table, before[name], after[name]))


def _changes(table: Table, old: Any, new: Any) -> Iterator[str]:
    for key in table.keys:
        if key.targets == ("-",):
            continue
        before, after = ([getattr(one, target) for target in key.targets] for one in (old, new))
        if _meaning(before) != _meaning(after):
            yield f"{key.name} {_change(*(show(key, *value) if value[0] is not None else '' for value in (before, after)))}"
    for part in table.parts:
        before_part, after_part = getattr(old, part.field), getattr(new, part.field)
        if not isinstance(before_part, dict):  # cards and disks of a VM
            if before_part != after_part:
                yield f"{part.name}: changed"
            continue
        for name in sorted(before_part.keys() | after_part.keys()):
            if before_part.get(name) != after_part.get(name):
                yield f"{part.name}: {name} {_change(plain(before_part.get(name)), plain(after_part.get(name)))}"


def _meaning(values: Iterable[Any]) -> list[Any]:
    """Code is the same wherever in the file it stands."""
    return [value.text if isinstance(value, Code) else value for value in values]


def _change(before: str, after: str) -> str:
    if len(before) + len(after) > TEXT_CHARS_MAX:
        return "changed"
    return f"{before or '(none)'} -> {after or '(none)'}"
