"""The operations of vmctl on VMs and hosts: rows of what is so, and wishes that become tasks (docs/design/0030). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from common.definition import to_wire
from common.protocol import Value
from vmmanager.context import Refused
from vmmanager.events import Asked
from vmmanager.vms import keeper
from vmmanager.vms.dispatch import STOP_MARGIN_S
from vmmanager.vms.hostbook import HostRecord
from vmmanager.vms.machines import Machines
from vmmanager.vms.placement import place
from vmmanager.vms.records import Op, Record
from vmmanager.vms.sightings import Domain
from vmmanager.vms.states import Status
from vmmanager.vms.tasks import Phase, Task
from vmmanager.words import flag, needed, number, word, words

if TYPE_CHECKING:
    from vmmanager.manager import Manager

CONSOLE_BYTES_MAX = 1024 * 1024
LIMIT_S_MAX = 3600.0
MEMORY_BYTES_MAX = 16 * 1024**4
EVERY = ("all",)
Run = Callable[["Manager", Asked], None]


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a wish at once: nothing yet (GOES_ON), it is so already, or it cannot be."""

    error: str = ""
    text: str = ""


GOES_ON = Said()


def yes(text: str) -> Said:
    return Said(text=text)


def no(error: str) -> Said:
    return Said(error=error)


# --- what is so -----------------------------------------------------------------------------------------------------------


def vms(manager: Manager, asked: Asked) -> None:
    m = manager.machines
    pattern, host, group = word(asked, "pattern"), word(asked, "host"), word(asked, "group")
    if host and host not in m.seen.listings:
        raise Refused("no-such", f"no host with a hypervisor is called {host}")
    if group and not any(vm.group == group for vm in m.definitions.values()):
        raise Refused("no-such", f"no VM is in a group called {group}")
    rows = [row(m, name) for name in sorted(m.definitions.keys() | set(m.seen.names()))]
    if flag(asked, "foreign"):
        rows += _foreign(m)
    shown = [
        each
        for each in rows
        if (not pattern or fnmatchcase(each["name"], pattern))
        and (not host or host in (each["host"], each["target"]))
        and (not group or each["group"] == group)
    ]
    manager.context.reply(asked.call, shown)


def row(m: Machines, name: str) -> dict[str, Any]:
    """Of a VM that is defined, or of a domain of ours that no longer is."""
    vm, record, status = m.definitions.get(name), m.records.get(name) or Record(name), m.status(name)
    task, shown, domain = m.tasks.by_vm.get(name), m.shown.get(name), status.domain
    return {
        "name": name,
        "state": status.state,
        "why": status.why if vm else f"{status.why}; vms.ini does not define it",
        "since": shown.since if shown else None,
        "wanted": keeper.wanted(record, vm) if vm else None,
        "wanted_by": (record.wanted_by if record.wanted else "file") if vm else None,
        "host": status.host or None,
        "target": record.order.target or None if record.order else None,
        "group": vm.group or None if vm else None,
        "priority": vm.priority if vm else None,
        "memory_bytes": domain.memory_bytes if domain and domain.memory_bytes else vm.memory_bytes if vm else None,
        "vcpus": domain.vcpus if domain and domain.vcpus else vm.vcpus if vm else None,
        "type": vm.type if vm else None,
        "image": (record.image if domain else "") or (vm.image if vm else "") or None,
        "restarts": len(record.restarts),
        "held": record.held or None,
        "task": _task(task) if task else None,
        "foreign": False,
    }


def _task(task: Task) -> dict[str, Any]:
    return {
        "op": task.op, "host": task.host or None, "target": task.target or None, "text": task.text, "share": task.share,
        "since": task.since, "state": task.phase.value, "by": task.by,
    }  # fmt: skip


def _foreign(m: Machines) -> list[dict[str, Any]]:
    found = [(host, domain) for host in m.seen.hosts() for domain in m.seen.listings[host].domains if not domain.ours]
    return [_foreign_row(m, host, domain) for host, domain in found]


def _foreign_row(m: Machines, host: str, domain: Domain) -> dict[str, Any]:
    empty = dict.fromkeys(("since", "wanted", "wanted_by", "target", "group", "priority", "type", "image", "held", "task"))
    why = f"{host} lists it as {domain.state}; it is not ours"
    return empty | {
        "name": domain.name, "state": domain.state, "why": why, "host": host, "memory_bytes": domain.memory_bytes,
        "vcpus": domain.vcpus, "restarts": 0, "foreign": True,
    }  # fmt: skip


def vm(manager: Manager, asked: Asked) -> None:
    m, name = manager.machines, needed(asked, "name")
    if name not in m.definitions and not m.seen.where(name):
        raise Refused("no-such", f"no VM is called {name}")
    defined, status = m.definitions.get(name), m.status(name)
    now = manager.context.now.wall
    seen = [
        {"host": host, "state": domain.state, "age": now - m.seen.listings[host].read_at} for host, domain in m.seen.where(name)
    ]
    more = {
        "definition": _definition(m, name) if defined else None,
        "domain": dict(status.domain.told) if status.domain else None,
        "seen": seen,
        "placement": placement(m, name, status) if defined else None,
    }
    manager.context.reply(asked.call, row(m, name) | more)


def _definition(m: Machines, name: str) -> dict[str, Any]:
    vm = m.definitions[name]
    return {
        **to_wire(vm), "hosts": list(vm.hosts), "affinity": list(vm.affinity), "anti_affinity": list(vm.anti_affinity),
        "restart": vm.restart, "restart_max": vm.restart_max, "restart_window_s": vm.restart_window_s, "state": vm.state,
        "where": str(vm.where).rstrip(":"),
    }  # fmt: skip


def placement(m: Machines, name: str, status: Status) -> dict[str, Any]:
    """Where it would go if it were started, or moved, now."""
    rooms, vm = m.dispatch.rooms, m.definitions[name]
    rooms.refresh()
    leaving = status.host if status.state in ("running", "paused") else ""
    found = place(vm, m.relations, rooms.for_vm(vm, leaving=leaving))
    return {"host": found.host, "why": found.why, "rejected": found.rejected}


# --- what is to be done -----------------------------------------------------------------------------------------------------


def start(manager: Manager, asked: Asked) -> None:
    def wish(name: str) -> Said:
        record = manager.machines.records.get(name)
        if record is not None and record.saved and not flag(asked, "discard"):
            return no(
                f"its memory is saved on {record.saved}: `vm restore` goes on with it, `vm start --discard` throws it away"
            )
        return _bring_up(manager.machines, name, asked, "start")

    _wishes(manager, asked, wish)


def restore(manager: Manager, asked: Asked) -> None:
    def wish(name: str) -> Said:
        record = manager.machines.records.get(name)
        only = word(asked, "host") or (record.saved if record else "")
        if not only:
            return no("no saved memory of it is known; name the host that has it (--on)")
        return _bring_up(manager.machines, name, asked, "restore", only)

    _wishes(manager, asked, wish)


def _bring_up(m: Machines, name: str, asked: Asked, op: Op, only: str = "") -> Said:
    only = only or word(asked, "host")
    if only and only not in m.seen.listings:
        return no(f"no host with a hypervisor is called {only}")
    task = m.tasks.by_vm.get(name)
    if task is not None and (task.op != op or only not in ("", task.only, task.host)):
        return no(_under_way(task))
    status = m.status(name)
    if task is None and status.state in ("running", "paused", "lost", "twice"):
        if status.state in ("lost", "twice") or (only and only != status.host):
            return no(f"it is {status.state}: {status.why}")
        _want(m, name, "running", asked.who)
        return yes(f"it is {status.state} on {status.host} already")
    _want(m, name, "running", asked.who, afresh=True)
    if task is None:
        m.dispatch.wish(op, name, asked.who, only=only)
    return GOES_ON


def stop(manager: Manager, asked: Asked) -> None:
    m, orders = manager.machines, manager.context.config.orders
    limit_s = number(asked, "limit", orders.stop_limit_s, LIMIT_S_MAX)
    parameters: dict[str, Value] = {"limit_s": limit_s, "destroy": flag(asked, "destroy", True)}

    def wish(name: str) -> Said:
        task = m.tasks.by_vm.get(name)
        if task is not None and task.phase is Phase.QUEUED:
            m.dispatch.cancel(task, f"{asked.who} wants it stopped")
            task = None
        if task is not None:
            return GOES_ON if task.op in ("stop", "destroy") else no(_under_way(task))
        status = m.status(name)
        if status.state in ("lost", "twice"):
            return no(f"it is {status.state}: {status.why}")
        _want(m, name, "stopped", asked.who, afresh=True)
        if status.state in ("stopped", "waiting", "failed", "saved"):
            return yes("it does not run")
        if flag(asked, "now"):
            m.dispatch.wish("destroy", name, asked.who)
        else:
            m.dispatch.wish("stop", name, asked.who, parameters=parameters, limit_s=limit_s + STOP_MARGIN_S)
        return GOES_ON

    _wishes(manager, asked, wish)


def simple(op: Op) -> Run:
    """An operation on a VM that some host has."""

    def run(manager: Manager, asked: Asked) -> None:
        m, only = manager.machines, word(asked, "host")
        parameters: dict[str, Value] = {}
        if op == "memory":
            parameters["memory_bytes"] = int(number(asked, "memory_bytes", 0, MEMORY_BYTES_MAX))
        if only and only not in m.seen.listings:
            raise Refused("no-such", f"no host with a hypervisor is called {only}")

        def wish(name: str) -> Said:
            if task := m.tasks.by_vm.get(name):
                return no(_under_way(task))
            if op == "save":
                _want(m, name, "stopped", asked.who)
            m.dispatch.wish(op, name, asked.who, only=only, parameters=dict(parameters))
            return GOES_ON

        _wishes(manager, asked, wish)

    return run


def _under_way(task: Task) -> str:
    return f"{task.op} is under way (by {task.by}): {task.text}"


def _want(m: Machines, name: str, wanted: Any, who: str, *, afresh: bool = False) -> None:
    """The operator's last word. `afresh`: what was held or had failed is tried again."""
    record = m.record(name)
    record.wanted, record.wanted_by, record.wanted_at = wanted, who, m.context.now.wall
    if afresh:
        record.held = record.failed = ""
        record.restarts = ()
    m.changed(record)


def _wishes(manager: Manager, asked: Asked, wish: Callable[[str], Said]) -> None:
    """One wish for each VM that is named."""
    m, names = manager.machines, named(manager, asked)
    what, shown = asked.op.removeprefix("vm-"), ", ".join(words(asked, "names")[:5])
    manager.context.record("request", shown, f"{what} of {shown} ({len(names)} VMs)", None, asked.who)
    said = {name: wish(name) for name in names}
    m.watchers.watch(asked.call, names)
    for name, how in said.items():
        if how is not GOES_ON:
            m.watchers.ended(name, how.error, text=how.text, call=asked.call)
        elif task := m.tasks.by_vm.get(name):
            m.watchers.tell(task)


def named(manager: Manager, asked: Asked) -> list[str]:
    """VMs for names, groups, patterns, `all`. Raises Refused for a word that means nothing."""
    m = manager.machines
    if not manager.context.address:
        raise Refused("bus-down", "the manager is not connected to the bus; it tries again by itself")
    groups: dict[str, list[str]] = {}
    for each in m.definitions.values():
        groups.setdefault(each.group, []).append(each.name)
    known = m.definitions.keys() | set(m.seen.names())
    found: set[str] = set()
    for given in words(asked, "names"):
        if given in known:
            found.add(given)
        elif given in EVERY:
            found |= m.definitions.keys()
        elif given in groups and given:
            found.update(groups[given])
        elif any(char in given for char in "*?["):
            found.update(name for name in known if fnmatchcase(name, given))
        else:
            raise Refused("no-such", f"no VM or group of VMs is called {given}")
    if not found:
        raise Refused("usage", "no VM is named, or none matches; `all` means every VM of vms.ini")
    return sorted(found)


def cancel(manager: Manager, asked: Asked) -> None:
    m = manager.machines
    tasks = [m.tasks.by_vm[name] for name in named(manager, asked) if name in m.tasks.by_vm]
    queued = [task for task in tasks if task.phase is Phase.QUEUED]
    for task in queued:
        m.dispatch.cancel(task, f"taken back by {asked.who}")
        if task.op in ("start", "restore"):
            _want(m, task.vm, "stopped", asked.who)
    cancelled = sorted(task.vm for task in queued)
    manager.context.reply(asked.call, {"cancelled": cancelled, "running": sorted(task.vm for task in tasks if task.active)})


# --- asked of a host ----------------------------------------------------------------------------------------------------------


def render(manager: Manager, asked: Asked) -> None:
    """What the host's back end would be given."""
    m, name = manager.machines, needed(asked, "name")
    if name not in m.definitions:
        raise Refused("no-such", f"no VM is called {name}")
    host = word(asked, "host") or m.status(name).host or (placement(m, name, m.status(name))["host"] or "")
    if not host:
        raise Refused("refused", f"no host can take {name} now; name one (--on)")
    _execute(manager, asked, host, "vm-render", {"vm": name, "definition": to_wire(m.definitions[name])})


def console(manager: Manager, asked: Asked) -> None:
    m, name = manager.machines, needed(asked, "name")
    status = m.status(name)
    if not status.host:
        raise Refused("refused", f"no host has {name}: {status.why}")
    count = int(number(asked, "bytes", 65_536, CONSOLE_BYTES_MAX))
    _execute(manager, asked, status.host, "vm-console", {"vm": name, "bytes_max": count})


def _execute(manager: Manager, asked: Asked, host: str, command: str, parameters: dict[str, Value]) -> None:
    if host not in manager.context.farm.clients:
        raise Refused("no-such", f"no host is called {host}")
    manager.machines.questions.execute(asked.call, host, command, parameters)


def image_users(manager: Manager, asked: Asked) -> None:
    manager.machines.questions.image_users(asked.call, needed(asked, "name"), word(asked, "version"))


def settings(manager: Manager, asked: Asked) -> None:
    images = manager.context.config.paths.images
    manager.context.reply(asked.call, {"images": str(images) if images else None})


# --- hosts ----------------------------------------------------------------------------------------------------------------


def hosts(manager: Manager, asked: Asked) -> None:
    pattern, m = word(asked, "pattern"), manager.machines
    manager.context.reply(
        asked.call, [host_row(m, name) for name in m.seen.hosts() if not pattern or fnmatchcase(name, pattern)]
    )


def host_row(m: Machines, name: str) -> dict[str, Any]:
    client, listing, has = m.context.farm.clients[name], m.seen.listings[name], m.dispatch.rooms.capacity(name)
    record = m.hosts.get(name) or HostRecord(name)
    now, fresh = m.context.now.wall, listing.fresh
    ours = [domain for domain in listing.domains if domain.ours]
    evacuation = record.evacuation
    return {
        "name": name,
        "state": client.status,
        "kind": has.kind or client.hypervisor or None,
        "version": has.version or None,
        "memory_bytes": has.memory_bytes,
        "memory_free_bytes": has.memory_free_bytes,
        "cpus": has.cpus,
        "load": has.load,
        "age": now - listing.read_at if listing.read_at else None,
        "domains": len(ours) if fresh else None,
        "foreign": len(listing.domains) - len(ours) if fresh else None,
        "maintenance": {"why": record.why, "who": record.who, "since": record.since} if record.in_maintenance else None,
        "evacuation": {
            "state": evacuation.state, "total": evacuation.total, "moved": len(evacuation.moved),
            "failed": len(evacuation.failed), "stays": evacuation.stays,
        } if evacuation else None,
        "tasks": m.tasks.busy().get(name, 0),
        "why": m.seen.why_unknown(name, now) or has.why or None,
    }  # fmt: skip


def host(manager: Manager, asked: Asked) -> None:
    m, name = manager.machines, _host(manager, asked)
    listed = [_listed(m, domain) for domain in m.seen.listings[name].domains]
    manager.context.reply(asked.call, host_row(m, name) | {"list": listed})


def _listed(m: Machines, domain: Domain) -> dict[str, Any]:
    vm = m.definitions.get(domain.name) if domain.ours else None
    wanted = keeper.wanted(m.records.get(domain.name) or Record(domain.name), vm) if vm else None
    return dict(domain.told) | {"wanted": wanted}


def _host(manager: Manager, asked: Asked) -> str:
    name = needed(asked, "name")
    if name not in manager.machines.seen.listings:
        raise Refused("no-such", f"no host with a hypervisor is called {name}")
    return name


def maintenance(manager: Manager, asked: Asked) -> None:
    m, name = manager.machines, _host(manager, asked)
    _maintain(m, name, flag(asked, "on", True), word(asked, "why"), asked.who)
    token = f"vm-host:{manager.context.next_id()}"
    m.host_changed(m.hosts[name], token)
    manager.acknowledge(
        asked.call, token, {"ok": True, "result": {"name": name, "maintenance": host_row(m, name)["maintenance"]}}
    )


def _maintain(m: Machines, name: str, on: bool, why: str, who: str) -> None:
    record = m.hosts.setdefault(name, HostRecord(name))
    record.why, record.who, record.since = (why, who, m.context.now.wall) if on else ("", "", 0.0)
    what = f"in maintenance: {why or 'no reason given'}" if on else "in service again"
    m.say(name, f"host {name}: {what} (by {who})", who=who)


def evacuate(manager: Manager, asked: Asked) -> None:
    m, name, to = manager.machines, _host(manager, asked), tuple(words(asked, "to"))
    for target in to:
        if target not in m.seen.listings:
            raise Refused("no-such", f"no host with a hypervisor is called {target}")
    if why := m.seen.why_unknown(name, manager.context.now.wall):
        raise Refused("refused", f"{name} {why}: nothing can be moved from it")
    made = m.emptying.plan(name, to)
    told = [{"vm": step.vm, "target": step.target, "why": step.why} for step in made.steps]
    manager.context.more(asked.call, {"plan": told, "stays": made.stays})
    if flag(asked, "dry_run"):
        manager.context.reply(asked.call, {"done": [], "failed": {}, "stays": made.stays, "elapsed": 0.0})
        return
    _maintain(m, name, True, word(asked, "why") or "evacuation", asked.who)
    record = m.emptying.begin(name, made, to, asked.who)
    _follow(manager, asked, name, record)


def evacuate_stop(manager: Manager, asked: Asked) -> None:
    name = _host(manager, asked)
    manager.context.reply(asked.call, manager.machines.emptying.stop(name, asked.who))


def come_back(manager: Manager, asked: Asked) -> None:
    """The way back of an evacuation: into service, and what left returns."""
    m, name = manager.machines, _host(manager, asked)
    record = m.hosts.setdefault(name, HostRecord(name))
    if record.evacuation is not None and record.evacuation.state in ("running", "returning"):
        raise Refused("refused", f"{name}: its evacuation is {record.evacuation.state}; stop it first")
    made = m.emptying.plan_back(record)
    told = [{"vm": step.vm, "target": step.target, "why": step.why} for step in made.steps]
    manager.context.more(asked.call, {"plan": told, "stays": made.stays})
    _maintain(m, name, False, "", asked.who)
    record = m.emptying.begin(name, made, (), asked.who, "returning")
    _follow(manager, asked, name, record)


def _follow(manager: Manager, asked: Asked, name: str, record: HostRecord) -> None:
    m = manager.machines
    names = sorted(task.vm for task in m.tasks.by_vm.values() if task.evacuates == name)
    stays = record.evacuation.stays if record.evacuation else {}
    m.watchers.watch(asked.call, names, {"stays": stays})


# The table of operations: name -> (function, whether it changes the farm).
OPERATIONS: dict[str, tuple[Run, bool]] = {
    "vms": (vms, False),
    "vm": (vm, False),
    "vm-start": (start, True),
    "vm-stop": (stop, True),
    "vm-reboot": (simple("reboot"), True),
    "vm-pause": (simple("pause"), True),
    "vm-unpause": (simple("unpause"), True),
    "vm-save": (simple("save"), True),
    "vm-restore": (restore, True),
    "vm-migrate": (simple("migrate"), True),
    "vm-memory": (simple("memory"), True),
    "vm-cancel": (cancel, True),
    "vm-render": (render, True),
    "vm-console": (console, True),
    "hosts": (hosts, False),
    "host": (host, False),
    "host-maintenance": (maintenance, True),
    "host-evacuate": (evacuate, True),
    "host-evacuate-stop": (evacuate_stop, True),
    "host-return": (come_back, True),
    "image-users": (image_users, True),
    "settings": (settings, False),
}
