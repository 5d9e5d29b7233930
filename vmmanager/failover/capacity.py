"""Whether the farm has room for hosts to die: which sequences of failures would leave a protected VM without a host. Pure.

Every host in turn is taken away, its protected VMs are placed on the others as a restart would, then the next host, up to the
number of failures that are to be tolerated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vmmanager.vms.placement import Room, after, place, without
from vmmanager.vms.relations import Relations

LOOKED_AT_MAX = 2_000  # sequences; more are not tried, and that is said
SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """`hosts` die one after the other; `left`: VM -> why no host could take it."""

    hosts: tuple[str, ...]
    left: dict[str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """`tried`: sequences looked at; `all`: whether these are all there are."""

    failures: tuple[Failure, ...]
    tried: int
    all: bool


def check(relations: Relations, rooms: Sequence[Room], most: int) -> Report:
    """`most`: so many hosts die one after the other."""
    budget = _Budget(LOOKED_AT_MAX)
    found = tuple(_failures(relations, tuple(rooms), (), most, budget)) if most else ()
    return Report(found[:SHOWN_MAX], budget.used, budget.used < budget.limit)


@dataclass(slots=True)
class _Budget:
    limit: int
    used: int = 0

    def take(self) -> bool:
        self.used += self.used < self.limit
        return self.used < self.limit


def _failures(
    relations: Relations, rooms: tuple[Room, ...], dead: tuple[str, ...], most: int, budget: _Budget
) -> Iterator[Failure]:
    for room in rooms:
        if room.host in dead or not room.vms:
            continue
        if not budget.take():
            return
        left, now = _without_host(relations, rooms, room.host)
        if left:
            yield Failure((*dead, room.host), left)
        elif len(dead) + 1 < most:
            yield from _failures(relations, now, (*dead, room.host), most, budget)


def _without_host(relations: Relations, rooms: tuple[Room, ...], host: str) -> tuple[dict[str, str], tuple[Room, ...]]:
    """What is left over when this host dies, and the rooms once all others of its VMs are placed."""
    gone = next(room for room in rooms if room.host == host)
    rooms = tuple(replace(room, why_not="it is dead", vms=frozenset()) if room.host == host else room for room in rooms)
    vms = [relations.definitions[name] for name in gone.vms if name in relations.definitions]
    left: dict[str, str] = {}
    for vm in sorted((vm for vm in vms if vm.protect), key=lambda vm: (-vm.priority, vm.name)):
        found = place(vm, relations, without(rooms, vm))
        if found.host is None:
            left[vm.name] = found.why
        else:
            rooms = after(rooms, vm, found.host)
    return left, rooms
