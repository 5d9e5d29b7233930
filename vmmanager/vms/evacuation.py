"""How a host is emptied, and how what left it comes back: a list of steps, each of which may be the last. Moves nothing itself.

Taken one after the other, no step makes a host over-full or breaks an anti-affinity. Important VMs choose their targets first
and move last: the way is tried with what matters less. Tied VMs move one right after the other, or all stay.

A VM that finds no place gets one where a single VM of another host can give way: not more important, and bound by no affinity.
No longer chain is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from common.config.model import VmConfig
from vmmanager.vms.placement import Definitions, Room, after, place, seat, units, without
from vmmanager.vms.relations import Relations

GIVE_WAY_TRIES_MAX = 500  # VMs of other hosts that are tried, for one that finds no place

Rooms = tuple[Room, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One VM moves from `source` to `target`."""

    vm: str
    target: str
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every VM is in one of the two; `steps` may hold VMs of other hosts too, that make room. `stays`: VM -> why."""

    steps: tuple[Step, ...]
    stays: dict[str, str] = field(default_factory=dict)


Move = tuple[Step, ...]
"""Steps to one target that belong together: one VM, or tied ones."""


def plan(host: str, vms: Iterable[str], definitions: Definitions, rooms: Sequence[Room], to: Sequence[str] = ()) -> Plan:
    """`definitions`: with the memory that each VM has now, which may be more than the file gives it. `to`: the only targets,
    where somebody chose them."""
    relations = Relations.of(definitions)
    names = sorted(set(vms))
    known = [relations.definitions[name] for name in names if name in relations.definitions]
    stays = {name: "it has no definition to say where else it may run" for name in names if name not in relations.definitions}
    draft = _Draft(host, relations, _targets(host, rooms, to), frozenset(vm.name for vm in known))
    for unit in [unit for unit in units(known, relations) if draft.move(unit)]:
        stays |= draft.make_room(unit)
    return Plan(draft.steps(), dict(sorted(stays.items())))


def back(moved: Sequence[Step], definitions: Definitions, rooms: Sequence[Room]) -> Plan:
    """The way back from the steps of one evacuation that were taken. `rooms`: as they are now, with the maintenance ended."""
    relations = Relations.of(definitions)
    at = {room.host: room.vms for room in rooms}
    stays: dict[str, str] = {}
    returning: dict[str, Step] = {}
    for step in moved:
        if step.vm not in relations.definitions:
            stays[step.vm] = "it has no definition any more"
        elif step.vm not in at.get(step.target, ()):
            stays[step.vm] = f"it is no longer on {step.target}, where the evacuation had put it"
        else:
            returning[step.vm] = Step(step.vm, step.source, "it was there before", step.target)
    cut = relations.together(relations.definitions[name] for name in reversed(returning))
    newest_first = [tuple(returning[vm.name] for vm in unit) for unit in cut]
    done, left = _in_turn(_lesser_first(newest_first, relations), relations, tuple(rooms))
    return Plan(tuple(done), dict(sorted({**stays, **left}.items())))


def _targets(host: str, rooms: Sequence[Room], to: Sequence[str]) -> Rooms:
    """The rooms with what rules them out as targets."""

    def why_not(room: Room) -> str:
        if room.host == host:
            return "it is being emptied"
        return room.why_not or (f"the operator chose {', '.join(to)}" if to and room.host not in to else "")

    return tuple(replace(room, why_not=why_not(room)) for room in rooms)


class _Draft:
    """The moves found so far, in the order in which they were found, and the rooms as they are after them."""

    def __init__(self, host: str, relations: Relations, rooms: Rooms, leaving: frozenset[str]) -> None:
        self._host = host
        self._relations = relations
        self._before = self._rooms = rooms
        self._leaving = self._all = leaving
        self._moves: list[Move] = []

    def move(self, unit: Sequence[VmConfig]) -> dict[str, str]:
        """All of them to one host; or why each has to stay."""
        rooms, leaving, steps = self._rooms, self._leaving, []
        for number, vm in enumerate(unit, 1):
            found = place(vm, self._relations, rooms, along=unit[number:], moving=leaving)
            if found.host is None:
                tied = f"affinity ties it to {vm.name}, which has to stay: {found.why}"
                return {other.name: found.why if other is vm else tied for other in unit}
            steps.append(Step(vm.name, found.host, found.why, self._host))
            rooms, leaving = after(without(rooms, vm), vm, found.host), leaving - {vm.name}
        self._rooms, self._leaving = rooms, leaving
        self._moves.append(tuple(steps))
        return {}

    def make_room(self, unit: Sequence[VmConfig]) -> dict[str, str]:
        """The same, where needed after one VM of another host has given way to them."""
        if not (why := self.move(unit)):
            return {}
        for other, source in self._may_give_way(unit):
            seated = seat(unit, self._relations, without(self._rooms, other), source, self._leaving)
            found = None if isinstance(seated, str) else place(other, self._relations, seated)
            if found and found.host not in (None, source):
                self._rooms = after(without(self._rooms, other), other, found.host)
                self._moves.append((Step(other.name, found.host, f"makes room for {unit[0].name} on {source}", source),))
                return self.move(unit)
        return why

    def _may_give_way(self, unit: Sequence[VmConfig]) -> list[tuple[VmConfig, str]]:
        """VMs of other hosts, where each is, and the least important and smallest first."""
        rank = max(vm.priority for vm in unit)
        moved = {step.vm for move in self._moves for step in move}
        found = [
            (vm, room.host)
            for room in self._rooms
            if not room.why_not
            for vm in map(self._relations.definitions.get, sorted(room.vms - self._all - moved))
            if vm and vm.priority <= rank and not self._relations.bound(vm)
        ]
        return sorted(found, key=lambda one: (one[0].priority, one[0].memory_bytes, one[0].name, one[1]))[:GIVE_WAY_TRIES_MAX]

    def steps(self) -> tuple[Step, ...]:
        """What matters less first, wherever that keeps every step possible."""
        steps, left = _in_turn(_lesser_first(self._moves[::-1], self._relations), self._relations, self._before)
        return tuple(steps) if not left else tuple(step for move in self._moves for step in move)


# --- in which order ---------------------------------------------------------------------------------------------------------


def _lesser_first(moves: Sequence[Move], relations: Relations) -> list[Move]:
    return sorted(moves, key=lambda move: max(relations.definitions[step.vm].priority for step in move))


def _in_turn(moves: Sequence[Move], relations: Relations, rooms: Rooms) -> tuple[list[Step], dict[str, str]]:
    """The first that is possible, again and again: so one that must leave goes before one that needs its place. And why what is
    left is never possible."""
    waiting = list(moves)
    done: list[Step] = []
    while waiting:
        leaving = frozenset(step.vm for move in waiting for step in move)
        why: dict[str, str] = {}
        for move in waiting:
            reached = seat([relations.definitions[step.vm] for step in move], relations, rooms, move[0].target, leaving)
            if not isinstance(reached, str):
                break
            why |= dict.fromkeys((step.vm for step in move), reached)
        else:
            return done, why
        rooms = reached
        done += move
        waiting.remove(move)
    return done, {}
