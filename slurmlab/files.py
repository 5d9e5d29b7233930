"""What the lab's daemons are configured with: three managers, a head node, eight hosts, two environments. Starts nothing.

Whatever counts seconds is short, for the lab's jobs are."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANAGERS = ("m1", "m2", "m3")
HEAD = "head"
HOSTS = tuple(f"wn{number}" for number in range(1, 9))
ENVIRONMENTS = ("sl4", "debian")
CPUS = 2  # of a host, and of the one VM that it has room for
FARM, SLURM, KEYS, HOOK = "farm", "slurm", "keys", "hook"

COMMON = """\
[bus]
daemon = {port}@127.0.0.1
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
grace = 1
refresh = 5
{common}
[vms]
restart_delay = 1
"""

HOST_INI = """\
[client]
name = {name}
groups = dom0,
plugins = plugins.system, plugins.vm
allow = vm,
heartbeat = 1
[hypervisor]
engine = sim
ticks = 1
farm = {folder}/farm
sim_memory = 2G
sim_cpus = {cpus}
sim_boot = 0.5s
sim_shutdown = 0.2s
sim_hook = {folder}/hook
{common}"""

HEAD_INI = """\
[client]
name = {name}
plugins = plugins.system, plugins.batch
allow = batch,
heartbeat = 1
[batch]
engine = slurm
ticks = 1
timeout = 4
environment = SLURM_CONF={folder}/slurm/slurm.conf,
{common}"""

VMS_INI = """\
[worker]
template = yes
memory = 1G
vcpus = {cpus}
kernel = /boot/vmlinuz
"""

ENVIRONMENTS_INI = """\
[environments]
head = head
hosts = wn*
policy = {policy}
ticks = 1
hold = 2s
switches_max = 8
join_limit = 60s
"""

ENVIRONMENT_INI = """\
[{name}]
template = worker
queue = {name}
boot = 3s
"""

# What a simulated VM does when it starts and ends: it is one slurmd.
HOOK_SH = """\
#!/bin/sh
cd {root} && exec {python} -m slurmlab.node {folder}/slurm "$@"
"""


def nodes() -> dict[str, str]:
    """Name of each VM that can be, and of Slurm's node in it -> partition."""
    return {f"{environment}-{host}": environment for environment in ENVIRONMENTS for host in HOSTS}


def write(folder: Path, port: int, policy: str) -> None:
    """All files of all machines."""
    for name in (FARM, KEYS):
        (folder / name).mkdir(mode=0o700)
    common = COMMON.format(port=port)
    for name in MANAGERS:
        words = {"name": name, "managers": ", ".join(MANAGERS), "common": common}
        _write(folder / name / "vmmanager.ini", MANAGER_INI.format(**words))
        _write(folder / name / "vms.ini", VMS_INI.format(cpus=CPUS))
        (folder / name / "triggers.d").mkdir(mode=0o700)
    write_environments(folder, policy)
    for name, text in ((HEAD, HEAD_INI), *((host, HOST_INI) for host in HOSTS)):
        _write(folder / name / "vmclient.ini", text.format(name=name, folder=folder, common=common, cpus=CPUS))
        (folder / name / "properties.d").mkdir(mode=0o700)
    _write(folder / HOOK, HOOK_SH.format(root=ROOT, python=sys.executable, folder=folder))
    (folder / HOOK).chmod(0o700)


def write_environments(folder: Path, policy: str) -> None:
    text = ENVIRONMENTS_INI.format(policy=policy) + "".join(ENVIRONMENT_INI.format(name=name) for name in ENVIRONMENTS)
    for name in MANAGERS:
        _write(folder / name / "environments.ini", text)


def _write(path: Path, text: str) -> None:
    """For the owner alone, as files with code must be."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
