"""Where a VM goes, and why not elsewhere: definitions and hosts in, one explained choice out. Knows no order, no time.

A host is possible where the definition, affinity, anti-affinity, CPUs and memory allow it. Among the possible ones the VM stays
where it was; else it goes where the wish of another VM for one of its group is met, then where the largest share of memory
stays free (in whole percent), then to the fewest vCPUs for each CPU, the lowest load, the first name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from common.config.model import VmConfig
from vmmanager.vms.relations import Relations

MIB = 1024 * 1024
NAMES_SHOWN_MAX = 3

Definitions = Mapping[str, VmConfig] | Relations
"""Whoever places many makes the Relations once."""


@dataclass(frozen=True, slots=True)
class Room:
    """A host as placement sees it. `why_not`: the sentence why it takes no VM now, empty where it does.

    `vms`: our VMs that run there or are ordered there. `memory_free_bytes`: what is free beside those; None: not known."""

    host: str
    why_not: str
    memory_free_bytes: int | None
    memory_bytes: int
    cpus: int | None
    load: float | None = None
    vms: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Placement:
    """`why` is the reason of the choice, or of there being none; `rejected` has every other host with its reason."""

    host: str | None
    why: str
    rejected: dict[str, str] = field(default_factory=dict)


def place(
    vm: VmConfig,
    definitions: Definitions,
    rooms: Sequence[Room],
    *,
    prefer: str = "",
    only: str = "",
    along: Sequence[VmConfig] = (),
    moving: frozenset[str] = frozenset(),
) -> Placement:
    """`prefer`: where it was. `only`: what the operator chose. `along`: VMs that are to follow it to the same host. `moving`:
    VMs about to leave the host where they are, so that affinity does not look for them there."""
    relations = Relations.of(definitions)
    asks = _asks(vm, relations, rooms, only, moving)
    ordered = sorted(rooms, key=lambda room: room.host)
    rejected = {room.host: why for room in ordered if (why := _why_not(asks, room))}
    possible = [room for room in ordered if room.host not in rejected]
    if not possible:
        if only and all(room.host != only for room in rooms):
            rejected[only] = "there is no such host"
        return Placement(None, _nowhere(rejected, only), dict(sorted(rejected.items())))
    costs = sorted((_cost(asks, relations, room) for room in possible), key=lambda cost: (cost.host != prefer, cost))
    best, too_small = _first_for_all([vm, *along], costs, relations, rooms, moving)
    rejected |= too_small | {
        cost.host: _beaten(cost, best, prefer) for cost in costs if cost is not best and cost.host not in too_small
    }
    return Placement(best.host, _why(asks, best, len(costs), prefer), dict(sorted(rejected.items())))


def after(rooms: Sequence[Room], vm: VmConfig, host: str) -> tuple[Room, ...]:
    """The rooms once the VM is on the host as well. Where it is now is left to without()."""
    return tuple(_joined(room, vm) if room.host == host and vm.name not in room.vms else room for room in rooms)


def without(rooms: Sequence[Room], vm: VmConfig) -> tuple[Room, ...]:
    """The rooms once the VM is on no host."""
    return tuple(_left(room, vm) if vm.name in room.vms else room for room in rooms)


def seat(
    vms: Sequence[VmConfig],
    definitions: Definitions,
    rooms: Sequence[Room],
    host: str,
    moving: frozenset[str] = frozenset(),
) -> tuple[Room, ...] | str:
    """The rooms once all of them, one after the other, have come to this host; or why that is not possible."""
    relations = Relations.of(definitions)
    for vm in vms:
        room = next((each for each in rooms if each.host == host), None)
        if room is None:
            return f"there is no host {host}"
        if why := _why_not(_asks(vm, relations, rooms, "", moving), room):
            return why if len(vms) == 1 else f"{vm.name}: {why}"
        rooms, moving = after(without(rooms, vm), vm, host), moving - {vm.name}
    return tuple(rooms)


def place_all(
    vms: Iterable[VmConfig], definitions: Definitions, rooms: Sequence[Room], prefer: Mapping[str, str] | None = None
) -> dict[str, Placement]:
    """All of them, in the order in which they were placed: what is important first, then what is large; tied VMs together.

    `prefer`: VM -> where it was. What has its place keeps it: no other order is tried, so that what is important never gives
    way; a VM may therefore find no place though another choice for the earlier ones would have left one."""
    relations = Relations.of(definitions)
    placed: dict[str, Placement] = {}
    for unit in units(vms, relations):
        for at, vm in enumerate(unit):
            found = place(vm, relations, rooms, prefer=(prefer or {}).get(vm.name, ""), along=unit[at + 1 :])
            placed[vm.name] = found
            if found.host is not None:
                rooms = after(rooms, vm, found.host)
    return placed


def units(vms: Iterable[VmConfig], relations: Relations) -> list[list[VmConfig]]:
    """Tied VMs in one unit; the unit with the most important, then the largest VM first."""
    return relations.together(sorted(vms, key=lambda vm: (-vm.priority, -vm.memory_bytes, vm.name)))


def need_bytes(vm: VmConfig) -> int:
    """What must be free on the host: its memory, and a reserve for what the hypervisor keeps for it.

    The reserve is libxl's (libxl_get_required_shadow_memory): 1 MiB for each vCPU and two pages of 4 KiB for each MiB that it
    may grow to; and 2 MiB beside it. Whole MiB."""
    ceiling_mib = max(vm.memory_bytes, vm.memory_max_bytes) // MIB
    return vm.memory_bytes + (2 + vm.vcpus + -(-ceiling_mib // 128)) * MIB


# --- what is possible -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asks:
    """What one VM asks of every host. `beside`: hosts of which it must be one, and why."""

    vm: VmConfig
    need_bytes: int
    only: str
    apart: frozenset[str]
    beside: tuple[tuple[frozenset[str], str], ...]


def _asks(vm: VmConfig, relations: Relations, rooms: Sequence[Room], only: str, moving: frozenset[str]) -> _Asks:
    beside: list[tuple[frozenset[str], str]] = []
    tied = relations.tied(vm) - moving
    if tied and (hosts := frozenset(room.host for room in rooms if room.vms & tied)):
        there = sorted(tied & frozenset().union(*(room.vms for room in rooms)))
        beside.append((hosts, f"affinity ties it to {_some(there)} on {_some(sorted(hosts))}"))
    for group, members in relations.groups_sought(vm).items():
        if hosts := frozenset(room.host for room in rooms if room.vms & (members - moving)):
            beside.append((hosts, f"affinity wants one of {group} beside it, and those are on {_some(sorted(hosts))}"))
    return _Asks(vm, need_bytes(vm), only, relations.apart(vm), tuple(beside))


def _why_not(asks: _Asks, room: Room) -> str:
    """Empty where the host can take the VM; else the first reason, what lasts longest before what may pass."""
    if asks.only and room.host != asks.only:
        return f"the operator chose {asks.only}"
    if asks.vm.hosts and room.host not in asks.vm.hosts:
        return f"its definition allows only {_some(asks.vm.hosts)}"
    if room.why_not:
        return room.why_not
    if room.cpus is None:
        return "its number of CPUs is not known"
    if asks.vm.vcpus > room.cpus:
        return f"needs {_count(asks.vm.vcpus, 'CPU')}, the host has {room.cpus}"
    for hosts, why in asks.beside:
        if room.host not in hosts:
            return why
    if there := asks.apart & room.vms:
        return f"anti_affinity keeps it apart from {_some(sorted(there))}"
    return _too_little(asks.vm, asks.need_bytes, room)


def _too_little(vm: VmConfig, need: int, room: Room) -> str:
    if room.memory_free_bytes is None:
        return "its free memory is not known"
    if need <= room.memory_free_bytes or vm.name in room.vms:
        return ""
    reserve = f"{vm.memory_bytes // MIB} MiB and {(need - vm.memory_bytes) // MIB} MiB to run it"
    return f"needs {need // MIB} MiB ({reserve}), {max(0, room.memory_free_bytes) // MIB} MiB are free"


# --- which of the possible ones ---------------------------------------------------------------------------------------------


class _Cost(NamedTuple):
    """What the host would be like with the VM. The lowest is chosen, by these fields in their order."""

    unmet: int  # minus the VMs there that wait for one of its group
    used_percent: int  # of the host's memory
    vcpus_per_cpu: float
    load_per_cpu: float  # inf: not known
    host: str


def _cost(asks: _Asks, relations: Relations, room: Room) -> _Cost:
    cpus, name = room.cpus or 1, asks.vm.name
    free = (room.memory_free_bytes or 0) - (0 if name in room.vms else asks.need_bytes)
    vcpus = asks.vm.vcpus + relations.vcpus(room.vms - {name})
    return _Cost(
        -relations.met_by(asks.vm, room.vms),
        100 - 100 * free // max(1, room.memory_bytes),
        round(vcpus / cpus, 2),
        inf if room.load is None else round(room.load / cpus, 1),
        room.host,
    )


def _first_for_all(
    vms: Sequence[VmConfig], costs: Sequence[_Cost], relations: Relations, rooms: Sequence[Room], moving: frozenset[str]
) -> tuple[_Cost, dict[str, str]]:
    """The best host that can take all of the VMs, and why not those before it. Where none can, the best for the first VM."""
    too_small: dict[str, str] = {}
    for cost in costs if len(vms) > 1 else ():
        seated = seat(vms, relations, rooms, cost.host, moving)
        if not isinstance(seated, str):
            return cost, too_small
        too_small[cost.host] = f"possible, but not for those tied to it by affinity: {seated}"
    return costs[0], {}


def _why(asks: _Asks, best: _Cost, possible: int, prefer: str) -> str:
    if asks.only:
        return "the operator chose it"
    if best.host == prefer:
        return "it was there before"
    if asks.beside:
        return asks.beside[0][1]
    if possible == 1:
        return "no other host can take it"
    if best.unmet:
        return "a VM there wants one of its group beside it"
    return f"of {possible} possible hosts the least used: then {best.used_percent} % of its memory is used"


def _beaten(cost: _Cost, best: _Cost, prefer: str) -> str:
    """The first field that makes the difference."""
    if best.host == prefer:
        return f"possible, but it was on {prefer} before"
    if cost.unmet != best.unmet:
        return f"possible, but a VM on {best.host} wants one of its group beside it"
    if cost.used_percent != best.used_percent:
        return f"possible, but {cost.used_percent} % of its memory would be used, on {best.host} {best.used_percent} %"
    if cost.vcpus_per_cpu != best.vcpus_per_cpu:
        return f"possible, but it would have {cost.vcpus_per_cpu:g} vCPUs for each CPU, {best.host} {best.vcpus_per_cpu:g}"
    if cost.load_per_cpu != best.load_per_cpu:
        return f"possible, but its load is {'not known' if cost.load_per_cpu == inf else f'higher than that of {best.host}'}"
    return f"possible, but {best.host} is as good, and comes first by name"


# --- words and sums ---------------------------------------------------------------------------------------------------------


def _nowhere(rejected: dict[str, str], only: str) -> str:
    if only:
        return f"{only} cannot take it: {rejected[only]}"
    if not rejected:
        return "no host is known"
    first = "; ".join(f"{host}: {why}" for host, why in sorted(rejected.items())[:NAMES_SHOWN_MAX])
    more = len(rejected) - NAMES_SHOWN_MAX
    return f"no host can take it ({first}{f'; and {more} more' if more > 0 else ''})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN_MAX
    return ", ".join(names[:NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _joined(room: Room, vm: VmConfig) -> Room:
    free = None if room.memory_free_bytes is None else room.memory_free_bytes - need_bytes(vm)
    return replace(room, memory_free_bytes=free, vms=room.vms | {vm.name})


def _left(room: Room, vm: VmConfig) -> Room:
    free = None if room.memory_free_bytes is None else room.memory_free_bytes + need_bytes(vm)
    return replace(room, memory_free_bytes=free, vms=room.vms - {vm.name})
