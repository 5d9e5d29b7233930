"""Sentences: what a policy was told, what it wants, what will be done, what was rejected and why. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vmmanager.environments.demand import Choice, Demand, Rejected, Settings, Supply
from vmmanager.environments.slots import State
from vmmanager.environments.switching import Move


def explained(demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings, choice: Choice,
              moves: Iterable[Move], jobs: Mapping[str, int]) -> list[str]:  # fmt: skip
    lines = [_environment(name, demand[name], has, choice) for name, has in supply.items()]
    lines += [str(each) for each in choice.rejected]
    told = {each.environment for each in choice.rejected}
    lines += [str(each) for name in supply if name not in told for each in _cut(name, demand, supply, settings, choice)]
    return lines + [_move(move, jobs) for move in moves]


def _environment(name: str, asked: Demand, has: Supply, choice: Choice) -> str:
    queue = f"{asked.waiting} jobs wait, {asked.running} run" if asked.known else "its batch system does not answer"
    use = f", could use {choice.needed[name]}" if asked.known and name in choice.needed else ""
    change = choice.wanted[name] - has.slots
    have = f"{has.slots} slots, {has.serving} serve, {has.idle} idle"
    return f"{name}: {queue}; {have}{use}; wanted {choice.wanted[name]} ({change:+d})"


def _cut(name: str, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings,
         choice: Choice) -> Iterable[Rejected]:  # fmt: skip
    """Why it does not get what it could use."""
    quota, wanted, has = settings.quotas[name], choice.wanted[name], supply[name]
    need = choice.needed.get(name, wanted)
    if not demand[name].known:
        yield Rejected(name, need, wanted, "what its queue holds is unknown, so nothing is given or taken")
    elif need > wanted and wanted == quota.max:
        yield Rejected(name, need, wanted, f"max = {quota.max}")
    elif need > wanted:
        yield Rejected(name, need, wanted, "the others need theirs")
    elif need < wanted == quota.min:
        yield Rejected(name, need, wanted, f"min = {quota.min}")
    elif need < wanted == has.held:
        yield Rejected(name, need, wanted, f"given to it less than {settings.hold_s:g} s ago")


def _move(move: Move, jobs: Mapping[str, int]) -> str:
    slot, target = move
    if target == slot.environment:
        return f"slot {slot.name}: its drain is taken back, {target} needs it again"
    if slot.state is State.DRAINING:
        return f"slot {slot.name}: drains for {target} instead of {slot.target}"
    return f"slot {slot.name}: {slot.environment} -> {target}, when its {jobs[slot.name]} jobs have ended"
