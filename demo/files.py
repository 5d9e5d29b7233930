"""The files of the demonstration farm: which hosts there are and what their configuration says. Starts nothing.

The prototype's three rules come from conf/examples as shipped; what the demonstration changes in them is listed in CHANGES,
and printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "conf" / "examples"
MANAGER = "mgr1"
SILENT_S_SHIPPED, SILENT_S = 120, 4
WATCHER = "desk1"  # the host that runs `page` when a mailer is silent
PAGED = "paged.txt"


@dataclass(frozen=True, slots=True)
class Host:
    """One client of the farm."""

    name: str
    groups: tuple[str, ...]
    hypervisor: bool = False


HOSTS = (
    Host("desk1", ("desks",)),
    Host("mail1", ("mailers",)),
    Host("mail2", ("mailers",)),
    Host("web1", ("webs",)),
    Host("xen1", ("dom0",), hypervisor=True),
    Host("xen2", ("dom0",), hypervisor=True),
)
VICTIM = "mail2"
SIMULATED = "simulated"  # the folder of the simulated hypervisors
FAST_S = "1s"

VMS = """\
# Kernels are not looked at by the simulated hypervisor.
[shop1]
memory = 1G
kernel = /boot/vmlinuz
anti_affinity = shop2

[shop2]
memory = 1G
kernel = /boot/vmlinuz

[safe1]
memory = 512M
kernel = /boot/vmlinuz
protect = yes

[db1]
memory = 2G
vcpus = 2
kernel = /boot/vmlinuz
priority = 200
"""

HYPERVISOR = """
[hypervisor]
engine = sim
ticks = 1
farm = {farm}
sim_memory = 8G
sim_boot = 1s
sim_shutdown = 1s

[failover]
watchdog = sim
"""
PROTECTED = "safe1"  # of VMS

FAILOVER = f"""
[vms]
restart_delay = {FAST_S}

[failover]
# nobody waits half a minute here after the manager's start
grace = 1
"""

CHANGES = (
    f"client_alive_check: silent after {SILENT_S} s, not {SILENT_S_SHIPPED} s; also asks {WATCHER} to run `page`",
    "client_query: every 5 s, not 30 s; ram_free: read every 2 s, not 60 s",
)


class Missing(Exception):
    """A shipped file is not as the demonstration expects it."""


def write(folder: Path, port: int) -> None:
    """All files of the farm below `folder`, for a bus at this port of 127.0.0.1."""
    (folder / "keys").mkdir(mode=0o700)
    _write(folder / "page.sh", PAGE)
    _write_manager(folder / MANAGER, port)
    for host in HOSTS:
        _write_client(folder / host.name, host, port)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


PAGE = """\
#!/bin/sh
# Stands for whatever reaches the person on duty: notes the text in a file.
printf '%s\\n' "$2" >> "$1"
echo "paged the person on duty"
"""

COMMON = """\
[bus]
daemon = {port}@127.0.0.1
reconnect_max = 1

[log]
target = stderr

[paths]
state = state
run = run
# keys laid here by daemons of the same user are accepted without an operator
local_keys = ../keys
"""


def _write_manager(folder: Path, port: int) -> None:
    settings = f"[manager]\nname = {MANAGER}\ngrace = 1\nsilent_after = 3\nrefresh = 5\n\n"
    _write(folder / "vmmanager.ini", settings + COMMON.format(port=port) + FAILOVER)
    _write(folder / "vms.ini", VMS)
    for name in ("client_query", "client_alive_check"):
        _write(folder / "triggers.d" / f"{name}.ini", _trigger(name))


def _write_client(folder: Path, host: Host, port: int) -> None:
    allow = "vm, log" if host.hypervisor else "log, exec:page"
    settings = f"[client]\nname = {host.name}\ngroups = {', '.join(host.groups)},\nheartbeat = 1\nallow = {allow}\n\n"
    program = (
        "\n[programs]\n[[page]]\n"
        f"argv = /bin/sh, {folder.parent / 'page.sh'}, {folder.parent / PAGED}, {{text}}\n"
        "timeout = 5\n[[[patterns]]]\ntext = '[\\w .:-]{1,200}'\n"
    )
    runs = HYPERVISOR.format(farm=folder.parent / SIMULATED) if host.hypervisor else program
    _write(folder / "vmclient.ini", settings + COMMON.format(port=port) + runs)
    _write(folder / "properties.d" / "prototype.ini", replaced(section("ram_free"), "ticks = 60", "ticks = 2"))
    _write(folder / "properties.d" / "more.ini", MORE)


MORE = """\
[load]
command = load
return_type = float
ticks = 2

[uptime]
command = uptime
ticks = 10
"""


def _trigger(name: str) -> str:
    text = section(name)
    if name == "client_query":
        return replaced(text, "ticks = 30", "ticks = 5")
    text = replaced(replaced(text, str(SILENT_S_SHIPPED), str(SILENT_S)), "2 min!", f"{SILENT_S} s:")
    lines = text.split("\n")
    place = next((at for at, line in enumerate(lines) if "print" in line), None)
    if place is None:
        raise Missing("client_alive_check in conf/examples prints nothing any more")
    indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
    page = "sender.send_execute('exec', {'program': 'page', 'text': c.name + ' is silent'}, to='" + WATCHER + "')"
    return "\n".join([*lines[: place + 1], indent + page, *lines[place + 1 :]])


def section(name: str) -> str:
    """One section of the shipped examples, as it stands in its file."""
    for path in sorted(EXAMPLES.rglob("*.ini")):
        lines = path.read_text(encoding="utf-8").split("\n")
        starts = [at for at, line in enumerate(lines) if line.startswith("[") and not line.startswith("[[")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            if lines[start].strip() == f"[{name}]":
                return "\n".join(lines[start:end]).rstrip() + "\n"
    raise Missing(f"[{name}] is in no file below {EXAMPLES}")


def replaced(text: str, old: str, new: str) -> str:
    """Exactly one place is changed. Raises Missing."""
    if text.count(old) != 1:
        raise Missing(f"the shipped example says `{old}` {text.count(old)} times, not once:\n{text}")
    return text.replace(old, new)


def program(name: str) -> list[str]:
    """How to start one of our console scripts with this very Python."""
    return [str(Path(sys.executable).parent / name)]
