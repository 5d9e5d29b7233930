"""What the lab's daemons and hosts are configured with: texts and trees of files. Starts nothing, writes nothing.

Every host has the same client, and programs by which a scenario can do to a host what happens in life (guest/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from nacl.signing import SigningKey

from common.keys import public_line, raw_public
from provision import machine
from provision.machine import Machine, Share, Trusted
from provision.tree import Tree
from xenlab import network
from xenlab.qemu import AGENT

GUEST = Path(__file__).resolve().parent / "guest"
ROOT = Path(__file__).resolve().parent.parent
MANAGERS_MAX = 3
PROTECTED = "safe1"  # of VMS_INI
HEAD = "head"
ENVIRONMENTS = {"sl4": 11, "debian": 12}  # name -> number of the address of its domain
DOMAIN_BRIDGE = "xenbr0"
IMAGES, SHARED, LOGS = "/srv/images", "/srv/shared", "/srv/log"
AGENT_SERVICE = f"#!/bin/sh\nexec python3 /opt/xenlab/agent.py {AGENT}\n"

COMMON = """\
[bus]
daemon = {port}@{address}
reconnect_max = 2
[log]
target = stderr
[paths]
"""

MANAGER_INI = """\
[manager]
name = {name}
managers = {managers},
grace = 1
silent_after = 20
stale_factor = 10
refresh = 10
request_timeout = 30
{common}state = state
run = run
local_keys = ../keys
images = {images}
[failover]
grace = 5
"""

# of [failover], for a busy machine, on which an emulated `xl destroy` may take more than the 2.5 s that are shipped
PATIENT = """\
lease = {lease_s}s
stop = 15s
watchdog = 20s
"""

FENCES_INI = """\
[power]
agent = {agent}
hosts = xen*,
[[options]]
plug = {{host}}
sockets = {sockets}
"""

CLIENT_INI = """\
[client]
name = {name}
groups = dom0,
plugins = plugins.system, plugins.exec, plugins.log{more_plugins}
allow = log, exec{more_allow}
heartbeat = 5
{hypervisor}
{common}properties = properties.d
[programs]
"""

DOMAIN_CLIENT_INI = """\
[client]
name = {name}
groups = guests,
plugins = plugins.system, plugins.log
allow = log,
heartbeat = 5
{common}properties = properties.d
"""

HEAD_INI = """\
[client]
name = {name}
plugins = plugins.system, plugins.batch
allow = batch,
heartbeat = 5
[batch]
engine = sim
ticks = 2
farm = {farm}
sim_queues = {queues}
{common}state = state
run = run
local_keys = {keys}
"""

# One slot, on one host.
ENVIRONMENTS_INI = """\
[environments]
head = {head}
hosts = {host}
ticks = 2
hold = 5s
join_limit = 5m
"""

ENVIRONMENT_INI = """\
[{name}]
template = worker-{name}
queue = {name}
boot = 20s
"""

TEMPLATE_INI = """\

[worker-{name}]
template = yes
memory = 96M
image = tiny
cmdline = "{words} host=$vm ip4={address}/{bits} beat"
[[networks]]
eth0 = xenbr0
"""

HYPERVISOR = f"""\
[hypervisor]
engine = xl
ticks = 3
timeout = 15
images = {IMAGES}
shared = {SHARED}
"""

# program -> the patterns of its parameters, in their order
PROGRAMS: Mapping[str, Mapping[str, str]] = {
    "freeze": {"seconds": r"\d{1,3}"},
    "thaw": {},
    "crash": {"vm": r"\w[\w.-]{0,62}"},
    "foreign": {"vm": r"\w[\w.-]{0,62}"},
    "by-hand": {"what": "destroy|list|number", "vm": r"\w[\w.-]{0,62}"},
    "kill-client": {},
    "ping": {"address": r"[\d.]{7,15}", "seconds": r"\d{1,3}"},
    "ping-for": {"address": r"[\d.]{7,15}", "seconds": r"\d{1,3}"},
}
PROGRAM_S = 150

VMS_INI = """\
# The virtual machines of the lab: PVH and PV, diskless, all in RAM.
[web1]
memory = 96M
image = tiny
cmdline = "{words} host=web1 ip4={net}.101/{bits}"
anti_affinity = web2
[[networks]]
eth0 = xenbr0

[web2]
memory = 96M
image = tiny
cmdline = "{words} host=web2 ip4={net}.102/{bits} beat"
[[networks]]
eth0 = xenbr0

[old1]
memory = 96M
type = pv
image = tiny
cmdline = "{words} host=old1 ip4={net}.103/{bits}"
[[networks]]
eth0 = xenbr0

[safe1]
memory = 96M
image = tiny
cmdline = "{words} host=safe1 ip4={net}.104/{bits} beat"
protect = yes
[[networks]]
eth0 = xenbr0

[big1]
memory = 16G
image = tiny

[bad1]
memory = 128M
image = tiny
[[networks]]
eth0 = nosuch0
"""
DOMAIN_WORDS = "console=hvc0 quiet mitigations=off sysrq_always_enabled"

PROPERTIES = """\
[ram_free]
command = ram
parameters = MemFree
return_type = int
ticks = 10

[uptime]
command = uptime
ticks = 10
"""


def common() -> str:
    return COMMON.format(port=network.PORT, address=network.MANAGER)


def manager_names(number: int) -> tuple[str, ...]:
    return tuple(f"mgr{each}" for each in range(1, number + 1))


def manager_ini(name: str, managers: Iterable[str], images: Path, lease_s: int) -> str:
    """`lease_s`: 0: the times of [failover] as they are shipped."""
    text = MANAGER_INI.format(name=name, managers=", ".join(managers), common=common(), images=images)
    return text + (PATIENT.format(lease_s=lease_s) if lease_s else "")


def fences_ini(agent: Path, sockets: Path) -> str:
    return FENCES_INI.format(agent=agent, sockets=sockets)


def vms_ini() -> str:
    return VMS_INI.format(words=DOMAIN_WORDS, net=network.NET, bits=network.BITS)


def templates_ini() -> str:
    """What vms.ini says of the environments' domains."""
    return "".join(
        TEMPLATE_INI.format(name=name, words=DOMAIN_WORDS, address=network.domain_address(number), bits=network.BITS)
        for name, number in ENVIRONMENTS.items()
    )


def environments_ini(host: str) -> str:
    text = ENVIRONMENTS_INI.format(head=HEAD, host=host)
    return text + "".join(ENVIRONMENT_INI.format(name=name) for name in ENVIRONMENTS)


def head_ini(farm: Path, keys: Path) -> str:
    return HEAD_INI.format(name=HEAD, farm=farm, queues=", ".join(ENVIRONMENTS), common=common(), keys=keys)


def client_ini(name: str, *, hypervisor: bool) -> str:
    text = CLIENT_INI.format(
        name=name,
        common=common(),
        hypervisor=HYPERVISOR if hypervisor else "",
        more_plugins=", plugins.vm" if hypervisor else "",
        more_allow=", vm" if hypervisor else ",",
    )
    return text + "".join(_program(program, patterns) for program, patterns in PROGRAMS.items())


def _program(name: str, patterns: Mapping[str, str]) -> str:
    argv = ", ".join([f"/opt/xenlab/{name}", *(f"{{{each}}}" for each in patterns)])
    rows = [f"[[{name}]]", f"argv = {argv},", f"timeout = {PROGRAM_S}"]
    rows += ["[[[patterns]]]", *(f"{each} = '{pattern}'" for each, pattern in patterns.items())] if patterns else []
    return "\n".join(rows) + "\n"


def host_machine(name: str, number: int) -> Machine:
    return Machine(
        name=name,
        cards={"eth0": DOMAIN_BRIDGE},
        addresses={DOMAIN_BRIDGE: f"{network.address(number)}/{network.BITS}"},
        shares=(Share("images", IMAGES, read_only=True), Share("shared", SHARED, cached=True), Share("log", LOGS)),
        logs=LOGS,
    )


def host_tree(
    name: str, number: int, hosts: Iterable[Trusted], key: SigningKey, managers: Mapping[str, SigningKey], hypervisor: bool
) -> Tree:
    """All of one host's own files. `key`: its client's; `managers`: theirs, whose public halves go in."""
    tree = machine.layer(host_machine(name, number), hosts)
    tree.file("etc/vmherd/vmclient.ini", client_ini(name, hypervisor=hypervisor), 0o600)
    tree.file("etc/vmherd/properties.d/lab.ini", PROPERTIES, 0o600)
    client_state(tree, managers)
    tree.file("var/lib/vmherd-client/key", f"vmherd-ed25519-secret {bytes(key).hex()}\n", 0o600)
    for path in sorted(GUEST.iterdir()):
        if path.is_file():
            tree.file(f"opt/xenlab/{path.name}", path.read_bytes(), 0o755)
    tree.file("etc/vmherd-image/services/agent", AGENT_SERVICE, 0o755)
    return tree


def client_state(tree: Tree, managers: Mapping[str, SigningKey]) -> None:
    """Whom a client believes."""
    tree.folder("etc/vmherd", 0o700)
    tree.folder("var/lib/vmherd-client", 0o700)
    tree.folder("var/lib/vmherd-client/managers", 0o700)
    for name, key in managers.items():
        tree.file(f"var/lib/vmherd-client/managers/{name}.pub", f"{public_line(raw_public(key), name)}\n", 0o600)


def domain_tree(name: str, managers: Mapping[str, SigningKey]) -> Tree:
    """One domain's own files, for the image with the client; its key it makes itself."""
    tree = Tree()
    tree.file("etc/vmherd/vmclient.ini", DOMAIN_CLIENT_INI.format(name=name, common=common()), 0o600)
    tree.file("etc/vmherd/properties.d/lab.ini", PROPERTIES, 0o600)
    client_state(tree, managers)
    return tree
