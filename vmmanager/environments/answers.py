"""The operations of vmctl on environments: what is so, the plan, words of operators, requests (docs/design/0050). Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from common.config.model import EnvironmentConfig
from vmmanager.context import Refused
from vmmanager.environments import mix
from vmmanager.environments.book import Word
from vmmanager.environments.keeping import Environments
from vmmanager.environments.places import may_serve, place_of, vm_name
from vmmanager.environments.requests import Request, decided, raised, refusal
from vmmanager.environments.situation import UNKNOWN, settings_of, situation, why_barred, why_stands
from vmmanager.environments.slots import Seen, Slot, State
from vmmanager.environments.switching import supplies
from vmmanager.events import Asked
from vmmanager.words import needed, number, word, words

if TYPE_CHECKING:
    from vmmanager.manager import Manager

SLOTS_MAX = 1_000_000
TIME_MAX = 1e11
Run = Callable[["Manager", Asked], None]


# --- what is so -----------------------------------------------------------------------------------------------------------


def environments(manager: Manager, asked: Asked) -> None:
    one = manager.environments
    now = manager.context.now.wall
    rows = [row(one, each, now) for each in one.config.defined]
    manager.context.reply(asked.call, {"environments": rows, "stands": _stands(one) or None, "head": one.heard.head or None})


def _stands(one: Environments) -> str:
    return why_stands(one, one.context.now.wall) if one.leading else ""


def row(one: Environments, defined: EnvironmentConfig, now: float) -> dict[str, Any]:
    name = defined.name
    heard, slots = one.heard, [slot for slot in one.book.slots.values() if name in (slot.environment, slot.target)]
    asked = heard.demand.get(name, UNKNOWN) if not heard.why else UNKNOWN
    jobs = {slot.name: one.jobs_on(slot) for slot in one.book.slots.values()}
    has = supplies(one.book.slots.values(), jobs, [name], now, one.config.hold_s)[name]
    pause = one.breakers.by_subject.get(f"environment {name}")
    return {
        "name": name,
        "known": asked.known,
        "waiting": asked.waiting if asked.known else None,
        "running": asked.running if asked.known else None,
        "oldest_wait": heard.oldest_s.get(name, 0.0) if asked.known else None,
        "slots": has.slots,
        "serving": has.serving,
        "idle": has.idle if not heard.nodes_why else None,
        "wanted": one.plan.choice.wanted.get(name) if one.plan else None,
        "min": max(defined.min, raised(one.book.requests.values(), now).get(name, 0)),
        "max": defined.max,
        "states": {state.value: count for state in State if (count := sum(slot.state is state for slot in slots))},
        "template": defined.template,
        "queue": list(defined.queue),
        "feature": defined.feature or None,
        "user_group": list(defined.user_group),
        "paused_until": pause.until if pause and pause.until > now else None,
        "why": (pause.why if pause and pause.until > now else "") or heard.silent or None,
    }


def environment(manager: Manager, asked: Asked) -> None:
    one, name = manager.environments, needed(asked, "name")
    now = manager.context.now.wall
    defined = next((each for each in one.config.defined if each.name == name), None)
    slots = [slot for _, slot in sorted(one.book.slots.items()) if name in (slot.environment, slot.target)]
    if defined is None and not slots:
        raise Refused("no-such", f"no environment is called {name}")
    told = row(one, defined, now) if defined else {"name": name, "why": "environments.ini does not define it any more"}
    manager.context.reply(asked.call, told | {"list": [slot_row(one, slot, now) for slot in slots]})


def slots(manager: Manager, asked: Asked) -> None:
    one, now = manager.environments, manager.context.now.wall
    manager.context.reply(asked.call, [slot_row(one, slot, now) for _, slot in sorted(one.book.slots.items())])


def slot_row(one: Environments, slot: Slot, now: float) -> dict[str, Any]:
    place = place_of(slot.name)
    slip, useless = one.slips.get(slot.name), one.useless.get(slot.name)
    node = one.heard.nodes.get(one.book.nodes.get(slot.name, ""))
    barred = why_barred(one, slot)
    said = slip.why if slip and slip.turn == slot.turn else ""
    return {
        "slot": slot.name,
        "host": place.host,
        "state": slot.state.value,
        "environment": slot.environment or None,
        "target": slot.target if slot.target != slot.environment else None,
        "since": slot.since,
        "vm": vm_name(slot.environment, place) if slot.environment else None,
        "node": one.book.nodes.get(slot.name) or None,
        "node_state": node.state if node and not one.heard.nodes_why else None,
        "jobs": node.jobs if node and not one.heard.nodes_why else None,
        "failures": slot.failures,
        "why": said or (useless.why if useless else "") or barred or (slip.error if slip else "") or None,
    }


def plan(manager: Manager, asked: Asked) -> None:
    """What would be decided now; nothing is done."""
    one, now = manager.environments, manager.context.now.wall
    settings = settings_of(one.config, one.templates)
    if settings is None:
        raise Refused("no-such", "environments.ini defines no environment")
    stands = _stands(one)
    if one.heard.silent:
        manager.context.reply(asked.call, {"policy": one.config.policy, "stands": stands, "lines": [], "moves": []})
        return
    made = mix.made(situation(one, settings, now), one.policy, now)
    moves: list[dict[str, str | None]] = [
        {"slot": move.slot.name, "from": move.slot.environment, "to": move.target} for move in made.moves
    ]
    moves += [{"slot": gift.slot.name, "from": gift.slot.environment or None, "to": gift.target or None} for gift in made.gifts]
    rejected = [
        {"environment": each.environment, "would": each.would, "slots": each.slots, "rule": each.rule}
        for each in made.choice.rejected
    ]
    told = {
        "policy": one.config.policy, "stands": stands or None, "wanted": made.choice.wanted, "needed": made.choice.needed,
        "lines": list(made.lines), "moves": moves, "rejected": rejected, "unclaimed": one.heard.unclaimed,
    }  # fmt: skip
    manager.context.reply(asked.call, told)


# --- words of operators -----------------------------------------------------------------------------------------------------


def freeze(manager: Manager, asked: Asked) -> None:
    one = manager.environments
    why = word(asked, "why")
    one.book.frozen = Word(asked.who, why, manager.context.now.wall)
    one.book.said("frozen")
    one.say("mix", f"the mix is frozen by {asked.who}: {why or 'no reason given'}", "warning", asked.who)
    manager.context.reply(asked.call, {"frozen": True, "why": why})


def thaw(manager: Manager, asked: Asked) -> None:
    one = manager.environments
    if one.book.frozen is None:
        also = " (environments.ini says frozen = yes)" if one.config.frozen else ""
        raise Refused("refused", f"the mix is not frozen by anybody{also}")
    one.book.frozen = None
    one.book.said("frozen")
    one.say("mix", f"the mix is free again (by {asked.who})", "info", asked.who)
    one.soon()
    manager.context.reply(asked.call, {"frozen": False})


def exclude(manager: Manager, asked: Asked) -> None:
    one, hosts, why = manager.environments, _hosts(manager, asked), word(asked, "why")
    for host in hosts:
        one.book.excluded[host] = Word(asked.who, why, manager.context.now.wall)
        one.say(host, f"host {host}: no environment may use it: {why or 'no reason given'} (by {asked.who})", "info", asked.who)
    one.book.said("excluded")
    one.soon()
    manager.context.reply(asked.call, {"excluded": hosts})


def include(manager: Manager, asked: Asked) -> None:
    one = manager.environments
    hosts = needed_words(asked, "hosts")
    for host in hosts:
        if host not in one.book.excluded:
            raise Refused(
                "no-such", f"{host} is not excluded (of those that are: {', '.join(sorted(one.book.excluded)) or 'none'})"
            )
    for host in hosts:
        del one.book.excluded[host]
        one.say(host, f"host {host}: environments may use it again (by {asked.who})", "info", asked.who)
    one.book.said("excluded")
    one.soon()
    manager.context.reply(asked.call, {"included": hosts})


def needed_words(asked: Asked, key: str) -> list[str]:
    given = words(asked, key)
    if not given:
        raise Refused("usage", f"{asked.op}: {key} is missing")
    return given


def _hosts(manager: Manager, asked: Asked) -> list[str]:
    known = {place_of(name).host for name in manager.environments.book.slots}
    hosts = needed_words(asked, "hosts")
    for host in hosts:
        if host not in known:
            raise Refused("no-such", f"no host with slots of environments is called {host}")
    return hosts


def release(manager: Manager, asked: Asked) -> None:
    """What is paused is tried again at once: slots, hosts, environments."""
    one, released = manager.environments, []
    for what in needed_words(asked, "names"):
        subjects = [f"{kind} {what}" for kind in ("slot", "host", "environment")]
        found = [subject for subject in subjects if one.breakers.succeeded(subject)]
        slots = [slot for slot in one.book.slots.values() if what in (slot.name, place_of(slot.name).host, slot.environment)]
        broken = [slot for slot in slots if slot.state is State.BROKEN]
        if not found and not broken:
            raise Refused("no-such", f"nothing that is called {what} is paused")
        for slot in broken:
            one.breakers.succeeded(f"slot {slot.name}")
            one.see(slot, Seen.RELEASED, f"released by {asked.who}", manager.context.now.wall)
        released += [*found, *(f"slot {slot.name}" for slot in broken)]
    one.book.said("pauses")
    one.say("pauses", f"released by {asked.who}: {', '.join(sorted(set(released)))}", "info", asked.who)
    one.soon()
    manager.context.reply(asked.call, {"released": sorted(set(released))})


# --- requests ---------------------------------------------------------------------------------------------------------------


def request(manager: Manager, asked: Asked) -> None:
    one, now = manager.environments, manager.context.now.wall
    name = needed(asked, "environment")
    defined = next((each for each in one.config.defined if each.name == name), None)
    if defined is None:
        raise Refused("no-such", f"no environment is called {name}")
    count = int(number(asked, "slots", 0, SLOTS_MAX))
    if count < 1:
        raise Refused("usage", "ask for one slot or more")
    begins = number(asked, "begins", now, TIME_MAX)
    made = Request(
        one.book.next_request(), name, count, begins, number(asked, "ends", 0.0, TIME_MAX), asked.who,
        word(asked, "group"), word(asked, "why"), "pending" if one.config.approval else "approved",
        "" if one.config.approval else asked.who, now,
    )  # fmt: skip
    open_ones = [each for each in one.book.requests.values() if each.phase(now) not in ("cancelled", "over")]
    places = [place_of(each) for each in one.book.slots]
    usable = sum(may_serve(one.config, defined, place) for place in places)
    limit = min(usable, defined.max if defined.max is not None else usable) if places else defined.max
    if why := refusal(made, open_ones, one.config.quotas, limit, len(places), now):
        raise Refused("refused", why)
    one.book.request_changed(made)
    one.say(made.id, f"request {made.id}: {count} slots of {name} for {asked.who}, {made.state}", "info", asked.who)
    one.soon()
    manager.context.reply(asked.call, request_row(made, now))


def requests(manager: Manager, asked: Asked) -> None:
    """The calendar: what is to come and what is now; with `all` also what is over."""
    now, every = manager.context.now.wall, asked.args.get("all") is True
    found = sorted(manager.environments.book.requests.values(), key=lambda one: (one.begins, one.id))
    rows = [request_row(one, now) for one in found if every or one.phase(now) not in ("cancelled", "over")]
    manager.context.reply(asked.call, rows)


def request_row(one: Request, now: float) -> dict[str, Any]:
    return {"id": one.id, **one.row(), "state": one.phase(now)}


def decide(state: Any) -> Run:
    def run(manager: Manager, asked: Asked) -> None:
        one, now = manager.environments, manager.context.now.wall
        found = one.book.requests.get(needed(asked, "id"))
        if found is None:
            raise Refused("no-such", f"no request is called {asked.args.get('id')}")
        phase = found.phase(now)
        if phase in ("cancelled", "over") or (state == "approved" and found.state == "approved"):
            raise Refused("refused", f"request {found.id} is {phase} already")
        if state == "approved" and one.config.approvers and asked.who not in one.config.approvers:
            raise Refused("refused", f"{asked.who} may not approve ({', '.join(one.config.approvers)} may: approvers)")
        made = decided(found, state, asked.who)
        one.book.request_changed(made)
        one.say(made.id, f"request {made.id}: {state} by {asked.who}", "info", asked.who)
        one.soon()
        manager.context.reply(asked.call, request_row(made, now))

    return run


OPERATIONS: dict[str, tuple[Run, bool]] = {
    "envs": (environments, False),
    "env": (environment, False),
    "env-slots": (slots, False),
    "env-plan": (plan, False),
    "env-freeze": (freeze, True),
    "env-thaw": (thaw, True),
    "env-exclude": (exclude, True),
    "env-include": (include, True),
    "env-release": (release, True),
    "env-request": (request, True),
    "env-requests": (requests, False),
    "env-approve": (decide("approved"), True),
    "env-cancel": (decide("cancelled"), True),
}
