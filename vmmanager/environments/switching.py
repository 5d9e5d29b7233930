"""From the wanted mix to moves of slots: the cheapest drain first, drains taken back, so many switches at once. Pure.

What is switched is decided anew each time from the slots as they are; a plan that is carried out by half harms nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from vmmanager.environments.demand import Settings, Supply
from vmmanager.environments.slots import AWAY, USABLE, Slot, State


class Move(NamedTuple):
    """Drain `slot` for `target`; take it back where that is its own environment."""

    slot: Slot
    target: str


May = Callable[[Slot, str], bool]


def anywhere(slot: Slot, target: str) -> bool:
    return True


def supplies(
    slots: Iterable[Slot], jobs: Mapping[str, int], names: Iterable[str], now: float, hold_s: float
) -> dict[str, Supply]:
    """What each environment has. `jobs` counts the jobs on each slot by name; broken ones are nobody's, nor those whose
    environment is not among `names`."""
    serving, draining = State.SERVING, State.DRAINING  # an enumeration's members are slow to look up
    counts = {name: [0, 0, 0, 0] for name in names}
    for slot in slots:
        state = slot.state
        if state not in USABLE or slot.target not in counts:
            continue
        count = counts[slot.target]
        count[0] += 1
        if state is serving:
            count[1] += 1
            count[2] += not jobs[slot.name]
            count[3] += now - slot.given < hold_s
        elif state is not draining:
            count[3] += 1
    return {name: Supply(*count) for name, count in counts.items()}


def moves(slots: Sequence[Slot], jobs: Mapping[str, int], supply: Mapping[str, Supply], wanted: Mapping[str, int], now: float,
          settings: Settings, may: May = anywhere) -> list[Move]:  # fmt: skip
    """What to do to come from the slots as they are, which `supply` counts, to `wanted`. Slots on their way stay on it; one
    that drains can be taken back or go elsewhere; idle ones are switched only while fewer than `switches_max` are away. `may`:
    which slots an environment can have."""
    missing = {name: want - supply[name].slots for name, want in wanted.items()}
    if not any(missing.values()):
        return []
    chosen = _taken_back(slots, jobs, missing)
    taken = {move.slot.name for move in chosen}
    room = settings.switches_max - sum(slot.state in AWAY for slot in slots)
    for slot in sorted(slots, key=lambda slot: (slot.state is State.SERVING, jobs[slot.name], -slot.since, slot.name)):
        if slot.name in taken or missing.get(slot.target, 0) >= 0 or not _movable(slot, now, settings.hold_s):
            continue
        if not any(count > 0 for count in missing.values()):
            break
        target = max((name for name in missing if may(slot, name)), key=lambda name: (missing[name], name), default="")
        if not target or missing[target] <= 0:
            continue
        if slot.state is State.SERVING and not jobs[slot.name]:
            if room <= 0:
                continue
            room -= 1
        missing[slot.target] += 1
        missing[target] -= 1
        chosen.append(Move(slot, target))
    return chosen


def _movable(slot: Slot, now: float, hold_s: float) -> bool:
    if slot.state is State.SERVING:
        return now - slot.given >= hold_s
    return slot.state is State.DRAINING


def _taken_back(slots: Sequence[Slot], jobs: Mapping[str, int], missing: dict[str, int]) -> list[Move]:
    """Drains that are not needed any more, the costliest first."""
    chosen = []
    for slot in sorted(slots, key=lambda slot: (-jobs[slot.name], slot.name)):
        if slot.state is not State.DRAINING or slot.environment not in missing or slot.target not in missing:
            continue
        if missing[slot.environment] > 0 > missing[slot.target]:
            missing[slot.environment] -= 1
            missing[slot.target] += 1
            chosen.append(Move(slot, slot.environment))
    return chosen
