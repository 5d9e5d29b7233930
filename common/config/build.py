"""Checked sections to the dataclasses of model.py, and what the keys mean together. Trees in, values and faults out.

Everything that is wrong is added to `faults`, and the rest is built nevertheless, so that all faults come at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.config import batches, environments, failover, hypervisors, keys, vms
from common.config.code import check as check_code
from common.config.environment_keys import ENVIRONMENT, ENVIRONMENTS
from common.config.failover_keys import FAILOVER, FENCE, GUARD
from common.config.model import (
    BatchConfig,
    BusConfig,
    ClientConfig,
    EnvironmentConfig,
    EnvironmentsConfig,
    FailoverConfig,
    Fault,
    FenceConfig,
    GuardConfig,
    HypervisorConfig,
    LogConfig,
    ManagerConfig,
    PathsConfig,
    ProgramConfig,
    PropertyConfig,
    TriggerConfig,
    VmConfig,
    VmsConfig,
    Where,
)
from common.config.tree import Section, Shape, Tree, known_near

CLIENT_SHAPE = Shape(
    (keys.CLIENT, keys.BUS, keys.LOG, keys.CLIENT_PATHS, keys.HYPERVISOR, keys.BATCH, GUARD),
    below={"programs": keys.PROGRAM},
)
MANAGER_SHAPE = Shape((keys.MANAGER, keys.VMS, FAILOVER, keys.BUS, keys.LOG, keys.MANAGER_PATHS))
PROPERTY_SHAPE = Shape(many=keys.PROPERTY)
TRIGGER_SHAPE = Shape(many=keys.TRIGGER, code=True)
VMS_SHAPE = Shape(many=keys.VM)
FENCES_SHAPE = Shape(many=FENCE)

_PARAMETER = re.compile(r"\{([A-Za-z_]\w*)\}", re.ASCII)


@dataclass(slots=True)
class Findings:
    """What was wrong, and what was only odd."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def fault(self, where: Where, text: str) -> None:
        self.faults.append(Fault(where, text))

    def warn(self, where: Where, text: str) -> None:
        self.warnings.append(Fault(where, text))


def client(tree: Tree, name: str, properties: tuple[PropertyConfig, ...], found: Findings) -> ClientConfig:
    """`name`: of this host, where the file gives none."""
    section = tree.section("client")
    made = _fields(section, keys.CLIENT)
    programs = tuple(_programs(tree, made.get("allow", ()), found))
    hypervisor = HypervisorConfig(**_with_paths(tree, keys.HYPERVISOR))
    found.faults += hypervisors.faults(hypervisor, tree.section("hypervisor"), properties)
    batch = BatchConfig(**_with_paths(tree, keys.BATCH))
    found.faults += batches.faults(batch, tree.section("batch"), properties)
    more = (
        *hypervisors.properties(hypervisor, tree.section("hypervisor").at("engine")),
        *batches.properties(batch, tree.section("batch").at("engine")),
    )
    config = ClientConfig(
        **{
            **made,
            "name": made.get("name") or name,
            "bus": _bus(tree, found),
            "log": _log(tree, found),
            "paths": _paths(tree, keys.CLIENT_PATHS),
            "hypervisor": hypervisor,
            "batch": batch,
            "failover": _guard(tree, hypervisor, found),
            "properties": (*properties, *more),
            "programs": programs,
        }
    )
    if config.bus.engine == "embedded":
        found.fault(tree.section("bus").at("engine"), "embedded is for the manager: a client connects to it (write spread)")
    _allowed(config, section, tree, found)
    return config


def manager(
    tree: Tree,
    name: str,
    triggers: tuple[TriggerConfig, ...],
    machines: tuple[VmConfig, ...],
    fences: tuple[FenceConfig, ...],
    found: Findings,
    classes: EnvironmentsConfig | None = None,
) -> ManagerConfig:
    """`name`: of this host, where the file gives none."""
    section = tree.section("manager")
    made = _fields(section, keys.MANAGER)
    config = ManagerConfig(
        **{
            **made,
            "name": made.get("name") or name,
            "bus": _bus(tree, found),
            "log": _log(tree, found),
            "paths": _paths(tree, keys.MANAGER_PATHS),
            "triggers": triggers,
            "vms": machines,
            "orders": _orders(tree, found),
            "environments": classes or EnvironmentsConfig(),
            "failover": _failover(tree),
            "fences": fences,
        }
    )
    if config.managers and config.name not in config.managers:
        found.fault(section.at("managers"), f"does not name this manager, {config.name} (list it as well)")
    found.faults += failover.faults(config, tree.section("failover"))
    found.warnings += failover.warnings(config, section, tree.section("failover"))
    if config.notify and not config.notify[0].startswith("/"):
        found.fault(section.at("notify"), f"{config.notify[0]!r} is no absolute path of a program")
    return config


def _orders(tree: Tree, found: Findings) -> VmsConfig:
    section = tree.section("vms")
    config = VmsConfig(**_fields(section, keys.VMS))
    if config.restart_delay_s > config.restart_delay_max_s:
        key = "restart_delay_max" if "restart_delay_max" in section.values else "restart_delay"
        found.fault(section.at(key), "restart_delay is above restart_delay_max")
    return config


def _with_paths(tree: Tree, table: keys.Table) -> dict[str, Any]:
    made = _fields(tree.section(table.name), table)
    return {name: _from(tree, value) if isinstance(value, Path) else value for name, value in made.items()}


def _failover(tree: Tree) -> FailoverConfig:
    made = _fields(tree.section("failover"), FAILOVER)
    if made.get("storage") is not None:
        made["storage"] = _from(tree, made["storage"])
    return FailoverConfig(**made)


def _guard(tree: Tree, hypervisor: HypervisorConfig, found: Findings) -> GuardConfig:
    section = tree.section("failover")
    made = _fields(section, GUARD)
    if made.get("storage") is not None:
        made["storage"] = _from(tree, made["storage"])
    config = GuardConfig(**made)
    if config.watchdog == "sim" and hypervisor.engine != "sim":
        text = f"sim is for engine = sim, and engine of [hypervisor] is {hypervisor.engine} (write auto, none or a device)"
        found.fault(section.at("watchdog"), text)
    return config


def fence_devices(trees: Iterable[Tree], found: Findings) -> tuple[FenceConfig, ...]:
    """The devices of fences.ini, in the order of the file. `secrets` counts from its folder where it is relative."""
    made: list[FenceConfig] = []
    for section in _once(trees, found):
        given = _fields(section, FENCE)
        if "secrets" in given:
            given["secrets"] = Path(section.where.file).parent / given["secrets"]
        for part in ("options", "plugs"):
            given[part] = dict(section.parts[part].values) if part in section.parts else {}
        device = FenceConfig(name=section.name, where=section.where, **given)
        found.faults += failover.fence_faults(device, section)
        made.append(device)
    return tuple(made)


def _fields(section: Section, table: keys.Table) -> dict[str, Any]:
    """Field of the model -> value, for the keys that are there."""
    made: dict[str, Any] = {}
    for key in table.keys:
        value = section.values.get(key.name)
        if value is None or key.targets == ("-",) or key.check == "code()":
            continue
        parts = zip(key.targets, value, strict=True) if len(key.targets) > 1 else [(key.targets[0], value)]
        made.update({target: part for target, part in parts if part is not None})
    return made


def _bus(tree: Tree, found: Findings) -> BusConfig:
    section = tree.section("bus")
    config = BusConfig(**_fields(section, keys.BUS))
    if config.reconnect_min_s > config.reconnect_max_s:
        key = "reconnect_max" if "reconnect_max" in section.values else "reconnect_min"
        found.fault(section.at(key), "reconnect_min is above reconnect_max")
    return config


def _log(tree: Tree, found: Findings) -> LogConfig:
    section = tree.section("log")
    made = _fields(section, keys.LOG)
    if "file" in made:
        made["file"] = _from(tree, made["file"])
    levels = section.parts.get("levels")
    config = LogConfig(**made, levels=dict(levels.values) if levels else {})
    if config.target == "file" and not config.file and "file" not in section.values:
        found.fault(section.at("target"), "file needs the key file: which file")
    if config.file and config.target != "file":
        found.warn(section.at("file"), f"is not used, because target is {config.target}")
    return config


def _paths(tree: Tree, table: keys.Table) -> PathsConfig:
    made: PathsConfig = table.model(**{name: _from(tree, path) for name, path in _fields(tree.section("paths"), table).items()})
    return made


def _from(tree: Tree, path: Path) -> Path:
    """A relative path counts from the folder of the file it stands in."""
    return Path(tree.file).parent / path


# --- programs and what may be run -------------------------------------------------------------------------------------------


def _programs(tree: Tree, allow: tuple[str, ...], found: Findings) -> Iterable[ProgramConfig]:
    for name, section in tree.section("programs").parts.items():
        argv: tuple[str, ...] = section.values.get("argv", ())
        patterns = section.parts.get("patterns")
        if not argv:
            if "argv" not in section.places or "argv" in section.values:
                found.fault(section.at("argv"), "is missing (write the absolute path and arguments, with commas between)")
            continue
        if not argv[0].startswith("/") or _PARAMETER.search(argv[0]):
            found.fault(section.at("argv"), f"{argv[0]!r} is no absolute path of a program")
        by_managers = "exec" in allow or f"exec:{name}" in allow
        _check_patterns(section, argv, patterns, by_managers, found)
        made = {**_fields(section, keys.PROGRAM), "patterns": dict(patterns.values) if patterns else {}}
        yield ProgramConfig(name=name, where=section.where, **made)


def _check_patterns(
    section: Section, argv: tuple[str, ...], patterns: Section | None, by_managers: bool, found: Findings
) -> None:
    """Where only properties of this host run the program, it is this host's own file that fills in the parameters."""
    used = list(dict.fromkeys(name for word in argv for name in _PARAMETER.findall(word)))
    known = patterns.places if patterns else {}
    for name in used:
        if by_managers and name not in known:
            text = f"a manager may run this, and {{{name}}} has no pattern (write below [[[patterns]]] what it may be)"
            found.fault(section.at("argv"), text)
    for name in known:
        if name not in used and patterns:
            found.fault(patterns.at(name), f"argv has no {{{name}}}")


CONTROLS = ("control:shutdown",)  # verbs of CONTROL that a client obeys only where `allow` lists them


def _allowed(config: ClientConfig, section: Section, tree: Tree, found: Findings) -> None:
    programs = set(tree.section("programs").parts)
    for command in config.allow:
        kind, colon, program = command.partition(":")
        if command in CONTROLS:
            continue
        if colon and kind != "exec":
            found.fault(section.at("allow"), f"{command!r}: only exec has something behind a colon")
        elif colon and program not in programs:
            found.fault(section.at("allow"), f"{command!r}: no such program ({known_near(program, programs)})")
    if "exec" in config.allow and not programs:
        found.warn(section.at("allow"), "exec can run nothing: there is no program below [programs]")
    for family, title, engine in (("vm", "hypervisor", config.hypervisor.engine), ("batch", "batch", config.batch.engine)):
        for command in config.allow if engine == "none" else ():
            if command == family or command.startswith(f"{family}-"):
                found.warn(section.at("allow"), f"{command} can do nothing: engine of [{title}] is none")
    if "service" in config.allow and not config.services:
        found.warn(section.at("allow"), "service can do nothing: services is empty")


# --- properties and triggers ------------------------------------------------------------------------------------------------


def properties(trees: Iterable[Tree], found: Findings) -> tuple[PropertyConfig, ...]:
    made: list[PropertyConfig] = []
    for section in _once(trees, found):
        if "command" not in section.places:
            found.fault(section.at("command"), "is missing (which reader?)")
        if "command" in section.values:
            named = section.parts.get("*parameters")
            given = {**_fields(section, keys.PROPERTY), "named": dict(named.values) if named else {}}
            made.append(PropertyConfig(name=section.name, where=section.at("command"), **given))
    return tuple(made)


def triggers(trees: Iterable[Tree], found: Findings) -> tuple[TriggerConfig, ...]:
    """Every trigger, with its Python compiled for a try and its `depends_on` followed."""
    made: list[TriggerConfig] = []
    depends: dict[str, tuple[Where, tuple[str, ...]]] = {}
    for section in _once(trees, found):
        trigger = _trigger(section, found)
        depends[section.name] = (section.at("depends_on"), section.values.get("depends_on", ()))
        if trigger:
            made.append(trigger)
    _check_depends(depends, found)
    return tuple(made)


def virtual_machines(trees: Iterable[Tree], found: Findings) -> tuple[VmConfig, ...]:
    """The definitions of vms.ini; `kernel`, `initrd` and `config` count from the file's folder where they are relative."""
    made: list[VmConfig] = []
    places: dict[str, dict[str, Where]] = {}
    for section in _once(trees, found):
        given = _fields(section, keys.VM)
        for name in ("kernel", "initrd", "native"):
            if name in given:
                given[name] = str(Path(section.where.file).parent / given[name])
        cards, devices = (section.parts.get(name) for name in ("networks", "disks"))
        given["networks"] = vms.networks(section.name, cards.values) if cards else ()
        given["disks"] = vms.disks(devices.values) if devices else ()
        vm = VmConfig(name=section.name, where=section.where, **given)
        at = {**section.places, **{f"[{name}]": part.where for name, part in section.parts.items()}}
        for device in devices.places if devices else ():
            if not vms.DEVICE.fullmatch(device):
                found.fault(devices.at(device) if devices else section.where, "is no name of a disk (xvda, vda, sda, hda)")
        found.faults += vms.faults_of(vm, at, section.parts)
        found.faults += environments.template_faults(vm, at)
        made.append(vm)
        places[vm.name] = at
    found.faults += vms.faults_together(made, places)
    return tuple(made)


def environment_classes(trees: Iterable[Tree], machines: Iterable[VmConfig], found: Findings) -> EnvironmentsConfig:
    """environments.ini."""
    trees = list(trees)
    for tree in trees:
        found.faults += tree.faults
        found.warnings += tree.warnings
    head, sections = environments.tree_sections(trees)
    defined = []
    for name, section in sections.items():
        one = EnvironmentConfig(name=name, where=section.where, **_fields(section, ENVIRONMENT))
        found.faults += environments.faults_of(one, section)
        defined.append(one)
    code, quotas = head.code.get("expr"), head.parts.get("quotas")
    if code:
        faults, warnings = check_code(code, "expr")
        found.faults += faults
        found.warnings += warnings
    made = _fields(head, ENVIRONMENTS)
    made |= {"expr": code, "quotas": dict(quotas.values) if quotas else {}, "where": head.where}
    config = EnvironmentsConfig(defined=tuple(defined), **made)
    found.faults += environments.faults_together(config, head, sections, {vm.name: vm for vm in machines})
    return config


def _once(trees: Iterable[Tree], found: Findings) -> Iterable[Section]:
    """The sections of all files; a name that comes again in another file is a fault."""
    seen: dict[str, Where] = {}
    for tree in trees:
        found.faults += tree.faults
        found.warnings += tree.warnings
        for name, section in tree.sections.items():
            if name in seen:
                found.fault(section.where, f"is there twice, first at {seen[name].file}:{seen[name].line}")
            else:
                seen[name] = section.where
                yield section


def _trigger(section: Section, found: Findings) -> TriggerConfig | None:
    code = {name: section.code.get(name) for name in ("expr", "cmd", "recovery", "recovery_cmd")}
    for name, block in code.items():
        if block:
            faults, warnings = check_code(block, "cmd" if name.endswith("cmd") else "expr")
            found.faults += faults
            found.warnings += warnings
    made = _fields(section, keys.TRIGGER)
    if "expr" not in section.places:
        found.fault(section.at("expr"), "is missing (write expr = { ... }, the condition)")
    if "fire" not in made and code["recovery"]:
        made["fire"] = "once"
    if code["recovery_cmd"] and made.get("fire") == "each" and not code["recovery"]:
        found.warn(section.at("fire"), "with each, recovery_cmd runs only after the condition has been false once")
    if not code["expr"]:
        return None
    return TriggerConfig(
        name=section.name,
        expr=code["expr"],
        cmd=code["cmd"],
        recovery=code["recovery"],
        recovery_cmd=code["recovery_cmd"],
        where=section.where,
        **made,
    )


def _check_depends(depends: Mapping[str, tuple[Where, tuple[str, ...]]], found: Findings) -> None:
    for name, (where, above) in depends.items():
        for one in above:
            if one not in depends:
                found.fault(where, f"{one!r}: no such trigger ({known_near(one, depends)})")
        circle = _circle(name, depends)
        if circle and name == min(circle):
            found.fault(where, f"goes in a circle: {' -> '.join([*circle, name])}")


def _circle(start: str, depends: Mapping[str, tuple[Where, tuple[str, ...]]]) -> list[str]:
    """The way from `start` back to itself, empty where there is none."""
    before: dict[str, str] = {}
    queue = [start]
    while queue:
        name = queue.pop(0)
        for above in depends[name][1] if name in depends else ():
            if above == start:
                way = [name]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if above not in before:
                before[above] = name
                queue.append(above)
    return []
