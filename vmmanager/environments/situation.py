"""What the mix is decided from: the book, what is heard and seen, and the file, in one Situation; why it stands still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from common.config.environments import matches
from common.config.model import EnvironmentsConfig, VmConfig
from vmmanager.environments import requests
from vmmanager.environments.demand import Demand, Quota, Settings
from vmmanager.environments.mix import Situation
from vmmanager.environments.places import jobs_per_slot, may_serve, place_of, why_not
from vmmanager.environments.slots import AWAY, Slot, State

if TYPE_CHECKING:
    from vmmanager.environments.keeping import Environments

AWAY_S = 60.0  # a slot that is of no use for so long is not counted
SETTLE_S = 30.0  # a new leader decides nothing before it has heard of its hosts, or for so long
UNKNOWN = Demand(0, 0, None, known=False)


def settings_of(config: EnvironmentsConfig, templates: Mapping[str, VmConfig]) -> Settings | None:
    """None where there is no environment."""
    if not config.defined:
        return None
    quotas = {one.name: Quota(one.min, one.max, one.share, jobs_per_slot(one, templates)) for one in config.defined}
    switch_s = max(one.boot_s for one in config.defined)
    low, high = config.utilisation_low, config.utilisation_high
    return Settings(quotas, config.dead_band, config.hold_s, switch_s, config.switches_max, low, high)


def situation(one: Environments, settings: Settings, now: float) -> Situation:
    slots = one.book.slots
    barred = {name: why for name, slot in slots.items() if (why := why_barred(one, slot))}
    usable = [slot for name, slot in sorted(slots.items()) if name in barred or _counts(one, slot, now)]
    defined = {each.name: each for each in one.config.defined}

    def may(slot: Slot, name: str) -> bool:
        place = place_of(slot.name)
        return name in defined and may_serve(one.config, defined[name], place) and not why_not(name, place)

    return Situation(
        usable,
        barred,
        {slot.name: one.jobs_on(slot) for slot in usable},
        {name: one.heard.demand.get(name, UNKNOWN) for name in defined},
        settings,
        may,
        requests.raised(one.book.requests.values(), now),
        _paused(one, now),
    )


def _paused(one: Environments, now: float) -> dict[str, str]:
    """Environments whose starts fail: none of their slots more, and after the pause one at a time."""
    paused = {}
    for name in (each.name for each in one.config.defined):
        subject = f"environment {name}"
        if one.breakers.until(subject) > now or (not one.breakers.closed(subject) and _on_the_way(one, name)):
            paused[name] = one.breakers.by_subject[subject].why
    return paused


def _on_the_way(one: Environments, name: str) -> bool:
    moving = AWAY | {State.DRAINING}
    return any(slot.target == name and slot.state in moving for slot in one.book.slots.values())


def _counts(one: Environments, slot: Slot, now: float) -> bool:
    useless = one.useless.get(slot.name)
    return useless is None or (slot.state is not State.OUT and now - useless.since < AWAY_S)


def why_barred(one: Environments, slot: Slot) -> str:
    """Why no environment may have it: an operator's word, or the file's."""
    place = place_of(slot.name)
    word, host = one.book.excluded.get(place.host), one.machines.hosts.get(place.host)
    if word is not None:
        return f"{place.host} is excluded by {word.who}: {word.why or 'no reason given'}"
    if host is not None and host.in_maintenance:
        return f"{place.host} is in maintenance: {host.why or 'no reason given'}"
    ours = matches(place.host, one.config.hosts)
    if not ours or not any(may_serve(one.config, each, place) for each in one.config.defined):
        return "no environment may have it, by environments.ini"
    return f"{place.host} is excluded in environments.ini" if matches(place.host, one.config.exclude) else ""


def why_stands(one: Environments, now: float) -> str:
    """Why the mix stays as it is; empty where it is decided."""
    frozen = one.book.frozen
    if frozen is not None:
        return f"frozen by {frozen.who}: {frozen.why or 'no reason given'}"
    if one.config.frozen:
        return "frozen = yes in environments.ini"
    if one.heard.silent:
        return f"unknown what the batch system has: {one.heard.silent}"
    return "" if settled(one, now) else "this manager has begun to lead just now: not all hosts have told what they run"


def settled(one: Environments, now: float) -> bool:
    """Has this leader heard of all hosts, or waited for them long enough?"""
    return now - one.since >= SETTLE_S or not any(one.sights.away(place_of(name).host, now) for name in one.book.slots)
