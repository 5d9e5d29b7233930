"""The keys of environments.ini, as keys.py has those of the other files. Pure data."""

from __future__ import annotations

from common.config.keys import Key, Part, Table
from common.config.model import EnvironmentConfig, EnvironmentsConfig

ENVIRONMENTS = Table(
    "environments",
    EnvironmentsConfig,
    (
        Key("head", "hosts()", "clients whose [batch] can ask the batch system; the first of them that answers is asked"),
        Key("hosts", "words()", "hosts whose slots the environments share: names, or patterns like `wn*`"),
        Key("exclude", "words()", "of these, hosts that no environment uses for now: their slots are drained and stopped"),
        Key(
            "policy",
            "choice('waterfill', 'static', 'greedy', 'proportional', 'utilisation', 'cost', 'expression')",
            "what decides how many slots each environment is to have",
        ),
        Key("expr", "code()", "`policy = expression`: `{ ... }`, Python, how many slots `env` could use", default="none"),
        Key("ticks", "duration(1, 3600)", "how often the mix is thought over"),
        Key("dead_band", "share()", "a change of less than this share of the slots is not worth a switch"),
        Key("hold", "duration(0, 86400)", "a slot serves at least so long before it is switched again", ("hold_s",)),
        Key("switches_max", "whole(1, 10000)", "slots that stop, start or join at the same time"),
        Key("utilisation_low", "share()", "`policy = utilisation`: below it an environment gives slots away"),
        Key("utilisation_high", "share()", "`policy = utilisation`: from it on it takes some"),
        Key("drain_limit", "duration(0, 31622400)", "a drain that takes longer is warned of; 0: never", ("drain_limit_s",)),
        Key(
            "join_limit",
            "duration(1, 86400)",
            "a VM that runs, and that the batch system does not see for so long, has failed",
            ("join_limit_s",),
        ),
        Key("failures_max", "whole(1, 100)", "after so many failed starts in a row a slot, host or environment is paused"),
        Key("pause", "duration(1, 86400)", "for so long; it doubles with each trial that fails again", ("pause_s",)),
        Key("pause_max", "duration(1, 2678400)", "up to this", ("pause_max_s",)),
        Key("frozen", "flag()", "`yes`: the mix stays as it is, as after `vmctl env freeze`"),
        Key("approval", "flag()", "whether a request for slots counts only when it is approved"),
        Key("approvers", "words()", "users who may approve", default="everybody who may use vmctl"),
    ),
    "What all environments have in common.",
    (Part("quotas", "whole(0, 1000000)", "a group of users, and the slots it may ask for at the same time", "quotas"),),
)

ENVIRONMENT = Table(
    "NAME",
    EnvironmentConfig,
    (
        Key(
            "template",
            "word()",
            "a VM of vms.ini with `template = yes`; each slot gets a VM of its own made after it",
            required=True,
        ),
        Key("queue", "words()", "the queues or partitions whose jobs are its jobs"),
        Key("feature", "word()", "what its jobs ask of a node (constraint, resource); none: not looked at"),
        Key("user_group", "words()", "the groups of users whose jobs are its jobs"),
        Key(
            "node",
            "word()",
            "how the batch system calls a VM: `$vm`, `$host`, `$short` (of the host), `$environment`, `$slot` are filled in",
        ),
        Key("slots_per_host", "whole(1, 64)", "VMs of it on one host"),
        Key("jobs_per_slot", "whole(0, 4096)", "jobs (of one processor) that run on one slot; 0: as many as it has processors"),
        Key("min", "whole(0, 1000000)", "slots it has at least"),
        Key("max", "whole(0, 1000000)", "slots it has at most", default="none"),
        Key("share", "number(0, 1000000)", "its weight, for `policy = static` and for slots that nobody needs"),
        Key("boot", "duration(1, 86400)", "what its VMs are expected to need until the batch system sees them", ("boot_s",)),
        Key("hosts", "words()", "the only hosts it may use: names or patterns", default="all of [environments]"),
        Key("reserved", "words()", "hosts that serve this environment alone: names or patterns"),
    ),
    "An environment. The name of the section is its name; a VM of it is called NAME-HOST, or NAME-HOST-2 for a second slot.",
)
