"""What [failover] of vmmanager.ini, fences.ini and the protected VMs of vms.ini mean together. Values in, faults out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from common import leases
from common.config.model import Fault, FenceConfig, ManagerConfig, VmConfig, Where
from common.config.tree import Section, known_near
from common.config.values import quoted

_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,60}", re.ASCII)
_KEYS = {"storage": "storage_hold"}  # a number of the terms -> its key, where the two differ
RESERVED = ("action", "option")  # what the manager itself tells the agent


def faults(config: ManagerConfig, section: Section) -> Iterator[Fault]:
    """`section`: [failover]. safety: numbers that break the argument are refused."""
    for name, why in leases.faults(config.failover.terms):
        yield Fault(section.at(_KEYS.get(name, name)), why)
    if config.failover.witness and config.failover.witness in config.managers:
        yield Fault(section.at("witness"), "is one of the managers (a witness is a client on a host of its own)")
    if config.failover.witness and len(config.managers) % 2:
        text = f"there are {len(config.managers)} managers: a witness is for an even number of them"
        yield Fault(section.at("witness"), text)


def warnings(config: ManagerConfig, manager: Section, section: Section) -> Iterator[Fault]:
    """What is safe, and hardly meant. `manager`, `section`: [manager] and [failover]."""
    if not any(vm.protect for vm in config.vms):
        return
    if len(config.managers) == 2 and not config.failover.witness:
        text = "two managers and no witness: when one is gone, the other may not act (name a witness in [failover])"
        yield Fault(manager.at("managers"), text)
    if config.failover.without_watchdog == "trust":
        text = "trust: a host without a watchdog that hangs may run its VMs twice"
        yield Fault(section.at("without_watchdog"), text)


def fence_faults(device: FenceConfig, section: Section) -> Iterator[Fault]:
    for key in ("agent", "hosts"):
        if key not in section.places:
            yield Fault(section.at(key), "is missing")
    if "hosts" in section.values and not device.hosts:
        yield Fault(section.at("hosts"), "is empty (which hosts?)")
    options = section.parts.get("options")
    for name, value in device.options.items():
        where = options.at(name) if options else section.where
        if not _OPTION.fullmatch(name):
            yield Fault(where, "is no name of an option (letters, digits, _ -)")
        elif name in RESERVED:
            yield Fault(where, "is for the manager to say (leave it out)")
        elif not value.isprintable():
            yield Fault(where, "holds characters that an agent does not take")


def secrets(text: str) -> dict[str, str]:
    """Lines `key=value`, # begins a comment. Raises ValueError with the line."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, sign, value = line.strip().partition("=")
        if not key or key.startswith("#"):
            continue
        if not sign or not _OPTION.fullmatch(key.strip()) or key.strip() in RESERVED:
            raise ValueError(f"line {number}: is no key=value of a fence agent")
        found[key.strip()] = value.strip()
    return found


# --- start_after ------------------------------------------------------------------------------------------------------------


def order_faults(vms: Mapping[str, VmConfig], groups: Iterable[str], at: Mapping[str, Mapping[str, Where]]) -> Iterator[Fault]:
    """What `start_after` names, and that it goes in no circle. `at`: by VM, where each key stands."""
    known = {*vms, *groups}
    for vm in vms.values():
        for target in vm.start_after:
            if target == vm.name:
                yield Fault(at[vm.name]["start_after"], "names this VM itself")
            elif target not in known:
                yield Fault(at[vm.name]["start_after"], f"{quoted(target)}: no such VM or group ({known_near(target, known)})")
        if vm.start_delay_s and not vm.start_after:
            yield Fault(at[vm.name]["start_delay"], "counts from what start_after names, and that is nothing")
    for name in sorted(vms):
        circle = _circle(name, vms)
        if circle and name == min(circle):
            yield Fault(at[name]["start_after"], f"goes in a circle: {' -> '.join([*circle, name])}")


def before(vm: VmConfig, vms: Mapping[str, VmConfig]) -> list[str]:
    """The VMs that are to run before this one; groups are all their other members."""
    names = {name for name in vm.start_after if name in vms}
    names |= {other.name for other in vms.values() if other.group and other.group in vm.start_after}
    return sorted(names - {vm.name})


def _circle(start: str, vms: Mapping[str, VmConfig]) -> list[str]:
    """The way from `start` back to itself; empty where there is none."""
    came_from: dict[str, str] = {}
    queue = [start]
    while queue:
        name = queue.pop(0)
        for other in before(vms[name], vms):
            if other == start:
                way = [name]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if other not in came_from:
                came_from[other] = name
                queue.append(other)
    return []
