"""The virtual machines of the farm: an answer for each operation of docs/design/0030."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.vmctl.scripted import NOW, Line, Script, pieces, says

MIB = 1024 * 1024

WEB1: Line = {
    "name": "web1",
    "state": "running",
    "why": "",
    "since": NOW - 10_000,
    "wanted": "running",
    "wanted_by": "file",
    "host": "xen1.pg.infn.it",
    "target": None,
    "group": "web",
    "priority": 100,
    "memory_bytes": 512 * MIB,
    "vcpus": 2,
    "type": "pvh",
    "image": "web@2026.11.28-1",
    "restarts": 0,
    "held": None,
    "task": None,
    "foreign": False,
}
MOVING = {"op": "migrate", "host": "xen1.pg.infn.it", "target": "xen2.pg.infn.it", "text": "copies memory", "share": 0.42}
HELD = "vanished from xen2.pg.infn.it without an order of ours: somebody stopped it by hand"

VMS = [
    WEB1,
    WEB1
    | {
        "name": "web2",
        "state": "migrating",
        "target": "xen2.pg.infn.it",
        "since": NOW + 88,
        "memory_bytes": 1536 * MIB,
        "wanted_by": "leonello",
        "task": MOVING | {"since": NOW + 88},
    },
    WEB1 | {"name": "mail1", "group": "", "state": "stopped", "host": None, "since": NOW - 600, "held": HELD, "why": HELD},
    WEB1
    | {
        "name": "db1",
        "group": "db",
        "state": "failed",
        "host": None,
        "since": NOW - 30,
        "restarts": 3,
        "why": "crashed on xen2.pg.infn.it, 3 restarts within 1h did not help (restart_max = 3)",
    },
    WEB1
    | {
        "name": "old1",
        "state": "unknown",
        "host": None,
        "since": None,
        "wanted": "stopped",
        "group": "",
        "why": "xen3.pg.infn.it, where it was last, is lost: it may still run there",
    },
    {
        "name": "somebodys",
        "state": "running",
        "why": "",
        "since": None,
        "wanted": None,
        "wanted_by": None,
        "host": "xen1.pg.infn.it",
        "memory_bytes": None,
        "vcpus": None,
        "task": None,
        "foreign": True,
    },
]

DEFINITION = {
    "type": "pvh",
    "memory_bytes": 512 * MIB,
    "memory_max_bytes": 1024 * MIB,
    "vcpus": 2,
    "image": "web",
    "kernel": "",
    "initrd": "",
    "cmdline": "console=hvc0",
    "native": "",
    "networks": [{"bridge": "br0", "mac": "00:16:3e:5c:01:02", "vlan": 12}],
    "disks": [{"device": "xvda", "path": "/dev/vg0/web1", "read_only": False, "form": "raw"}],
}
DOMAIN = {
    "name": "web1",
    "uuid": "6d6b5d0c-54f2-5a0e-9d4b-7e1d5c9a2f10",
    "state": "running",
    "memory_bytes": 512 * MIB,
    "vcpus": 2,
    "cpu_s": 812.5,
    "number": 7,
    "ours": True,
    "note": "",
}
VM = WEB1 | {
    "definition": DEFINITION,
    "domain": DOMAIN,
    "seen": [
        {"host": "xen1.pg.infn.it", "state": "running", "age": 3.2},
        {"host": "xen3.pg.infn.it", "state": "unknown", "age": 7322.5},
    ],
    "placement": {
        "host": "xen2.pg.infn.it",
        "why": "most memory free: 11.2 GiB of 16 GiB",
        "rejected": {"xen1.pg.infn.it": "db1 runs there (anti_affinity = db1)", "xen3.pg.infn.it": "lost"},
    },
}


def change(deed: str) -> Script:
    """Each name: queued, running, done; one with `bad` in it fails."""

    def script(args: Line) -> Iterator[Line | bytes]:
        names = list(args.get("names") or ["web1"])
        failed = {vm: f"{vm} on xen1.pg.infn.it: the bridge br9 is not there (nothing is left)" for vm in names if "bad" in vm}
        there = args.get("host") or "xen1.pg.infn.it"
        host = {"host": "xen1.pg.infn.it", "target": there} if deed == "migrate" else {"host": there, "target": None}
        yield {"more": {"vms": names}}
        for vm in names:
            yield {"more": {"vm": vm, "state": "queued", "text": "", "share": None, "elapsed": 0.0, **host}}
        for vm in names:
            yield {"more": {"vm": vm, "state": "running", "text": deed, "share": 0.5, "elapsed": 0.4, **host}}
            ended = {"state": "failed", "text": failed[vm]} if vm in failed else {"state": "done", "text": f"{deed} done"}
            yield {"more": {"vm": vm, "share": None, "elapsed": 1.25, **host, **ended}}
        done = [vm for vm in names if vm not in failed]
        yield {"ok": True, "result": {"done": done, "failed": failed, "elapsed": 1.5}}

    return script


HOSTS: list[Line] = [
    {
        "name": "xen1.pg.infn.it",
        "state": "connected",
        "kind": "xl",
        "version": "4.17.5",
        "memory_bytes": 16_384 * MIB,
        "memory_free_bytes": 11_469 * MIB,
        "cpus": 8,
        "load": 0.25,
        "age": 3.2,
        "domains": 12,
        "foreign": 1,
        "maintenance": None,
        "evacuation": None,
        "tasks": 1,
        "why": "",
    },
    {
        "name": "xen2.pg.infn.it",
        "state": "connected",
        "kind": "xl",
        "version": "4.17.5",
        "memory_bytes": 16_384 * MIB,
        "memory_free_bytes": 0,
        "cpus": 8,
        "load": None,
        "age": 1.0,
        "domains": 0,
        "foreign": 0,
        "maintenance": {"why": "new memory", "who": "leonello", "since": NOW - 300},
        "evacuation": {"state": "running", "total": 5, "moved": 3, "failed": 1},
        "tasks": 0,
        "why": "the load cannot be read",
    },
    {
        "name": "xen3.pg.infn.it",
        "state": "lost",
        "kind": "libvirt",
        "version": None,
        "memory_bytes": None,
        "memory_free_bytes": None,
        "cpus": None,
        "load": None,
        "age": 7322.5,
        "domains": None,
        "foreign": None,
        "maintenance": None,
        "evacuation": None,
        "tasks": 0,
        "why": "it left the bus, what runs there is not known",
    },
]
HOST = HOSTS[1] | {
    "domains": 1,
    "foreign": 1,
    "list": [
        DOMAIN | {"wanted": "running"},
        DOMAIN | {"name": "somebodys", "ours": False, "number": None, "wanted": None, "note": "paused by hand"},
    ],
}

PLAN = {
    "plan": [
        {"vm": "web1", "target": "xen2.pg.infn.it", "why": "most memory free"},
        {"vm": "web2", "target": "xen4.pg.infn.it", "why": "not beside web1 (anti_affinity)"},
    ],
    "stays": {"db1": "no host has 8 GiB free"},
}
MOVED = {"state": "done", "text": "moved live", "share": None, "elapsed": 9.0, "host": "xen1.pg.infn.it"}
EMPTIED: dict[str, Any] = {"done": ["web1", "web2"], "failed": {}, "stays": PLAN["stays"], "elapsed": 18.0}


def evacuate(args: Line) -> Iterator[Line | bytes]:
    yield {"more": PLAN}
    if args.get("dry_run"):
        yield {"ok": True, "result": {"done": [], "failed": {}, "stays": PLAN["stays"], "elapsed": 0.0}}
        return
    for step in PLAN["plan"]:
        assert isinstance(step, dict)
        yield {"more": {**MOVED, "vm": step["vm"], "target": step["target"]}}
    yield {"ok": True, "result": EMPTIED}


XL = 'name = "web1"\nmemory = 512\nvcpus = 2\ncmdline = "console=hvc0"\n'
CONSOLE = "[    0.000000] Linux version 6.1.0\n[    0.1] \x1b[1mbooting\x1b[0m\r\nweb1 login:\n"

VM_FARM: dict[str, Script] = {
    "vms": says(VMS),
    "vm": says(VM),
    **{
        f"vm-{deed}": change(deed)
        for deed in ("start", "stop", "reboot", "pause", "unpause", "save", "restore", "migrate", "memory")
    },
    "vm-cancel": says({"cancelled": ["web1"], "running": []}),
    "vm-render": says({"vm": "web1", "host": "xen1.pg.infn.it", "kind": "xl", "text": XL}),
    "vm-console": says({"vm": "web1", "host": "xen1.pg.infn.it", "text": CONSOLE}),
    "hosts": says(HOSTS),
    "host": says(HOST),
    "host-maintenance": lambda args: says({"name": args["name"], "maintenance": {"why": "new memory"}})(args),
    "host-evacuate": evacuate,
    "host-evacuate-stop": says({"running": ["web1"], "left": ["web2", "mail1"]}),
    "host-return": pieces(
        {"done": ["web1"], "failed": {}, "elapsed": 9.0},
        {"plan": [{"vm": "web1", "target": "xen1.pg.infn.it", "why": "it was there before"}], "stays": {}},
        {**MOVED, "vm": "web1", "host": "xen2.pg.infn.it", "target": "xen1.pg.infn.it"},
    ),
}

VM_COMMANDS = (
    "vm list",
    "vm list web* --on xen1.pg.infn.it --group web --foreign",
    "vm show web1",
    "vm start web1 bad1",
    "vm start web2 --on xen2.pg.infn.it",
    "vm stop web --yes --limit 2m --no-destroy",
    "vm stop web1 --now --yes",
    "vm reboot web1",
    "vm pause web1",
    "vm unpause web1",
    "vm save web1",
    "vm restore web1 --on xen1.pg.infn.it",
    "vm migrate web1 --to xen2.pg.infn.it",
    "vm start all --yes --detach",
    "vm memory web1 1G",
    "vm cancel web1 web2",
    "vm console-log web1 -n 2",
    "vm render web1 --on xen1.pg.infn.it",
    "host list",
    "host show xen2.pg.infn.it",
    "host maintenance xen1.pg.infn.it on --why memory",
    "host maintenance xen1.pg.infn.it off",
    "host evacuate xen1.pg.infn.it --to xen2.pg.infn.it xen4.pg.infn.it --dry-run",
    "host evacuate xen1.pg.infn.it --why memory --yes",
    "host evacuate xen1.pg.infn.it --stop",
    "host return xen1.pg.infn.it",
)
