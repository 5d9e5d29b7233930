"""What [hypervisor] of vmclient.ini means: which key belongs to which engine, and the properties that come with an engine.

A checked section in, faults and properties out. Knows no hypervisor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from common.config.model import Fault, HypervisorConfig, PropertyConfig, Where
from common.config.tree import Section

PLUGIN = "plugins.vm"
"""The module with the readers and commands; loaded where there is an engine."""

OF_ENGINES: dict[str, tuple[str, ...]] = {
    "shared": ("xl", "libvirt"),
    "console": ("xl", "libvirt"),
    "xl": ("xl",),
    "remote_shell": ("xl",),
    "remote_xl": ("xl",),
    "uri": ("libvirt",),
    "target_uri": ("libvirt",),
    "farm": ("sim",),
    "sim_memory": ("sim",),
    "sim_cpus": ("sim",),
    "sim_boot": ("sim",),
    "sim_shutdown": ("sim",),
    "sim_bridges": ("sim",),
    "sim_hook": ("sim",),
}
NAMES = ("domains", "hypervisor", "images_used", "lease")  # the last one is the client's own (vmclient/lease.py)


def faults(config: HypervisorConfig, section: Section, others: Iterable[PropertyConfig]) -> Iterator[Fault]:
    """`others`: the properties of the files."""
    for key, engines in OF_ENGINES.items():
        if key in section.places and config.engine not in engines:
            yield Fault(section.at(key), f"is for engine = {' or '.join(engines)}, and engine is {config.engine}")
    if config.engine == "none":
        return
    for one in others:
        if one.name in NAMES:
            where = Where(one.where.file, one.where.line, one.name)
            yield Fault(where, f"is the name of a property that comes with engine = {config.engine} (choose another)")
    if config.engine == "sim" and not config.farm and section.values.get("farm") is None:
        yield Fault(section.at("farm"), "is missing (which folder? the same for all hosts of the farm)")
    if config.sim_hook and not config.sim_hook.startswith("/"):
        yield Fault(section.at("sim_hook"), f"{config.sim_hook!r} is no absolute path of a program")
    if config.engine == "xl" and not (config.xl and config.remote_shell and config.remote_xl):
        key = "xl" if not config.xl else "remote_shell" if not config.remote_shell else "remote_xl"
        yield Fault(section.at(key), "is empty (which program?)")
    if config.target_uri.count("{") != 1 or config.target_uri.count("}") != 1 or "{host}" not in config.target_uri:
        yield Fault(section.at("target_uri"), "has not {host} in it, once, and no other brace (which host is it to reach?)")


def properties(config: HypervisorConfig, where: Where) -> tuple[PropertyConfig, ...]:
    """What a client with a hypervisor tells besides what its files say. `where`: the place of `engine`."""
    if config.engine == "none":
        return ()
    return (
        PropertyConfig("domains", "domains", where, ticks=config.ticks, push="always", timeout_s=config.timeout_s),
        PropertyConfig("hypervisor", "hypervisor", where, ticks=config.ticks, push="on_change", timeout_s=config.timeout_s),
        PropertyConfig("images_used", "images_used", where, ticks=-1, timeout_s=config.timeout_s),
    )
