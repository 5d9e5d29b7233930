"""What the lab's daemons are configured with. Shipped defaults wherever a test does not need another number. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from halab.network import BUS, PORT

MANAGERS = ("m1", "m2", "m3")
HOSTS = ("h1", "h2", "h3", "h4", "h5")
VMS = 10
MEMORY_MIB = 1024
FARM, STORAGE, KEYS = "farm", "storage", "keys"

COMMON = """\
[bus]
daemon = {port}@{bus}
reconnect_max = 1
[log]
target = stderr
[paths]
state = state
run = run
local_keys = ../keys
"""

MANAGER_INI = """\
[manager]
name = {name}
managers = {managers},
refresh = 5
{common}[failover]
grace = {grace}
{storage}"""

CLIENT_INI = """\
[client]
name = {name}
groups = dom0,
plugins = plugins.system, plugins.vm
allow = vm,
[hypervisor]
engine = sim
ticks = 1
farm = {folder}/farm
sim_memory = 8G
sim_boot = 0.5s
sim_shutdown = 0.2s
{common}[failover]
{watchdog}{storage}"""

VM_INI = """\
[vm{number}]
memory = {memory}M
kernel = /boot/vmlinuz
state = running
protect = yes
"""

FENCE_INI = """\
[power]
agent = {agent}
hosts = h*,
timeout = 20
[[options]]
plug = {{host}}
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a farm has: a shared folder as the second evidence, a watchdog, a power fence; `grace_s` of the managers."""

    storage: bool = False
    watchdog: bool = True
    fence: bool = False
    grace_s: float = 5.0


def write(folder: Path, kind: Kind, agent: Path) -> None:
    """All files of all machines. `agent`: the program that cuts a host's power."""
    for name in (FARM, STORAGE, KEYS, "log"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    common = COMMON.format(port=PORT, bus=BUS)
    storage = f"storage = {folder / STORAGE}\n" if kind.storage else ""
    for name in MANAGERS:
        words = {"name": name, "managers": ", ".join(MANAGERS), "common": common, "grace": kind.grace_s, "storage": storage}
        _write(folder / name / "vmmanager.ini", MANAGER_INI.format(**words))
        _write(folder / name / "vms.ini", "".join(VM_INI.format(number=n, memory=MEMORY_MIB) for n in range(1, VMS + 1)))
        (folder / name / "triggers.d").mkdir(mode=0o700)
        if kind.fence:
            _write(folder / name / "fences.ini", FENCE_INI.format(agent=agent))
    watchdog = f"watchdog = {'sim' if kind.watchdog else 'none'}\n"
    for name in HOSTS:
        words = {"name": name, "folder": str(folder), "common": common, "watchdog": watchdog, "storage": storage}
        _write(folder / name / "vmclient.ini", CLIENT_INI.format(**words))
        (folder / name / "properties.d").mkdir(mode=0o700)


def _write(path: Path, text: str) -> None:
    """For the owner alone, as files with code must be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
