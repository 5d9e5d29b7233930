"""A farm as its manager tells it: an answer for each operation of docs/design/0004 and 0030."""

from __future__ import annotations

from tests.vmctl.farm_vms import VM_FARM
from tests.vmctl.scripted import NOW as NOW
from tests.vmctl.scripted import Line as Line
from tests.vmctl.scripted import Script as Script
from tests.vmctl.scripted import ScriptedManager as ScriptedManager
from tests.vmctl.scripted import pieces as pieces
from tests.vmctl.scripted import refuses as refuses
from tests.vmctl.scripted import says as says

STATUS = {
    "name": "mgr1.pg.infn.it",
    "version": "0.1.0",
    "started": NOW - 93_784,
    "leader": "mgr1.pg.infn.it",
    "leading": True,
    "epoch": 3,
    "managers": ["mgr1.pg.infn.it", "mgr2.pg.infn.it"],
    "bus": {"engine": "spread", "daemon": "4803@127.0.0.1", "name": "#mgr1#localhost", "connected": True},
    "clients": {"total": 5, "connected": 3, "silent": 1, "lost": 1, "pending": 2},
    "triggers": {"total": 3, "firing": 1, "pending": 1, "unknown": 0, "disabled": 0},
    "dropped": {"expired": 12, "unknown-key": 3, "replayed": 0},
    "queues": {"inbox": [0, 10000], "outbox": [7, 1000]},
    "store": {"ok": True, "error": "", "events": 1204},
    "since_leader": 7500,
}

CLIENTS = [
    {
        "name": "xen1.pg.infn.it",
        "state": "connected",
        "address": "#xen1#localhost",
        "groups": ["dom0"],
        "age": 3.2,
        "active_timestamp": NOW - 3.2,
        "version": "0.1.0",
        "properties": 12,
        "unknown": 0,
        "commands": ["exec:restart", "log"],
    },
    {
        "name": "mail1.pg.infn.it",
        "state": "silent",
        "address": "#mail1#localhost",
        "groups": ["mailers", "debian"],
        "age": 192,
        "active_timestamp": NOW - 192,
        "version": "0.1.0",
        "properties": 20,
        "unknown": 4,
        "commands": ["log"],
    },
    {
        "name": "mail2.pg.infn.it",
        "state": "lost",
        "address": "",
        "groups": ["mailers"],
        "age": 7322.5,
        "active_timestamp": NOW - 7322.5,
        "version": "0.1.0",
        "properties": 20,
        "unknown": 20,
        "commands": [],
    },
]

PROPS = [
    {
        "client": "xen1.pg.infn.it",
        "name": "ram_free",
        "value": 812_345,
        "type": "int",
        "unit": "KiB",
        "age": 12.0,
        "ticks": 60,
        "stale": False,
        "error": "",
    },
    {
        "client": "xen1.pg.infn.it",
        "name": "load",
        "value": 0.25,
        "type": "float",
        "unit": "",
        "age": 4.0,
        "ticks": 10,
        "stale": False,
        "error": "",
    },
    {
        "client": "mail1.pg.infn.it",
        "name": "ram_free",
        "value": 100_000,
        "type": "int",
        "unit": "KiB",
        "age": 700.0,
        "ticks": 60,
        "stale": True,
        "error": "",
    },
    {
        "client": "mail1.pg.infn.it",
        "name": "queue",
        "value": None,
        "type": "int",
        "unit": "",
        "age": 9.0,
        "ticks": -1,
        "stale": False,
        "error": "the program `mailq` ended with status 75: Mail system is down, and it said so at some length",
    },
]

TRIGGERS = [
    {
        "name": "client_query",
        "state": "ok",
        "since": NOW - 60,
        "subjects": {"ok": 1},
        "why": "",
        "fired": 120,
        "last_fired": NOW - 12,
        "cooldown_until": None,
        "enabled": True,
        "dry_run": False,
        "severity": "info",
        "where": "/etc/vmherd/triggers.d/prototype.ini:1: [client_query]",
    },
    {
        "name": "ram_low",
        "state": "firing",
        "since": NOW - 95,
        "subjects": {"firing": 1, "ok": 4},
        "fired": 2,
        "why": "xen1.pg.infn.it: ram_free = 812 for 1m35s, and the rule says below 1000",
        "last_fired": NOW - 95,
        "cooldown_until": NOW + 205,
        "enabled": True,
        "dry_run": True,
        "severity": "critical",
        "where": "/etc/vmherd/triggers.d/site.ini:12: [ram_low]",
    },
]

TRIGGER = TRIGGERS[1] | {
    "subjects": [
        {
            "subject": "xen1.pg.infn.it",
            "state": "firing",
            "since": NOW - 95,
            "why": "held for 60 s",
            "operands": {"ram_free": 812},
        },
        {
            "subject": "mail1.pg.infn.it",
            "state": "unknown",
            "since": NOW - 300,
            "why": "ram_free is stale",
            "operands": {"ram_free": None},
        },
    ],
    "firings": [
        {
            "id": "f-17",
            "at": NOW - 95,
            "subject": "xen1.pg.infn.it",
            "operands": {"ram_free": 812},
            "printed": ["low on xen1"],
            "wishes": [
                {
                    "verb": "execute",
                    "targets": ["mail1.pg.infn.it"],
                    "arguments": {"command": "log", "parameters": {"text": "xen1 is low"}, "names": []},
                }
            ],
            "error": "",
            "outcome": "1 of 1 answered",
            "dry_run": True,
        },
    ],
    "source": {"expr": "client.ram_free < 1000", "cmd": "print('low on', client.name)\nnotify('low')"},
}

KEYS = [
    {
        "name": "xen1.pg.infn.it",
        "role": "client",
        "state": "accepted",
        "fingerprint": "1f2e 3d4c 5b6a 7988 90a1 b2c3 d4e5 f607",
        "first_seen": NOW - 86400 * 3,
        "decided": NOW - 86400 * 2,
        "who": "root",
        "address": "#xen1#localhost",
    },
    {
        "name": "new1.pg.infn.it",
        "role": "client",
        "state": "pending",
        "fingerprint": "aa2e 3d4c 5b6a 7988 90a1 b2c3 d4e5 f607",
        "first_seen": NOW - 60,
        "decided": None,
        "who": "",
        "address": "#new1#localhost",
    },
    {
        "name": "new2.pg.infn.it",
        "role": "client",
        "state": "pending",
        "fingerprint": "bb2e 3d4c 5b6a 7988 90a1 b2c3 d4e5 f607",
        "first_seen": NOW - 50,
        "decided": None,
        "who": "",
        "address": "#new2#localhost",
    },
]

EVENTS = [
    {
        "id": 1,
        "at": NOW - 300,
        "kind": "client",
        "subject": "mail1.pg.infn.it",
        "text": "connected -> silent (nothing heard for 60 s)",
        "details": {},
        "who": "",
    },
    {
        "id": 2,
        "at": NOW - 95,
        "kind": "firing",
        "subject": "ram_low",
        "text": "fired for xen1.pg.infn.it",
        "details": {},
        "who": "",
    },
    {
        "id": 3,
        "at": NOW - 20,
        "kind": "silence",
        "subject": "ram_low",
        "text": "silenced for 2h: new memory comes",
        "details": {},
        "who": "leonello",
    },
]

SILENCES = [
    {"id": 4, "what": "ram_low", "why": "new memory comes", "who": "leonello", "created": NOW - 20, "until": NOW + 7180}
]

ASKED = {"targets": ["mail1.pg.infn.it", "mail2.pg.infn.it", "xen1.pg.infn.it"], "timeout": 10}

GET = pieces(
    {
        "answered": ["xen1.pg.infn.it"],
        "late": [],
        "silent": ["mail1.pg.infn.it"],
        "unreachable": ["mail2.pg.infn.it"],
        "errors": {},
        "elapsed": 10.0,
    },
    ASKED,
    {
        "client": "xen1.pg.infn.it",
        "state": "answered",
        "error": "",
        "readings": [
            {"name": "ram_free", "value": 812_345, "type": "int", "unit": "KiB", "age_s": 0.2, "ticks": 60, "error": ""}
        ],
    },
)

EXEC = pieces(
    {
        "answered": ["xen1.pg.infn.it"],
        "late": [],
        "silent": [],
        "unreachable": [],
        "errors": {"mail1.pg.infn.it": "refused: `restart` is not in the list of what may run here"},
        "elapsed": 0.4,
    },
    {"targets": ["mail1.pg.infn.it", "xen1.pg.infn.it"], "timeout": 60},
    {
        "client": "xen1.pg.infn.it",
        "state": "answered",
        "result": {"status": 0, "output": "stopping httpd\n\tstarting httpd\n", "errors": "one warning"},
        "output": "",
        "reason": "",
        "kind": "ok",
        "elapsed": 0.31,
        "repeated": False,
    },
    {
        "client": "mail1.pg.infn.it",
        "state": "error",
        "result": None,
        "output": "",
        "kind": "refused",
        "elapsed": 0.0,
        "reason": "`restart` is not in the list of what may run here",
        "repeated": False,
    },
)

CONTROL = pieces(
    {"answered": ["xen1.pg.infn.it"], "late": [], "silent": [], "unreachable": [], "errors": {}, "elapsed": 0.01},
    {"targets": ["xen1.pg.infn.it"], "timeout": 10},
    {"client": "xen1.pg.infn.it", "state": "answered", "ok": True, "reason": "", "values": {"uptime": 12.5}},
)

TESTED = [
    {
        "trigger": "ram_low",
        "subject": "xen1.pg.infn.it",
        "at": NOW - 95,
        "value": "true",
        "operands": {"ram_free": 812},
        "would_fire": True,
        "wishes": [{"verb": "notify", "targets": [], "arguments": {"text": "low"}}],
        "printed": ["low"],
        "error": "",
    },
    {
        "trigger": "ram_low",
        "subject": "mail1.pg.infn.it",
        "at": NOW - 95,
        "value": "unknown",
        "operands": {"ram_free": None},
        "would_fire": False,
        "wishes": [],
        "printed": [],
        "error": "",
    },
]

FARM: dict[str, Script] = {
    "status": says(STATUS),
    "clients": says(CLIENTS),
    "props": says(PROPS),
    "get": GET,
    "exec": EXEC,
    "control": CONTROL,
    "triggers": says(TRIGGERS),
    "trigger": says(TRIGGER),
    "trigger-test": says(TESTED),
    "trigger-enable": says({"name": "ram_low", "enabled": False}),
    "history": says([[NOW - 180, 900], [NOW - 120, 850], [NOW - 60, None], [NOW, 812]]),
    "silence": says({"id": 5, "until": NOW + 7200}),
    "silences": says(SILENCES),
    "unsilence": says({"id": 4}),
    "events": pieces({"count": 3}, *EVENTS),
    "key-list": says(KEYS),
    "key-accept": lambda args: says({"name": args["name"], "state": "accepted", "fingerprint": "aa2e 3d4c"})(args),
    "key-reject": lambda args: says({"name": args["name"], "state": "rejected", "fingerprint": "aa2e 3d4c"})(args),
    "key-remove": lambda args: says({"name": args["name"], "state": "pending", "fingerprint": ""})(args),
    "reload": says({"changed": ["trigger ram_low: ticks 30 -> 60", "trigger old: removed"]}),
    **VM_FARM,
}
