"""Hands out slots: bounds that hold for every policy, fair levels, shares. Whole numbers in and out; keeps no state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vmmanager.environments.demand import Choice, Demand, Rejected, Settings, Supply


class Bounds(NamedTuple):
    low: dict[str, int]
    high: dict[str, int]
    slots: int  # all there are; never less than the sum of `low`


def bounds(demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Bounds:
    """The least and the most that each may have. Claims are met in the order of their strength while there are slots:
    what is unknown stays as it is, then `min`, then what was given less than `hold_s` ago."""
    slots = left = sum(has.slots for has in supply.values())
    low: dict[str, int] = dict.fromkeys(supply, 0)
    high: dict[str, int] = {}
    for name, has in supply.items():
        most = settings.quotas[name].max
        high[name] = slots if most is None else min(most, slots)
        if not demand[name].known:
            low[name] = high[name] = has.slots
            left -= has.slots
    for name, quota in settings.quotas.items():
        if quota.min and demand[name].known:
            low[name] = min(quota.min, left)
            left -= low[name]
    for name, has in supply.items():
        if has.held > low[name] and demand[name].known:
            more = min(has.held, high[name]) - low[name]
            if more > 0:
                more = min(more, left)
                low[name] += more
                left -= more
    return Bounds(low, high, slots)


def needs(demand: Mapping[str, Demand], settings: Settings) -> dict[str, int]:
    """The slots that each could fill with the jobs it has."""
    quotas = settings.quotas
    return {name: -(-(asked.waiting + asked.running) // quotas[name].jobs_per_slot) for name, asked in demand.items()}


def clamped(need: Mapping[str, int], limits: Bounds) -> dict[str, int]:
    low, high, _ = limits
    return {name: max(low[name], min(high[name], wish)) for name, wish in need.items()}


def level(need: Mapping[str, int], supply: Mapping[str, Supply], limits: Bounds) -> dict[str, int]:
    """Max-min fair: nobody gets more than it needs while another, who needs it too, has less. Within the bounds."""
    target = clamped(need, limits)
    if sum(target.values()) <= limits.slots:
        return target
    dry, wet = 0, limits.slots  # the level lies between them
    while wet - dry > 1:
        middle = (dry + wet) // 2
        if sum(_filled(target, limits, middle).values()) <= limits.slots:
            dry = middle
        else:
            wet = middle
    filled = _filled(target, limits, dry)
    left = limits.slots - sum(filled.values())
    for name in sorted(filled, key=lambda each: (-supply[each].slots, each)):  # the odd ones stay where they are
        if left and filled[name] == dry < target[name]:
            filled[name] += 1
            left -= 1
    return filled


def _filled(target: Mapping[str, int], limits: Bounds, height: int) -> dict[str, int]:
    return {name: min(wish, max(limits.low[name], height)) for name, wish in target.items()}


def in_order(order: list[str], need: Mapping[str, int], limits: Bounds) -> dict[str, int]:
    """The first of `order` gets all it needs, the next of what is left, and so on; `low` is everybody's."""
    target = dict(limits.low)
    left = limits.slots - sum(target.values())
    for name in order:
        more = max(0, min(left, min(need[name], limits.high[name]) - target[name]))
        target[name] += more
        left -= more
    return target


def apportioned(weights: Mapping[str, float], limits: Bounds) -> dict[str, int]:
    """All slots by weight, within the bounds: one at a time to whom it is due most (Sainte-Lague's divisors)."""
    target = dict(limits.low)
    for _ in range(limits.slots - sum(target.values())):
        room = [name for name in target if target[name] < limits.high[name] and weights[name] > 0]
        if not room:
            break
        due = max(room, key=lambda name: (weights[name] / (2 * target[name] + 1), name))
        target[due] += 1
    return target


def kept(target: Mapping[str, int], supply: Mapping[str, Supply], limits: Bounds) -> dict[str, int]:
    """What nobody asked for stays where it is; where slots must be given, the one with most to spare gives first."""
    wanted = {name: max(target[name], min(has.slots, limits.high[name])) for name, has in supply.items()}
    over = sum(wanted.values()) - limits.slots
    while over > 0:
        spare = sorted((wanted[name] - target[name], name) for name in wanted)
        (most, name), second = spare[-1], spare[-2][0]
        less = min(over, max(1, most - second))
        wanted[name] -= less
        over -= less
    for name in sorted(wanted):  # taken from one that is above its `max`, needed by nobody
        if over < 0:
            more = min(-over, limits.high[name] - wanted[name])
            wanted[name] += more
            over += more
    return wanted


def settled(wanted: dict[str, int], need: dict[str, int], demand: Mapping[str, Demand], supply: Mapping[str, Supply],
            limits: Bounds, settings: Settings) -> Choice:  # fmt: skip
    """The choice, after the dead band: a mix that differs less than it from what there is, is not worth a switch. An
    environment whose jobs wait and which has no slot, or which is outside its bounds, is worth one."""
    now = {name: has.slots for name, has in supply.items()}
    if wanted == now:
        return Choice(wanted, (), need)
    band = settings.band(limits.slots)
    moved = sum(abs(wanted[name] - now[name]) for name in now) / 2
    if moved >= band or any(_urgent(name, wanted, demand, supply, limits) for name in now):
        return Choice(wanted, (), need)
    rule = f"a change of {moved:g} is inside the dead band of {band}"
    return Choice(now, tuple(Rejected(name, wanted[name], now[name], rule) for name in now if wanted[name] != now[name]), need)


def _urgent(name: str, wanted: Mapping[str, int], demand: Mapping[str, Demand], supply: Mapping[str, Supply],
            limits: Bounds) -> bool:  # fmt: skip
    slots = supply[name].slots
    starves = not slots and bool(demand[name].waiting) and wanted[name] > 0
    return starves or not limits.low[name] <= slots <= limits.high[name]
