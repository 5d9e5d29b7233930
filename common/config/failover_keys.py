"""The keys of [failover] in both files and of fences.ini; keys.py says what a key is. Pure data, defaults in model.py."""

from __future__ import annotations

from common.config.keys import Key, Part, Table
from common.config.model import FailoverConfig, FenceConfig, GuardConfig

FAILOVER = Table(
    "failover",
    FailoverConfig,
    (
        Key("witness", "host()", "a client that gives its word as a third beside two managers", default="none"),
        Key("storage", "path()", "the folder in which hosts keep their beats, as this manager sees it", default="none"),
        Key("lease", "duration(1, 600)", "a host may run protected VMs so long from when it asked", ("lease_s",)),
        Key("beat", "duration(0.1, 60)", "a host asks, and writes its beat, so often", ("beat_s",)),
        Key("stop", "duration(0.5, 600)", "a host without a lease has destroyed its protected VMs by then", ("stop_s",)),
        Key("watchdog", "duration(1, 600)", "its watchdog resets it so long after it was last fed", ("watchdog_s",)),
        Key(
            "storage_hold",
            "duration(1, 600)",
            "without the bus a host keeps its VMs so long from its last look at `storage`",
            ("storage_hold_s",),
        ),
        Key(
            "authority",
            "duration(0.5, 600)",
            "a leader may act so long from when it asked the other managers",
            ("authority_s",),
        ),
        Key("drift", "number(0, 0.1)", "the rate of a clock is wrong by at most this share"),
        Key("margin", "duration(0, 600)", "added to every proof by time", ("margin_s",)),
        Key("grace", "duration(0, 3600)", "of a manager's life, in which it declares no host dead", ("grace_s",)),
        Key("storm_share", "share()", "more hosts than this are silent at once: nothing is done until an operator confirms it"),
        Key("parallel_restarts", "whole(1, 1000)", "VMs of dead hosts that are started at the same time"),
        Key("retries", "whole(1, 100)", "attempts to restart a VM of a dead host, before it is given up"),
        Key("retry_delay", "duration(0, 3600)", "the wait before the second attempt; it doubles each time", ("retry_delay_s",)),
        Key(
            "without_watchdog",
            "choice('fence', 'trust')",
            "a host without a watchdog: `fence` waits for a fence device or an operator, `trust` believes it stops in time",
        ),
        Key("failures_to_tolerate", "whole(0, 16)", "hosts that may die without any protected VM being left over"),
        Key("failback", "choice('no', 'auto')", "`auto`: what was restarted elsewhere moves back when its host has returned"),
        Key("failback_hold", "duration(0, 604800)", "not before the host is back for so long", ("failback_hold_s",)),
        Key(
            "fence_retry",
            "duration(1, 3600)",
            "when all fence devices of a host failed, they are tried again",
            ("fence_retry_s",),
        ),
    ),
    "Fail-over: what happens when a host dies. Only VMs with `protect = yes` are restarted and kept from running twice.",
)

GUARD = Table(
    "failover",
    GuardConfig,
    (
        Key(
            "watchdog",
            "watchdog()",
            "what resets this host when it hangs while protected VMs run: `auto` (/dev/watchdog where it is there), `none`, a "
            "device, or `sim` for a simulated host",
        ),
        Key(
            "storage",
            "path()",
            "a shared folder: while it answers, and no manager claims the VMs there, a bus that is gone stops none",
            default="none",
        ),
        Key("witness", "flag()", "this client gives its word as a third beside two managers"),
    ),
    "Fail-over: what this host has, so that no protected VM runs twice. Times come from the managers.",
)

FENCE = Table(
    "NAME",
    FenceConfig,
    (
        Key("agent", "agent()", "a program of fence-agents: `fence_ipmilan`", required=True),
        Key("hosts", "words()", "the hosts whose power it cuts, by name or pattern: `xen1, xen2` or `xen*`", required=True),
        Key("timeout", "duration(1, 600)", "it has failed when it takes longer", ("timeout_s",)),
        Key("secrets", "path()", "a file with further options, one `key=value` a line, mode 0600", default="none"),
    ),
    "A fence device. Of several that name a host, the first in the file is tried first.",
    (
        Part(
            "options",
            "text(1024)",
            "an option of the agent; `{host}` and `{short}` stand for the host's full and short name",
            "options",
        ),
        Part("plugs", "text(255)", "a host and the plug it hangs on, for agents that want one", "plugs"),
    ),
)
