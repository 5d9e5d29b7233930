"""Every key of every file: its name, its check, what it says. The one table that the configspec, docs/configuration.md and the
tests of the shipped files are made from. Pure data; defaults stand in model.py.

A check is a call of configspec (validate.py), by a function of checks.py. Limits are seconds and bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.config.model import (
    BatchConfig,
    BusConfig,
    ClientConfig,
    ClientPathsConfig,
    HypervisorConfig,
    LogConfig,
    ManagerConfig,
    ManagerPathsConfig,
    ProgramConfig,
    PropertyConfig,
    TriggerConfig,
    VmConfig,
    VmsConfig,
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key. `fields`: where its value goes in the model, by default to the field of its own name."""

    name: str
    check: str
    what: str
    fields: tuple[str, ...] = ()
    required: bool = False
    default: str = ""  # where the model cannot say it

    @property
    def targets(self) -> tuple[str, ...]:
        return self.fields or (self.name,)


@dataclass(frozen=True, slots=True)
class Table:
    """The keys of a section. `name` is as in the file, or in capitals where the user chooses it."""

    name: str
    model: type
    keys: tuple[Key, ...]
    what: str
    parts: tuple[Part, ...] = ()

    def key(self, name: str) -> Key | None:
        return next((key for key in self.keys if key.name == name), None)


@dataclass(frozen=True, slots=True)
class Part:
    """A section within a section whose keys the user names: `[[levels]]`. `spec` is its name towards ConfigObj."""

    name: str
    check: str
    what: str
    field: str
    spec: str = ""


BUS = Table(
    "bus",
    BusConfig,
    (
        Key(
            "engine",
            "choice('spread', 'embedded', 'memory')",
            "`spread`: a Spread or vmbus daemon that runs already; `embedded`: the manager starts vmbus; `memory`: tests only",
        ),
        Key("daemon", "daemon()", "where the daemon listens: `PORT@HOST`, or `PORT` for its unix socket on this host"),
        Key(
            "module",
            "choice('common.bus.spread', 'spread')",
            "`common.bus.spread` is our client of Spread; `spread` the original C extension, where it is installed",
        ),
        Key("reconnect_min", "duration(0.01, 60)", "the first wait before a lost daemon is tried again", ("reconnect_min_s",)),
        Key("reconnect_max", "duration(0.01, 3600)", "the wait grows up to this", ("reconnect_max_s",)),
    ),
    "The group-communication bus. The same in both daemons.",
)

LOG = Table(
    "log",
    LogConfig,
    (
        Key("target", "choice('stderr', 'file', 'syslog', 'journal')", "where the log goes"),
        Key("file", "path()", "the log file; belongs to `target = file`", default="none"),
        Key("level", "level()", "`DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`: what is less is left out"),
    ),
    "The log. The same in both daemons.",
    (Part("levels", "level()", "a part of the daemon (bus, triggers, readers, ...) and its own level", "levels"),),
)

_PATHS = (
    Key("state", "path()", "what must outlive a restart: key, accepted keys, journal, history"),
    Key("run", "path()", "pid file and control socket"),
    Key("plugins", "path()", "a folder with plugin modules of your own", default="none"),
    Key(
        "local_keys",
        "path()",
        "a folder where daemons of one machine lay their public keys, which are accepted without an operator",
        default="none: an operator accepts every key",
    ),
)

CLIENT_PATHS = Table(
    "paths",
    ClientPathsConfig,
    (*_PATHS, Key("properties", "path()", "the folder of the property files", ("-",), default="properties.d")),
    "Where the daemon keeps what. A relative path counts from the folder of this file.",
)

MANAGER_PATHS = Table(
    "paths",
    ManagerPathsConfig,
    (
        *_PATHS,
        Key("triggers", "path()", "the folder of the trigger files", ("-",), default="triggers.d"),
        Key("vms", "path()", "the file of the virtual machines", ("-",), default="vms.ini, where it is there"),
        Key("environments", "path()", "the file of the environments", ("-",), default="environments.ini, where it is there"),
        Key("fences", "path()", "the file of the fence devices", ("-",), default="fences.ini, where it is there"),
        Key("images", "path()", "the image repository, for `vmctl image` on this host", default="none"),
    ),
    "Where the daemon keeps what. A relative path counts from the folder of this file.",
)

CLIENT = Table(
    "client",
    ClientConfig,
    (
        Key("name", "host()", "the full name of this host", default="the host's own full name"),
        Key("groups", "groups()", "groups this client is in, besides `clients`: `dom0, mailers`"),
        Key("plugins", "modules()", "modules with readers and commands"),
        Key(
            "allow",
            "commands()",
            "commands a manager may run here, no others: `service`, `log`, `exec`, or `exec:NAME` for one of [programs]; `vm` "
            "for all that concern virtual machines, or `vm-start`, `vm-stop`, ... one by one; `batch` for the batch system",
        ),
        Key("services", "services()", "services that the command `service` may touch"),
        Key(
            "accept_managers",
            "choice('listed', 'first')",
            "`listed`: managers whose keys lie in STATE/managers. `first`: the first manager ever seen, and then only that one",
        ),
        Key("parallel", "whole(1, 64)", "commands that may run at the same time"),
        Key("push_rate_max", "size(1024, 1073741824)", "bytes a second that pushed values may use", ("push_bytes_per_s_max",)),
        Key("heartbeat", "duration(0.1, 3600)", "the client says something at least this often", ("heartbeat_s",)),
    ),
    "The client itself.",
)

HYPERVISOR = Table(
    "hypervisor",
    HypervisorConfig,
    (
        Key("engine", "choice('none', 'xl', 'libvirt', 'sim')", "what runs virtual machines here; `sim`: a simulated host"),
        Key("ticks", "duration(0.1, 3600)", "how often the domains, and what the host has left, are read and told"),
        Key("timeout", "duration(0.1, 3600)", "past this a listing is given up, and the domains are unknown", ("timeout_s",)),
        Key("images", "path()", "the image repository, as this host sees it", default="none"),
        Key("cache", "path()", "a folder of this host for copies of images", default="none"),
        Key("saves", "path()", "the folder of saved domains", default="STATE/saves"),
        Key(
            "shared",
            "path()",
            "xl, libvirt: a folder that other hosts see at the same path, for domains that cannot be moved live",
            default="none",
        ),
        Key(
            "console",
            "path()",
            "xl, libvirt: the folder where consoles are logged",
            default="xl: /var/log/xen/console; libvirt: not logged",
        ),
        Key("xl", "words()", "xl: the program, and before it what it is run with (sudo)"),
        Key("remote_shell", "words()", "xl: how another host is reached for a migration"),
        Key("remote_xl", "word()", "xl: the program there"),
        Key("uri", "word()", "libvirt: the connection"),
        Key("target_uri", "word()", "libvirt: how another host's libvirt is reached, with `{host}` in it"),
        Key("farm", "path()", "sim: the folder of the simulated farm, the same for all its hosts; needed", default="none"),
        Key("sim_memory", "size(16777216, 17592186044416)", "sim: memory of the host", ("sim_memory_bytes",)),
        Key("sim_cpus", "whole(1, 4096)", "sim: processors of the host"),
        Key("sim_boot", "duration(0, 3600)", "sim: time that a guest takes to boot", ("sim_boot_s",)),
        Key("sim_shutdown", "duration(0, 3600)", "sim: time that a guest takes to shut down", ("sim_shutdown_s",)),
        Key("sim_bridges", "words()", "sim: the bridges that there are", default="any bridge will do"),
        Key(
            "sim_hook",
            "word()",
            "sim: absolute path of a program that is run as `HOOK start|stop|destroy NAME HOST` when a guest begins and ends",
        ),
    ),
    "The hypervisor of this host. A key that names an engine belongs to that one alone.",
)

BATCH = Table(
    "batch",
    BatchConfig,
    (
        Key(
            "engine",
            "choice('none', 'slurm', 'sge', 'pbs', 'htcondor', 'sim')",
            "the batch system that this host can ask; `sim`: a simulated one",
        ),
        Key("ticks", "duration(0.1, 3600)", "how often jobs and nodes are read and told"),
        Key("timeout", "duration(0.5, 3600)", "past this a reading is given up, and jobs or nodes are unknown", ("timeout_s",)),
        Key(
            "programs",
            "path()",
            "slurm, sge, pbs, htcondor: the folder of its programs (squeue, qstat, ...)",
            default="/usr/local/bin, /usr/bin and their like",
        ),
        Key("run_with", "words()", "slurm, sge, pbs, htcondor: what each program is run with: `sudo, -n, -u, slurm`"),
        Key(
            "environment",
            "words()",
            "slurm, sge, pbs, htcondor: what its programs find in their environment: `SGE_ROOT=/opt/sge, SGE_CELL=default`",
        ),
        Key("farm", "path()", "sim: the folder of the simulated farm, as in [hypervisor]; needed", default="none"),
        Key(
            "sim_queues", "words()", "sim: the queues that there are; the simulated machine `X-...` is a node of the queue `X`"
        ),
    ),
    "The batch system that this host can ask. A key that names engines belongs to those alone.",
)

PROGRAM = Table(
    "NAME",
    ProgramConfig,
    (
        Key(
            "argv",
            "words()",
            "absolute path and arguments, with commas between; `{x}` is where the parameter x goes",
            required=True,
        ),
        Key("timeout", "duration(0.1, 86400)", "past this the program is killed with all it started", ("timeout_s",)),
        Key("output_max", "size(1, 16777216)", "what it prints beyond this is cut off", ("output_bytes_max",)),
    ),
    "A program that the command `exec` and the reader `exec` may run. Nothing else can be run.",
    (Part("patterns", "pattern()", "a parameter and the regular expression that all of it must match", "patterns"),),
)

PROPERTY = Table(
    "NAME",
    PropertyConfig,
    (
        Key("command", "name()", "the reader: ram, cpu, load, disk, net, uptime, process, file, exec, ...", required=True),
        Key(
            "parameters",
            "words()",
            "what the reader is asked for, in its order: `MemFree`, or `/, percent` (`parametes` is taken as well)",
            ("positional",),
        ),
        Key(
            "return_type",
            "choice('int', 'float', 'str', 'bool', 'list', 'dict')",
            "what the value is made into; else it stays as the reader gives it",
            default="as the reader gives it",
        ),
        Key("ticks", "ticks(0.1, 31622400)", "how often it is read; `-1`: only when somebody asks"),
        Key(
            "push",
            "choice('on_change', 'always', 'no')",
            "which values are sent to the managers unasked; with `on_change` one that stays the same with every second reading",
        ),
        Key("timeout", "duration(0.01, 3600)", "past this the reader is stopped, and the value is unknown", ("timeout_s",)),
        Key("unit", "text(32)", "shown behind the value", default="as the reader gives it"),
        Key("keep", "whole(1, 100000)", "values the client remembers"),
        Key("value_max", "size(1, 15728640)", "a larger value counts as a failure of the reader", ("type_bytes_max",)),
    ),
    "A property of this host. The name of the section is the name of the property.",
    (
        Part(
            "parameters",
            "word()",
            "a parameter of the reader by name, instead of `parameters =`",
            "named",
            "*parameters",
        ),
    ),
)

MANAGER = Table(
    "manager",
    ManagerConfig,
    (
        Key("name", "host()", "the full name of this host", default="the host's own full name"),
        Key("managers", "hosts()", "all managers of the farm, this one among them; empty: this one alone"),
        Key("control_group", "account()", "a unix group whose members may use vmctl, besides the owner"),
        Key("request_timeout", "duration(0.1, 3600)", "who has not answered by then is named", ("request_timeout_s",)),
        Key("history_keep", "whole(1, 1000000)", "values remembered for each property of each client"),
        Key("history_max", "duration(1, 31622400)", "how long they are remembered at most", ("history_max_s",)),
        Key("stale_factor", "number(1, 1000)", "a value older than so many of its `ticks` is unknown"),
        Key(
            "silent_after",
            "duration(0.1, 86400)",
            "a client that says nothing for so long is shown as silent",
            ("silent_after_s",),
        ),
        Key(
            "grace",
            "duration(0, 86400)",
            "no trigger fires for so long after the start",
            ("grace_s",),
        ),
        Key("refresh", "duration(0.1, 86400)", "clients without news for so long are asked for a sign of life", ("refresh_s",)),
        Key("notify", "words()", "a program, and its arguments, that gets each notification as JSON on its standard input"),
        Key("events_keep", "whole(100, 100000000)", "events kept in the history"),
    ),
    "The manager itself.",
)

VMS = Table(
    "vms",
    VmsConfig,
    (
        Key("parallel", "whole(1, 10000)", "operations on virtual machines at the same time, in all"),
        Key("parallel_per_host", "whole(1, 64)", "and on one host, where `parallel` of its client allows it"),
        Key("migrations_per_host", "whole(1, 64)", "of which so many migrations, on either end"),
        Key("start_timeout", "duration(1, 3600)", "a start that takes longer has failed", ("start_timeout_s",)),
        Key(
            "stop_limit", "duration(1, 3600)", "a guest may take so long to shut down; then it is destroyed", ("stop_limit_s",)
        ),
        Key("save_timeout", "duration(1, 3600)", "for a save or a restore", ("save_timeout_s",)),
        Key("migrate_timeout", "duration(1, 3600)", "for a migration", ("migrate_timeout_s",)),
        Key(
            "restart_delay",
            "duration(0, 3600)",
            "the wait before a crashed VM is started again; it doubles with each restart",
            ("restart_delay_s",),
        ),
        Key("restart_delay_max", "duration(0, 86400)", "up to this", ("restart_delay_max_s",)),
        Key("memory_reserve", "size(0, 17592186044416)", "memory of each host that no VM is given", ("memory_reserve_bytes",)),
    ),
    "Orders on virtual machines, and how what is wanted is kept. The machines themselves stand in vms.ini.",
)

TRIGGER = Table(
    "NAME",
    TriggerConfig,
    (
        Key("expr", "code()", "the condition: `{ ... }`, an expression in Python", required=True),
        Key("cmd", "code()", "what to do when it holds: `{ ... }`, Python", default="nothing"),
        Key("ticks", "ticks(0.1, 31622400)", "how often it is looked at; `-1`: never by the clock"),
        Key("on_update_check", "flag()", "whether it is looked at when something it reads has changed"),
        Key("each", "group()", "a group, or `clients`: looked at for each member by itself, which is `client` in the code"),
        Key("for", "duration(0, 31622400)", "the condition must have held for so long", ("for_s",)),
        Key("recovery", "code()", "a condition of its own for the end", default="the opposite of `expr`"),
        Key("recovery_cmd", "code()", "what to do at the end", default="nothing"),
        Key(
            "fire",
            "choice('each', 'once')",
            "`each`: whenever the condition holds. `once`: not again before it has ended",
            default="`each`; `once` where `recovery` is given",
        ),
        Key("cooldown", "duration(0, 31622400)", "after firing, quiet for so long", ("cooldown_s",)),
        Key(
            "unknown",
            "choice('hold', 'false', 'true')",
            "what a condition counts as that reads an unknown value",
        ),
        Key("depends_on", "names()", "triggers that must be calm: while one of them is firing, this one does not"),
        Key(
            "max_actions",
            "rate(1000000, 1, 31622400)",
            "at most so many firings in a time: `5 per 10m`; 0: no limit",
            ("max_actions", "max_actions_window_s"),
        ),
        Key("max_share", "share()", "at most this share of the clients may be acted upon in the time of `max_actions`"),
        Key("dry_run", "flag()", "only say what would be done"),
        Key("grace", "duration(0, 31622400)", "not before the manager has led for so long", ("grace_s",)),
        Key(
            "flap",
            "rate(1000, 1, 31622400)",
            "so many changes in a time are flapping, and hold the trigger until it is calm: `4 per 10m`; 0: off",
            ("flap_limit", "flap_window_s"),
        ),
        Key("budget", "duration(0.01, 60)", "time its code may take; past it the trigger is disabled", ("budget_s",)),
        Key("keep", "whole(1, 100000)", "firings kept in the history"),
        Key("severity", "choice('info', 'warning', 'critical')", "how bad it is, for people"),
        Key("enabled", "flag()", "`no`: not looked at"),
    ),
    "A trigger. The name of the section is the name of the trigger.",
)

VM = Table(
    "NAME",
    VmConfig,
    (
        Key("memory", "size(16777216, 17592186044416)", "memory, as `512M` or `4G`", ("memory_bytes",), required=True),
        Key(
            "memory_max",
            "size(16777216, 17592186044416)",
            "memory can be raised up to this while it runs",
            ("memory_max_bytes",),
            default="as `memory`",
        ),
        Key("vcpus", "whole(1, 512)", "virtual processors"),
        Key("type", "choice('pv', 'pvh', 'hvm')", "how Xen runs it; a PV domain cannot be migrated live on every Xen"),
        Key("image", "image()", "the image it boots: `NAME` for the newest version, or `NAME@VERSION`", default="none"),
        Key("kernel", "path()", "the kernel it boots, where there is no image", default="none"),
        Key("initrd", "path()", "the initial file system that belongs to `kernel`", default="none"),
        Key("cmdline", "text(2048)", "the kernel's command line; in quotes where it holds a comma", default="none"),
        Key("config", "path()", "a hand-written xl file, used as it is but for name and UUID", ("native",), default="none"),
        Key("group", "word()", "a name for several VMs, to be named in affinity", default="none"),
        Key("priority", "whole(0, 1000)", "the higher is more important"),
        Key("hosts", "hosts()", "the only hosts it may run on", default="all hosts"),
        Key("affinity", "words()", "VMs or groups it belongs on one host with"),
        Key("anti_affinity", "words()", "VMs or groups it must not share a host with"),
        Key("restart", "choice('on_crash', 'always', 'never')", "when it is to be started again"),
        Key(
            "restart_limit",
            "rate(1000, 1, 31622400)",
            "at most so many restarts in a time: `3 per 1h`; 0: no limit",
            ("restart_max", "restart_window_s"),
        ),
        Key("state", "choice('running', 'stopped')", "as it is wanted"),
        Key(
            "template",
            "flag()",
            "`yes`: VMs of an environment are made after it (environments.ini); it is never started itself",
        ),
        Key("protect", "flag()", "it never runs twice, and is restarted elsewhere when its host is proved dead"),
        Key("start_after", "words()", "VMs or groups that are to run before it is started by itself"),
        Key("start_delay", "duration(0, 3600)", "and for so long", ("start_delay_s",)),
    ),
    "A virtual machine. The name of the section is the name of the domain.",
    (
        Part("networks", "nic()", "a card and its bridge: `eth0 = xenbr0, mac=00:16:3e:00:00:01, vlan=12`", "networks"),
        Part("disks", "disk()", "a device and its disk: `xvda = /dev/vg0/mail1, ro, format=qcow2`", "disks"),
    ),
)

ALIASES = {"parametes": "parameters"}
"""The prototype's own spelling, printed on its slides."""
