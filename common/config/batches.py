"""What [batch] of vmclient.ini means: which key belongs to which engine, and the properties that come with an engine.

A checked section in, faults and properties out. Knows no batch system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from common.batch import JOBS, NODES
from common.config.model import BatchConfig, Fault, PropertyConfig, Where
from common.config.tree import Section

PLUGIN = "plugins.batch"
"""The module with the readers and commands; loaded where there is an engine."""

_REAL = ("slurm", "sge", "pbs", "htcondor")
OF_ENGINES: dict[str, tuple[str, ...]] = {
    "programs": _REAL,
    "run_with": _REAL,
    "environment": _REAL,
    "farm": ("sim",),
    "sim_queues": ("sim",),
}
NAMES = (JOBS, NODES)
_VARIABLE = re.compile(r"[A-Za-z_]\w*=.*", re.ASCII)
_QUEUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


def faults(config: BatchConfig, section: Section, others: Iterable[PropertyConfig]) -> Iterator[Fault]:
    """`others`: the properties of the files."""
    for key, engines in OF_ENGINES.items():
        if key in section.places and config.engine not in engines:
            yield Fault(section.at(key), f"is for engine = {' or '.join(engines)}, and engine is {config.engine}")
    for pair in config.environment:
        if not _VARIABLE.fullmatch(pair):
            yield Fault(section.at("environment"), f"{pair!r} is not NAME=VALUE")
    for queue in config.sim_queues:
        if not _QUEUE.fullmatch(queue):
            yield Fault(section.at("sim_queues"), f"{queue!r} is no name of a queue (letters, digits, . _ -)")
    if config.engine == "none":
        return
    for one in others:
        if one.name in NAMES:
            where = Where(one.where.file, one.where.line, one.name)
            yield Fault(where, f"is the name of a property that comes with engine = {config.engine} (choose another)")
    if config.engine == "sim" and not config.farm and section.values.get("farm") is None:
        yield Fault(section.at("farm"), "is missing (which folder? that of the simulated hypervisors)")
    if config.engine == "sim" and not config.sim_queues and section.values.get("sim_queues") is None:
        yield Fault(section.at("sim_queues"), "is missing (which queues?)")


def properties(config: BatchConfig, where: Where) -> tuple[PropertyConfig, ...]:
    """What a client with a batch system tells besides what its files say. `where`: the place of `engine`."""
    if config.engine == "none":
        return ()
    return tuple(
        PropertyConfig(name, name, where, ticks=config.ticks, push="always", timeout_s=config.timeout_s) for name in NAMES
    )
