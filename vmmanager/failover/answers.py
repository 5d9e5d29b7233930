"""The operations of vmctl on fail-over: what is so, and an operator's words (docs/design/0004, 0040). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from common.config.model import VmConfig
from vmmanager.context import Refused
from vmmanager.events import Asked
from vmmanager.failover import timeline as times
from vmmanager.failover.capacity import check
from vmmanager.failover.fencing import levels
from vmmanager.failover.hosts import PROVED, Host
from vmmanager.vms import keeper
from vmmanager.vms.answers import placement
from vmmanager.vms.records import Record
from vmmanager.words import needed, number, word

if TYPE_CHECKING:
    from vmmanager.manager import Manager

FAILURES_MAX = 16
Run = Callable[["Manager", Asked], None]


def status(manager: Manager, asked: Asked) -> None:
    """Who may act, and how it stands with each host."""
    watch, authority, now = manager.failover, manager.reign.authority, manager.context.now.mono
    restraint = watch.restraint
    left_s = authority.until() - now
    manager.context.reply(
        asked.call,
        {
            "leader": manager.leadership.leader or None,
            "acting": watch.acting,
            "why_not": None if watch.acting else authority.why_not(now),
            "voters": list(authority.voters),
            "needed": authority.needed,
            "authority_left": None if authority.alone or left_s < 0 else left_s,
            "strangers": manager.reign.strangers(),
            "disarmed": {"by": restraint.disarmed_by, "why": restraint.disarmed_why, "since": restraint.disarmed_at}
            if restraint.disarmed
            else None,
            "grace_left": max(0.0, watch.started + manager.context.config.failover.grace_s - now),
            "storm": sorted(restraint.storm),
            "storage": {"error": watch.claiming.seen.error or None} if manager.context.config.failover.storage else None,
            "protected": sorted(vm.name for vm in manager.context.config.vms if vm.protect),
            "rescued": sorted(name for name, record in manager.machines.records.items() if record.rescued),
            "hosts": [_host_row(manager, host) for _, host in sorted(watch.hosts.items())],
        },
    )  # fmt: skip


def _host_row(manager: Manager, host: Host) -> dict[str, Any]:
    watch, now = manager.failover, manager.context.now.mono
    return {
        "name": host.name,
        "state": host.state,
        "why": host.told or host.why or None,
        "since": now - host.since,
        "asked": now - host.asked_at if host.ask else None,
        "lease_left": max(0.0, host.over_at - now) if host.over_at < float("inf") else None,
        "watchdog_s": host.watchdog_s or None,
        "armed": host.ask.armed if host.ask else None,
        "storage": host.storage,
        "protected": sorted(host.book),
        "claim": host.claim or None,
        "proof": host.proof or None,
        "fences": [device.name for device in levels(host.name, manager.context.config.fences)],
        "fenced": watch.fences.last.get(host.name, []),
        "maintenance": watch.maintenance(host.name) or None,
    }


def timeline(manager: Manager, asked: Asked) -> None:
    """The proof for the configured numbers."""
    config, watch = manager.context.config, manager.failover
    watchdog_s = max((host.watchdog_s for host in watch.hosts.values()), default=0.0)
    terms = config.failover.terms
    parts = {
        "a host dies": times.by_time(terms, watchdog_s, storage=False),
        "the same, where it has storage": times.by_time(terms, watchdog_s, storage=True) if config.failover.storage else [],
        "with a fence device": times.by_fence(terms) if config.fences else [],
        "what the host itself does meanwhile": times.of_the_host(terms, watchdog_s),
        "the leader dies": times.of_the_leader(terms),
    }
    manager.context.reply(
        asked.call,
        {
            "terms": asdict(terms),
            "watchdog_s": watchdog_s or terms.watchdog_s,
            "parts": [{"name": name, "steps": [asdict(step) for step in steps]} for name, steps in parts.items() if steps],
        },
    )


def capacity(manager: Manager, asked: Asked) -> None:
    """N+r: does every protected VM find a host when r hosts die?"""
    m, most = manager.machines, int(number(asked, "hosts", manager.context.config.failover.failures_to_tolerate, FAILURES_MAX))
    m.dispatch.rooms.refresh()
    report = check(m.relations, m.dispatch.rooms.all(), most)
    manager.context.reply(
        asked.call,
        {
            "hosts": most,
            "failures": [{"hosts": list(each.hosts), "left": each.left} for each in report.failures],
            "tried": report.tried,
            "all": report.all,
        },
    )


def why(manager: Manager, asked: Asked) -> None:
    """Why a VM is where it is, why not elsewhere, why nothing happens: sentences, the most important first."""
    m, name = manager.machines, needed(asked, "name")
    vm, record = m.definitions.get(name), m.records.get(name) or Record(name)
    if vm is None and not m.seen.where(name):
        raise Refused("no-such", f"no VM is called {name}")
    state, said = m.status(name), []
    said.append(f"it is {state.state}: {state.why}")
    if vm is not None:
        said.append(f"it is wanted {keeper.wanted(record, vm)} by {record.wanted_by if record.wanted else 'vms.ini'}")
    if task := m.tasks.by_vm.get(name):
        said.append(f"{task.op} is {task.phase.value}, by {task.by}: {task.text}")
    said += [
        f"{text}: {why}"
        for text, why in (
            ("it is not started yet", m.waits.get(name, "")),
            ("it is not started any more", record.failed),
            ("it is held", record.held),
            ("it died with", record.rescued),
            ("before its last restart it ran on", record.home),
        )
        if why
    ]
    if vm is not None and vm.protect:
        said += _protected(manager, vm, record)
    elif vm is not None:
        said.append("it is not protected (protect = yes): when its host dies nothing is done until the host is back")
    rejected = placement(m, name, state) if vm is not None else None
    manager.context.reply(
        asked.call, {"name": name, "state": state.state, "host": state.host or None, "said": said, "placement": rejected}
    )


def _protected(manager: Manager, vm: VmConfig, record: Record) -> list[str]:
    watch, said = manager.failover, []
    for place in record.places:
        host = watch.hosts.get(place)
        if host is None:
            said.append(f"{place} asks for no lease")
            continue
        more = host.told or (watch.why_not(host) if host.state not in ("online", "dead", "returned") else "")
        said.append(f"{place} is {host.state}: {host.why}" + (f"; nothing is done: {more}" if more else ""))
    if text := manager.guarding.why_not_start(vm):
        said.append(f"it would not be started now: {text}")
    if not watch.acting:
        said.append(f"this manager does nothing: {manager.reign.authority.why_not(manager.context.now.mono)}")
    return said


# --- an operator's words --------------------------------------------------------------------------------------------------


def arm(manager: Manager, asked: Asked) -> None:
    _disarm(manager, asked, "", 0.0)


def disarm(manager: Manager, asked: Asked) -> None:
    _disarm(manager, asked, needed(asked, "why"), manager.context.now.wall)


def _disarm(manager: Manager, asked: Asked, why: str, at: float) -> None:
    watch = manager.failover
    watch.restraint.disarmed_by, watch.restraint.disarmed_why = (asked.who, why) if at else ("", "")
    watch.restraint.disarmed_at = at
    watch.say("failover", f"fail-over is {f'disarmed: {why}' if at else 'armed'} (by {asked.who})", "warning", asked.who)
    _tell_farm(manager, asked, {"armed": not at})


def confirm(manager: Manager, asked: Asked) -> None:
    """The silence of many at once is real."""
    watch = manager.failover
    storm = watch.restraint.storm
    if not storm:
        raise Refused("refused", "no storm of silent hosts is on: there is nothing to confirm")
    watch.restraint.confirmed |= storm
    names = sorted(storm)
    watch.say("failover", f"{asked.who} confirms that these are silent indeed: {', '.join(names)}", "warning", asked.who)
    _tell_farm(manager, asked, {"confirmed": names})


def _tell_farm(manager: Manager, asked: Asked, result: dict[str, Any]) -> None:
    token = f"lease-farm:{manager.context.next_id()}"
    manager.failover.farm_changed(token)
    manager.acknowledge(asked.call, token, {"ok": True, "result": result})


def fence(manager: Manager, asked: Asked) -> None:
    """Cut the power of a host now."""
    watch, host = manager.failover, _host(manager, asked)
    if host.name in watch.fences.runs:
        watch.fences.runs[host.name].calls.append(asked.call)
        return
    if not watch.fences.begin(host, asked.who, asked.call):
        raise Refused("refused", f"no fence device is for {host.name} (fences.ini)")
    manager.context.record("request", host.name, f"fence of {host.name}", None, asked.who)


def confirm_dead(manager: Manager, asked: Asked) -> None:
    """safety: an operator's word is believed, so he has to say the name twice."""
    watch, host = manager.failover, _host(manager, asked)
    if word(asked, "again") != host.name:
        raise Refused("refused", f"say the name of the host again, in full: {host.name}")
    lists = manager.machines.seen.fresh(host.name)
    if lists or host.state == "online":
        how = "lists its domains" if lists else "holds a lease"
        raise Refused("refused", f"{host.name} is not dead: it {how} at this moment")
    if host.state in PROVED and host.proof in ("fence", "operator"):
        raise Refused("refused", f"{host.name} is dead already: {host.proved_by}")
    watch.dead_by(host, "operator", f"{asked.who} says that it is switched off")
    manager.context.record("request", host.name, f"{host.name} is confirmed to be dead", None, asked.who)
    manager.context.reply(asked.call, {"host": host.name, "state": host.state})


def _host(manager: Manager, asked: Asked) -> Host:
    name = needed(asked, "name")
    watch = manager.failover
    if name not in watch.hosts and name not in manager.machines.seen.listings:
        raise Refused("no-such", f"no host with a hypervisor is called {name}")
    return watch.hosts.setdefault(name, Host(name, since=manager.context.now.mono))


def failback(manager: Manager, asked: Asked) -> None:
    """What was restarted elsewhere goes back to where it ran."""
    name = word(asked, "name")
    moving, left = manager.guarding.fail_back(asked.who, name)
    manager.context.record("request", name or "all", f"failback of {len(moving)} VMs", None, asked.who)
    manager.context.reply(asked.call, {"moving": moving, "left": left})


OPERATIONS: dict[str, tuple[Run, bool]] = {
    "ha-status": (status, False),
    "ha-timeline": (timeline, False),
    "ha-capacity": (capacity, False),
    "vm-why": (why, False),
    "ha-arm": (arm, True),
    "ha-disarm": (disarm, True),
    "ha-confirm": (confirm, True),
    "ha-failback": (failback, True),
    "host-fence": (fence, True),
    "host-confirm-dead": (confirm_dead, True),
}
