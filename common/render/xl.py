"""A domain's configuration as an `xl` file (xl.cfg(5), xl-network-configuration(5), xl-disk-configuration(5)). Pure.

Only strings, whole numbers and lists of strings; a string is quoted as libxlu reads it (backslash escapes).
"""

from __future__ import annotations

from collections.abc import Iterable

from common.hypervisor import Disk, DomainConfig, Network

MIB = 1024 * 1024


def render(config: DomainConfig) -> str:
    """The whole file. A configuration with `native` has a file of its own: see `overrides`."""
    memory, ceiling = config.memory_bytes // MIB, config.ceiling_bytes // MIB
    lines = [
        f"name = {quoted(config.name)}",
        f"uuid = {quoted(config.uuid)}",
        f"type = {quoted(config.type)}",
        *(f"{key} = {quoted(value)}" for key, value in _boot(config) if value),
        f"memory = {memory}",
        *([f"maxmem = {ceiling}"] if ceiling != memory else []),
        f"vcpus = {config.vcpus}",
        f"vif = {_list(map(vif, config.networks))}",
        f"disk = {_list(map(disk, config.disks))}",
        # what restarts a domain is its restart policy, by the manager, so that attempts are counted and seen; one that has
        # crashed stays, so that it is seen as crashed and not as gone
        'on_poweroff = "destroy"',
        'on_reboot = "restart"',
        'on_crash = "preserve"',
    ]
    return "\n".join(lines) + "\n"


def overrides(config: DomainConfig) -> tuple[str, ...]:
    """Arguments of `xl create FILE` that make a hand-written file ours: given last, they win over what the file says."""
    return (f"name={quoted(config.name)}", f"uuid={quoted(config.uuid)}")


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def vif(network: Network) -> str:
    return f"mac={network.mac},bridge={network.bridge_name}"


def disk(one: Disk) -> str:
    """`target` stands last: whatever follows it belongs to the path."""
    return f"vdev={one.device},access={'ro' if one.read_only else 'rw'},format={one.form},target={one.path}"


def _boot(config: DomainConfig) -> tuple[tuple[str, str], ...]:
    return (("kernel", config.kernel), ("ramdisk", config.initrd), ("cmdline", config.cmdline))


def _list(items: Iterable[str]) -> str:
    return "[" + ", ".join(quoted(item) for item in items) + "]"
