"""The mix as it is and as it should be: slots, demand and the operator's wishes in, a plan out. Pure; changes no slot.

The policies know counts only. Here hosts that are reserved, excluded or away, requests, and environments that are paused become
the minima and maxima that a policy is told, and slots that nobody has are given to somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from vmmanager.environments.demand import Choice, Demand, Policy, Quota, Settings, Supply
from vmmanager.environments.explain import explained
from vmmanager.environments.slots import AWAY, Slot, State
from vmmanager.environments.switching import Move, moves, supplies


class Gift(NamedTuple):
    """A slot that nobody has, or whose environment is no more, and the environment that gets it; empty: it goes out of use."""

    slot: Slot
    target: str
    why: str


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a plan is made from. `slots`: those that can be used; `barred`: those that must go out of use, and why."""

    slots: Sequence[Slot]
    barred: Mapping[str, str]
    jobs: Mapping[str, int]  # by slot
    demand: Mapping[str, Demand]
    settings: Settings
    may: Callable[[Slot, str], bool]
    raised: Mapping[str, int] = field(default_factory=dict)  # minima by requests
    paused: Mapping[str, str] = field(default_factory=dict)  # environments that get no more slots now, and why


@dataclass(frozen=True, slots=True)
class Plan:
    supply: Mapping[str, Supply]
    choice: Choice
    moves: Sequence[Move]
    gifts: Sequence[Gift]
    lines: Sequence[str]


def made(situation: Situation, policy: Policy, now: float) -> Plan:
    names = list(situation.settings.quotas)
    usable = [slot for slot in situation.slots if slot.name not in situation.barred]
    supply = supplies(usable, situation.jobs, names, now, situation.settings.hold_s)
    settings, notes = bounded(situation, usable, supply)
    choice = policy.wanted(situation.demand, supply, settings)
    movable = [slot for slot in usable if slot.target in supply]
    chosen = moves(movable, situation.jobs, supply, choice.wanted, now, settings, situation.may)
    gifts = [*_barred(situation), *_given(situation, usable, supply, settings)]
    lines = explained(situation.demand, supply, settings, choice, chosen, situation.jobs)
    lines += notes + [f"slot {gift.slot.name}: {_gift(gift)}" for gift in gifts]
    return Plan(supply, choice, chosen, gifts, lines)


def _gift(gift: Gift) -> str:
    return f"goes to {gift.target}: {gift.why}" if gift.target else f"goes out of use: {gift.why}"


def bounded(situation: Situation, usable: Iterable[Slot], supply: Mapping[str, Supply]) -> tuple[Settings, list[str]]:
    """The quotas as they are now, and why they differ from the file's."""
    quotas, notes = {}, []
    usable = [slot for slot in usable if slot.state is not State.BROKEN]
    for name, quota in situation.settings.quotas.items():
        alone = sum(_only(slot, name, situation) for slot in usable if slot.target == name)
        may = sum(situation.may(slot, name) for slot in usable)
        most = may if may < len(usable) else len(usable) if quota.max is None else max(quota.max, len(usable))
        if may < len(usable):
            notes.append(f"{name}: {may} of the {len(usable)} slots are on hosts that it may use")
        if name in situation.paused:
            most = min(most, supply[name].slots)
            notes.append(f"{name}: gets no more slots now: {situation.paused[name]}")
        raised = situation.raised.get(name, 0)
        if raised > quota.min:
            notes.append(f"{name}: min is {raised}, by requests")
        most = most if quota.max is None else min(most, quota.max)
        least = max(quota.min, raised, alone)
        if least > most:
            notes.append(f"{name}: {least} slots are asked for, and it can have {most}")
        limited = quota.max is not None or most < len(usable)
        quotas[name] = replace(quota, min=min(least, most), max=most if limited else None)
    return replace(situation.settings, quotas=quotas), notes


def _only(slot: Slot, name: str, situation: Situation) -> bool:
    return situation.may(slot, name) and not any(
        situation.may(slot, other) for other in situation.settings.quotas if other != name
    )


def _barred(situation: Situation) -> list[Gift]:
    """Slots of excluded hosts, and those that are no more: as soon as their jobs have ended."""
    return [
        Gift(slot, "", situation.barred[slot.name])
        for slot in situation.slots
        if slot.name in situation.barred and (slot.target or slot.state is State.BROKEN) and slot.state is not State.OUT
    ]


def _given(situation: Situation, usable: Sequence[Slot], supply: Mapping[str, Supply], settings: Settings) -> list[Gift]:
    """Slots that no environment has, each to the one that lacks most. So many begin at the same time as switches may."""
    have = {name: has.slots for name, has in supply.items()}
    known = [name for name in have if situation.demand[name].known]
    room = settings.switches_max - sum(slot.state in AWAY for slot in usable)
    gifts = []
    for slot in usable:
        adrift = slot.target not in have and slot.state is not State.BROKEN
        if not adrift or (slot.state is State.OUT and room <= 0):
            continue
        fit = [name for name in known if situation.may(slot, name) and _room(have[name], settings.quotas[name])]
        if not fit:
            if slot.target:
                gifts.append(Gift(slot, "", f"{slot.target} is in environments.ini no more, and no other may have it"))
            continue
        name = max(fit, key=lambda name: _lack(have[name], settings.quotas[name], situation.demand[name], name))
        have[name] += 1
        room -= slot.state is State.OUT
        why = f"{slot.target} is in environments.ini no more" if slot.target else "no environment has it"
        gifts.append(Gift(slot, name, why))
    return gifts


def _room(has: int, quota: Quota) -> bool:
    return quota.max is None or has < quota.max


def _lack(has: int, quota: Quota, asked: Demand, name: str) -> tuple[int, float, float, str]:
    """Below its minimum first, then who has the most jobs for a slot more, then by shares."""
    need = -(-(asked.waiting + asked.running) // quota.jobs_per_slot)
    return max(0, quota.min - has), max(0, need - has) / (has + 1), quota.share / (2 * has + 1), name
