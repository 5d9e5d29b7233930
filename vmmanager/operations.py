"""The operations of vmctl as one table, op -> function; docs/design/0004 says what each answers. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from common import VERSION
from common.protocol import Control, Execute, FetchProp, GetProp, Value
from vmmanager.asking import EXECUTE_GRACE_S, Question, timeout_of
from vmmanager.context import Refused
from vmmanager.environments import answers as environments
from vmmanager.events import Asked, Reload, Reply, TryTrigger
from vmmanager.failover import answers as failover
from vmmanager.requests import REQUESTS_MAX, Kind
from vmmanager.state import Client, Property
from vmmanager.vms import answers
from vmmanager.vms.tasks import PREFIX
from vmmanager.words import needed, values, word, words

if TYPE_CHECKING:
    from vmmanager.manager import Manager


@dataclass(frozen=True, slots=True)
class Operation:
    """`changes`: refused by a standby."""

    run: Callable[[Manager, Asked], None]
    changes: bool = False


# --- what is so -----------------------------------------------------------------------------------------------------------


def _status(manager: Manager, asked: Asked) -> None:
    context, measured, lead = manager.context, manager.measured, manager.leadership
    states = [client.status for client in context.farm.clients.values()]
    bus = context.config.bus
    manager.context.reply(
        asked.call,
        {
            "name": context.name,
            "version": VERSION,
            "started": manager.started.wall,
            "leader": lead.leader or None,
            "leading": lead.leading,
            "epoch": context.epoch,
            "managers": list(context.farm.managers),
            "bus": {
                "engine": bus.engine,
                "daemon": bus.daemon,
                "name": context.address,
                "connected": bool(context.address),
                "received_bytes": measured.received_bytes,
                "sent_bytes": measured.sent_bytes,
            },
            "clients": {
                "total": len(states),
                **{state: states.count(state) for state in ("connected", "silent", "lost")},
                "pending": manager.keys.counts("pending"),
            },
            "triggers": manager.engine.counts(),
            "dropped": measured.dropped,
            "queues": {name: list(sizes) for name, sizes in measured.queues.items()} | {"requests": _open(manager)},
            "store": measured.store if manager.loaded else {"ok": False, "error": "not open yet", "events": 0} | measured.store,
            "since_leader": context.now.mono - lead.since if lead.since is not None else None,
        },
    )


def _open(manager: Manager) -> list[int]:
    return [len(manager.requests), REQUESTS_MAX]


def _clients(manager: Manager, asked: Asked) -> None:
    pattern, group = word(asked, "pattern"), word(asked, "group")
    farm = manager.context.farm
    if group and group not in farm.groups and group not in ("all", "clients"):
        raise Refused("no-such", f"no client is in a group called {group}")
    among = farm.groups.get(group, farm.clients) if group else farm.clients
    names = [name for name in sorted(among) if not pattern or fnmatchcase(name, pattern)]
    manager.context.reply(asked.call, [_client_row(manager, farm.clients[name]) for name in names])


def _client_row(manager: Manager, client: Client) -> dict[str, Any]:
    now, factor = manager.context.now.wall, manager.context.config.stale_factor
    unknown = sum(1 for one in client.properties.values() if one.unknown(now, factor))
    return {
        "name": client.name, "state": client.status, "address": client.address or None, "groups": list(client.groups),
        "active_timestamp": client.active_timestamp, "age": now - client.active_timestamp, "version": client.version,
        "properties": len(client.properties), "unknown": unknown, "commands": list(client.commands),
    }  # fmt: skip


def _props(manager: Manager, asked: Asked) -> None:
    given, pattern = word(asked, "client"), word(asked, "pattern")
    names = manager.asking.targets([given]) if given else sorted(manager.context.farm.clients)
    rows = []
    for name in names:
        properties = manager.context.farm.clients[name].properties
        for known in sorted(properties):
            if not pattern or fnmatchcase(known, pattern):
                rows.append(_property_row(manager, name, properties[known]))
    manager.context.reply(asked.call, rows)


def _property_row(manager: Manager, client: str, known: Property) -> dict[str, Any]:
    now, reading = manager.context.now.wall, known.reading
    return {
        "client": client, "name": reading.name, "value": reading.value, "type": reading.type, "unit": reading.unit,
        "age": now - known.read_at, "ticks": reading.ticks,
        "stale": now > known.stale_after(manager.context.config.stale_factor), "error": reading.error or None,
    }  # fmt: skip


def _history(manager: Manager, asked: Asked) -> None:
    client, name = needed(asked, "client"), needed(asked, "name")
    since = asked.args.get("since")
    known = manager.context.farm.clients.get(client)
    if known is None:
        raise Refused("no-such", f"no client is called {client}")
    if name not in known.properties:
        raise Refused("no-such", f"{client} has no property {name}")
    first = float(since) if isinstance(since, (int, float)) else 0.0
    samples = [[time, value] for time, value in known.properties[name].history if time >= first]
    manager.context.reply(asked.call, samples)


# --- what clients are asked -----------------------------------------------------------------------------------------------


def _get(manager: Manager, asked: Asked) -> None:
    names = tuple(words(asked, "names"))
    message = FetchProp(names=names) if asked.args.get("fetch") is True else GetProp(names=names)
    _ask(manager, asked, "get", message, timeout_of(asked.args, manager.context.config.request_timeout_s))


def _exec(manager: Manager, asked: Asked) -> None:
    if needed(asked, "command").startswith(PREFIX):  # safety: it would pass by what keeps a VM from running twice
        raise Refused("refused", f"{asked.args['command']} is for `vmctl vm`, which looks first where the VM is")
    timeout_s = timeout_of(asked.args, manager.context.config.request_timeout_s)
    message = Execute(
        execution=f"{manager.context.name}-{manager.context.next_id()}",
        command=needed(asked, "command"),
        parameters=values(asked, "parameters"),
        timeout_s=timeout_s,
    )
    _ask(manager, asked, "exec", message, timeout_s + EXECUTE_GRACE_S)


def _control(manager: Manager, asked: Asked) -> None:
    message = Control(verb=needed(asked, "verb"), arguments=values(asked, "arguments"))
    _ask(manager, asked, "control", message, timeout_of(asked.args, manager.context.config.request_timeout_s))


def _ask(manager: Manager, asked: Asked, kind: Kind, message: Question, timeout_s: float) -> None:
    named = words(asked, "targets")
    if not named:
        raise Refused("usage", "no target is named; `all` means every client")
    if not manager.context.address:
        raise Refused("bus-down", "the manager is not connected to the bus; it tries again by itself")
    names = manager.asking.targets(named)
    if not names:
        raise Refused("no-such", f"no client matches {', '.join(named[:5])}")
    _, progress = manager.asking.ask(kind, message, names, timeout_s, call=asked.call)
    if kind != "get":
        what = message.command if isinstance(message, Execute) else f"control {getattr(message, 'verb', '')}"
        shown = ", ".join(named[:5])
        details: dict[str, Value] = {"targets": list(names)}
        if isinstance(message, Execute):
            details |= {"execution": message.execution, "parameters": message.parameters}
        manager.context.record("request", shown, f"{what} on {len(names)} clients ({shown})", details, asked.who)
    manager.asking.progress(progress, manager.acting)


# --- keys, triggers, silences, events, the daemon itself --------------------------------------------------------------------


def _key_list(manager: Manager, asked: Asked) -> None:
    wanted = word(asked, "state")
    rows = [manager.keys.records[name].row() for name in sorted(manager.keys.records)]
    shown = [row for row in rows if (row["state"] == wanted if wanted else row["state"] != "removed")]
    manager.context.reply(asked.call, shown)


def _decide_key(manager: Manager, asked: Asked) -> None:
    verb, name = asked.op.removeprefix("key-"), needed(asked, "name")
    told = manager.keys.decide(verb, name, asked.who, word(asked, "fingerprint"))
    token = f"key:{manager.context.next_id()}"
    manager.peers.tell("key", told | {"token": token})
    shown = manager.keys.shown(told)
    manager.acknowledge(asked.call, token, {"ok": True, "result": shown})


def _engine(manager: Manager, asked: Asked) -> None:
    answer = manager.decisions.ask_engine(asked)
    manager.carry(answer.effects)
    if answer.wait:
        manager.acknowledge(asked.call, answer.wait, answer.body)
    else:
        manager.context.out.append(Reply(asked.call, answer.body))


def _trigger_test(manager: Manager, asked: Asked) -> None:
    manager.context.out.append(TryTrigger(asked.call, asked.args))


def _events(manager: Manager, asked: Asked) -> None:
    manager.followers.ask(asked.call, asked.args)


def _reload(manager: Manager, asked: Asked) -> None:
    manager.context.note(f"reload: asked by {asked.who}")
    manager.context.out.append(Reload(asked.call))


OPERATIONS: dict[str, Operation] = {
    "status": Operation(_status),
    "clients": Operation(_clients),
    "props": Operation(_props),
    "history": Operation(_history),
    "get": Operation(_get),
    "exec": Operation(_exec, changes=True),
    "control": Operation(_control, changes=True),
    "triggers": Operation(_engine),
    "trigger": Operation(_engine),
    "trigger-test": Operation(_trigger_test),
    "trigger-enable": Operation(_engine, changes=True),
    "silence": Operation(_engine, changes=True),
    "silences": Operation(_engine),
    "unsilence": Operation(_engine, changes=True),
    "events": Operation(_events),
    "key-list": Operation(_key_list),
    "key-accept": Operation(_decide_key, changes=True),
    "key-reject": Operation(_decide_key, changes=True),
    "key-remove": Operation(_decide_key, changes=True),
    "reload": Operation(_reload),
    **{name: Operation(run, changes) for name, (run, changes) in answers.OPERATIONS.items()},
    **{name: Operation(run, changes) for name, (run, changes) in environments.OPERATIONS.items()},
    **{name: Operation(run, changes) for name, (run, changes) in failover.OPERATIONS.items()},
}
