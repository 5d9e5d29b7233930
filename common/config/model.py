"""What the INI files say, as frozen dataclasses. Knows no file and no parser; common/config/ makes these, the cores read them.

Times are seconds (suffix _s), sizes bytes (suffix _bytes). Defaults stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common import paths as installed
from common.hypervisor import Disk, Network
from common.leases import Terms

_TERMS = Terms()

PushRule = Literal["on_change", "always", "no"]


@dataclass(frozen=True, slots=True)
class Where:
    """The place in a file that a setting came from; `line` counts from 1. Printed as `file:line: [section] key`."""

    file: str
    line: int = 0
    section: str = ""
    key: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return " ".join(part for part in (f"{place}:", f"[{self.section}]" if self.section else "", self.key) if part)


@dataclass(frozen=True, slots=True)
class Code:
    """Python between braces. `line` is the file's line of the first character, so that errors name the file's line."""

    text: str
    where: Where


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a place, as one sentence, with what would be right. Also used for warnings."""

    where: Where
    text: str

    def __str__(self) -> str:
        return f"{self.where} {self.text}" if str(self.where).endswith(":") else f"{self.where}: {self.text}"


class ConfigurationError(Exception):
    """The files cannot be used. `faults`: all faults of all files, in the order of files and lines; printed one a line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        unique = {(f.where.file, f.where.line, f.where.section, f.where.key, f.text): f for f in faults}
        self.faults: tuple[Fault, ...] = tuple(unique[key] for key in sorted(unique))
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True)
class BusConfig:
    """[bus] of both daemons."""

    engine: Literal["spread", "embedded", "memory"] = "spread"  # embedded: the manager starts vmbus itself, at `daemon`
    daemon: str = "4803@127.0.0.1"  # PORT@HOST, or PORT for the unix socket; SpreadModule's form
    module: Literal["common.bus.spread", "spread"] = "common.bus.spread"  # `spread`: the original C extension
    reconnect_min_s: float = 0.2
    reconnect_max_s: float = 10.0


@dataclass(frozen=True, slots=True)
class LogConfig:
    """[log] of both daemons. `levels` maps a part (bus, triggers, readers, ...) to its own level."""

    target: Literal["stderr", "file", "syslog", "journal"] = "stderr"
    file: Path | None = None
    level: str = "INFO"
    levels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PathsConfig:
    """[paths]: where a daemon keeps what. `local_keys`: a folder in which daemons of one machine (one owner) lay their public
    keys; a key found there is accepted without an operator. None: every key waits for an operator."""

    state: Path = installed.STATE
    run: Path = installed.RUN
    plugins: Path | None = None
    local_keys: Path | None = None


@dataclass(frozen=True, slots=True)
class ClientPathsConfig(PathsConfig):
    """[paths] of a client: it runs as root, so it shares no folder with a manager on the same machine."""

    state: Path = installed.CLIENT_STATE
    run: Path = installed.CLIENT_RUN


@dataclass(frozen=True, slots=True)
class PropertyConfig:
    """One section of properties.d/*.ini."""

    name: str
    command: str  # the reader
    where: Where  # of the key `command`
    positional: tuple[str, ...] = ()  # parameters = MemFree, ...
    named: dict[str, str] = field(default_factory=dict)  # [[parameters]] key = value
    return_type: Literal["", "int", "float", "str", "bool", "list", "dict"] = ""  # empty: as the reader gives it
    ticks: float = 60.0  # seconds; -1: only when asked
    push: PushRule = "no"
    timeout_s: float = 10.0
    unit: str = ""
    keep: int = 10  # history length
    type_bytes_max: int = 1_048_576  # a larger value is the property's fault, and unknown


@dataclass(frozen=True, slots=True)
class ProgramConfig:
    """One [[program]] below [programs] of vmclient.ini: what the `exec` command and reader may run, and nothing else.

    `argv` holds the absolute path and arguments, with {name} where a parameter goes; `patterns` the regular expression that
    each parameter must match as a whole."""

    name: str
    argv: tuple[str, ...]
    where: Where
    patterns: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 60.0
    output_bytes_max: int = 65_536


@dataclass(frozen=True, slots=True)
class HypervisorConfig:
    """[hypervisor] of vmclient.ini: which back end this host has, and what it must know. Hashable."""

    engine: Literal["none", "xl", "libvirt", "sim"] = "none"
    ticks: float = 10.0  # seconds between two listings
    timeout_s: float = 10.0  # of one listing
    images: Path | None = None  # the image repository, as this host sees it
    cache: Path | None = None  # local copies of images
    saves: Path | None = None  # saved domains; None: STATE/saves
    shared: Path | None = None  # a folder that other hosts see at the same path, for domains that cannot be moved live
    console: Path | None = None  # where consoles are logged; None: where xenconsoled logs them, by libvirt nowhere
    xl: tuple[str, ...] = ("xl",)
    remote_shell: tuple[str, ...] = ("ssh", "-o", "BatchMode=yes")
    remote_xl: str = "xl"
    uri: str = "qemu:///system"
    target_uri: str = "qemu+ssh://{host}/system"
    farm: Path | None = None  # the folder of the simulated farm
    sim_memory_bytes: int = 16 * 1024**3
    sim_cpus: int = 8
    sim_boot_s: float = 0.0
    sim_shutdown_s: float = 0.0
    sim_bridges: tuple[str, ...] = ()  # empty: any bridge will do
    sim_hook: str = ""  # a program that is run when a simulated guest begins and ends; empty: none


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """[batch] of vmclient.ini: which batch system this host can ask, and how its programs are run. Hashable."""

    engine: Literal["none", "slurm", "sge", "pbs", "htcondor", "sim"] = "none"
    ticks: float = 10.0  # seconds between two readings
    timeout_s: float = 30.0  # of one reading
    programs: Path | None = None  # the folder of its programs; None: where programs usually are
    run_with: tuple[str, ...] = ()  # before each program: sudo, -n
    environment: tuple[str, ...] = ()  # NAME=VALUE, for the programs
    farm: Path | None = None  # sim: the folder of the simulated farm
    sim_queues: tuple[str, ...] = ()  # sim: the node X-... serves the queue X


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """[failover] of vmclient.ini: what this host has to keep a protected VM from running twice."""

    watchdog: str = "auto"  # auto, none, sim, or the path of a device
    storage: Path | None = None  # the shared folder for beats and claims, as this host sees it
    witness: bool = False  # it gives its word as a third beside two managers


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """vmclient.ini with its properties.d/."""

    name: str  # full host name; what the envelope says as sender
    groups: tuple[str, ...] = ()
    bus: BusConfig = BusConfig()
    log: LogConfig = field(default_factory=LogConfig)
    paths: PathsConfig = ClientPathsConfig()
    hypervisor: HypervisorConfig = HypervisorConfig()
    batch: BatchConfig = BatchConfig()
    failover: GuardConfig = GuardConfig()
    plugins: tuple[str, ...] = ("plugins.system", "plugins.exec", "plugins.service", "plugins.log")
    allow: tuple[
        str, ...
    ] = ()  # commands a manager may run; default deny. `exec:NAME`: one program; `vm`, `batch`: all vm-..., batch-...
    services: tuple[str, ...] = ()  # services the `service` command may touch
    properties: tuple[PropertyConfig, ...] = ()
    programs: tuple[ProgramConfig, ...] = ()
    accept_managers: Literal["listed", "first"] = "listed"  # first: trust the first manager key ever seen, then only that
    parallel: int = 4  # commands at the same time
    push_bytes_per_s_max: int = 1_048_576
    heartbeat_s: float = 30.0  # says something at least this often
    warnings: tuple[Fault, ...] = field(default=(), compare=False)  # for the log: what was accepted but should be mended


@dataclass(frozen=True, slots=True)
class TriggerConfig:
    """One section of triggers.d/*.ini. docs/triggers.md explains every key."""

    name: str
    expr: Code
    cmd: Code | None
    where: Where
    ticks: float = -1.0
    on_update_check: bool = False
    each: str = ""  # a group, or `clients`: evaluated for each member, as `client`
    for_s: float = 0.0
    recovery: Code | None = None
    recovery_cmd: Code | None = None
    fire: Literal["each", "once"] = "each"  # once: not again before it recovered; the default where `recovery` is given
    cooldown_s: float = 0.0
    unknown: Literal["hold", "false", "true"] = "hold"
    depends_on: tuple[str, ...] = ()
    max_actions: int = 0  # at most this many firings per max_actions_window_s; 0: no limit
    max_actions_window_s: float = 600.0
    max_share: float = 1.0  # at most this share of the known clients may be acted upon within the window
    dry_run: bool = False
    grace_s: float = 0.0  # not before the manager has led for this long
    flap_limit: int = 0  # this many changes within flap_window_s: flapping, held until calm; 0: off
    flap_window_s: float = 600.0
    budget_s: float = 1.0  # time of the code; past it the trigger is disabled
    keep: int = 100  # firings kept in the history
    severity: Literal["info", "warning", "critical"] = "warning"
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ManagerPathsConfig(PathsConfig):
    """[paths] of a manager. `images`: the image repository, told to vmctl; the manager itself does not open it."""

    images: Path | None = None


@dataclass(frozen=True, slots=True)
class VmsConfig:
    """[vms] of vmmanager.ini: how orders on virtual machines are carried out, and how what is wanted is kept."""

    parallel: int = 64  # operations at the same time, in all
    parallel_per_host: int = 4  # and on one host; a migration counts on both
    migrations_per_host: int = 2  # of which so many migrations
    start_timeout_s: float = 120.0
    stop_limit_s: float = 60.0  # a guest may take so long to shut down; then it is destroyed
    save_timeout_s: float = 600.0  # a restore, too
    migrate_timeout_s: float = 1800.0
    restart_delay_s: float = 5.0  # before the first restart; doubles each time
    restart_delay_max_s: float = 300.0
    memory_reserve_bytes: int = 0  # of each host, never given to VMs


@dataclass(frozen=True, slots=True)
class EnvironmentConfig:
    """One section of environments.ini: a class of VMs for a kind of batch jobs. Host patterns are those of a shell."""

    name: str
    where: Where
    template: str = ""  # a VM of vms.ini that is marked as one
    queue: tuple[str, ...] = ()  # how the batch system knows its jobs; what is empty is not looked at
    feature: str = ""
    user_group: tuple[str, ...] = ()
    node: str = "$vm"  # the batch system's name of a VM: $vm, $host, $short, $environment, $slot
    slots_per_host: int = 1
    jobs_per_slot: int = 0  # 0: the processors of the template
    min: int = 0
    max: int | None = None
    share: float = 1.0
    boot_s: float = 120.0  # from the start of the VM until the batch system sees it, as expected
    hosts: tuple[str, ...] = ()  # patterns; empty: all of [environments]
    reserved: tuple[str, ...] = ()  # patterns of hosts that serve this environment alone


@dataclass(frozen=True, slots=True)
class EnvironmentsConfig:
    """[environments] of environments.ini, and the environments themselves."""

    defined: tuple[EnvironmentConfig, ...] = ()
    head: tuple[str, ...] = ()  # clients that can ask the batch system, the first that can is asked
    hosts: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    policy: str = "waterfill"
    expr: Code | None = None
    ticks: float = 10.0  # how often the mix is thought over
    dead_band: float = 0.02
    hold_s: float = 900.0
    switches_max: int = 10
    utilisation_low: float = 0.9
    utilisation_high: float = 0.98
    drain_limit_s: float = 0.0  # a drain that takes longer is warned of; 0: never
    join_limit_s: float = 600.0
    failures_max: int = 3
    pause_s: float = 600.0  # after so many failed starts; doubles with each trial that fails
    pause_max_s: float = 21_600.0
    frozen: bool = False
    approval: bool = False
    approvers: tuple[str, ...] = ()
    quotas: dict[str, int] = field(default_factory=dict)  # slots that a group of users may ask for
    where: Where = field(default=Where("environments.ini"), compare=False)


@dataclass(frozen=True, slots=True)
class FenceConfig:
    """One section of fences.ini: a device that cuts the power of hosts. Of several the first in the file is tried first."""

    name: str
    where: Where
    agent: str = ""  # a program of fence-agents, by name or absolute path
    hosts: tuple[str, ...] = ()  # names or shell patterns
    timeout_s: float = 30.0
    secrets: Path | None = None  # key=value lines, mode 0600
    options: dict[str, str] = field(default_factory=dict)  # {host}, {short} stand for the host's full and short name
    plugs: dict[str, str] = field(default_factory=dict)  # host -> the outlet it hangs on


@dataclass(frozen=True, slots=True)
class FailoverConfig:
    """[failover] of vmmanager.ini. docs/failover.md explains the numbers."""

    lease_s: float = _TERMS.lease_s
    beat_s: float = _TERMS.beat_s
    stop_s: float = _TERMS.stop_s
    watchdog_s: float = _TERMS.watchdog_s
    storage_hold_s: float = _TERMS.storage_s
    authority_s: float = _TERMS.authority_s
    drift: float = _TERMS.drift
    margin_s: float = _TERMS.margin_s
    witness: str = ""  # a client that breaks the tie of two managers
    storage: Path | None = None  # the folder in which hosts keep their beats, as this manager sees it
    grace_s: float = 30.0  # of a manager's life, in which it declares nobody dead
    storm_share: float = 0.5  # more hosts than this silent at once: the fault is elsewhere
    parallel_restarts: int = 8
    retries: int = 3
    retry_delay_s: float = 5.0  # after a failed restart; doubles each time
    without_watchdog: Literal["fence", "trust"] = "fence"
    failures_to_tolerate: int = 1  # hosts that may die at once, for `vmctl ha capacity` and its warning
    failback: Literal["no", "auto"] = "no"
    failback_hold_s: float = 600.0  # a host is back for so long before VMs go back to it by themselves
    fence_retry_s: float = 60.0  # all levels failed: tried again

    @property
    def terms(self) -> Terms:
        """What leader and hosts hold each other to."""
        return Terms(
            self.lease_s, self.beat_s, self.stop_s, self.watchdog_s, self.storage_hold_s, self.authority_s, self.drift,
            self.margin_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ManagerConfig:
    """vmmanager.ini with its triggers.d/, vms.ini, fences.ini and environments.ini."""

    name: str
    bus: BusConfig = BusConfig()
    log: LogConfig = field(default_factory=LogConfig)
    paths: ManagerPathsConfig = ManagerPathsConfig()
    triggers: tuple[TriggerConfig, ...] = ()
    vms: tuple[VmConfig, ...] = ()
    orders: VmsConfig = VmsConfig()
    environments: EnvironmentsConfig = field(default_factory=EnvironmentsConfig)
    failover: FailoverConfig = FailoverConfig()
    fences: tuple[FenceConfig, ...] = ()
    managers: tuple[str, ...] = ()  # all configured managers, this one included; empty: this one alone
    control_group: str = ""  # unix group that may use vmctl, besides the owner
    request_timeout_s: float = 10.0
    history_keep: int = 1000  # samples per property
    history_max_s: float = 86_400.0
    stale_factor: float = 3.0  # a value older than this many of its ticks is unknown
    silent_after_s: float = 90.0  # a client without a message for so long is shown as silent
    grace_s: float = 30.0  # after start no trigger fires, so that the state can fill
    refresh_s: float = 60.0  # asks clients it knows nothing new of for a sign of life
    notify: tuple[str, ...] = ()  # program run with the event as JSON on standard input
    events_keep: int = 100_000
    warnings: tuple[Fault, ...] = field(default=(), compare=False)  # for the log: what was accepted but should be mended


@dataclass(frozen=True, slots=True)
class VmConfig:
    """One section of vms.ini. `image` is the name of an image; whoever starts the VM says which files that is."""

    name: str
    where: Where
    memory_bytes: int = 0
    memory_max_bytes: int = 0
    vcpus: int = 1
    type: Literal["pv", "pvh", "hvm"] = "pvh"
    image: str = ""
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    networks: tuple[Network, ...] = ()
    disks: tuple[Disk, ...] = ()
    native: str = ""
    group: str = ""
    priority: int = 100  # the higher is started first, and moved last
    hosts: tuple[str, ...] = ()  # empty: any
    affinity: tuple[str, ...] = ()  # VMs or groups that it runs on the same host with
    anti_affinity: tuple[str, ...] = ()
    restart: Literal["on_crash", "always", "never"] = "on_crash"
    restart_max: int = 3  # so many restarts within restart_window_s; 0: no limit
    restart_window_s: float = 3600.0
    state: Literal["running", "stopped"] = "stopped"  # as it is wanted
    template: bool = False  # for environments: is never started itself
    environment: str = ""  # made of a template for a slot of this environment: its slot decides when it runs
    protect: bool = False  # its host needs a lease to run it, and it is restarted elsewhere when the host is proved dead
    start_after: tuple[str, ...] = ()  # VMs or groups that run before it is started by itself
    start_delay_s: float = 0.0  # and for so long
