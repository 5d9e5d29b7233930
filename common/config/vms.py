"""vms.ini to checked definitions: what stands in one VM, and what all of them mean together. Trees in, values and faults out.

A definition says what the VM is (the DomainConfig that every back end takes) and how it is wanted: where, when, with whom.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from common.config.failover import order_faults
from common.config.model import Fault, VmConfig, Where
from common.config.tree import known_near
from common.config.values import quoted, show_size
from common.hypervisor import NAMES_IN_MOTION, Disk, DomainConfig, Network

MIB = 1024 * 1024
BRIDGE_CHARS_MAX = 15  # Linux: IFNAMSIZ - 1
XEN_OUI = "00:16:3e"
DEVICE = re.compile(r"(xv|v|s|h)d[a-z]{1,2}\d{0,2}", re.ASCII)
_XEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The files of an image, checked, as a host sees them."""

    kernel: str
    initrd: str = ""
    cmdline: str = ""
    disks: tuple[Disk, ...] = field(default=())


def domain_config(vm: VmConfig, image: ImageFiles | None = None) -> DomainConfig:
    """What a back end starts. Raises ValueError where the VM wants an image and none is given."""
    if vm.image and image is None:
        raise ValueError(f"{vm.name}: image {vm.image} is not known here")
    files = image or ImageFiles(vm.kernel, vm.initrd)
    return DomainConfig(
        name=vm.name,
        memory_bytes=vm.memory_bytes,
        memory_max_bytes=vm.memory_max_bytes,
        vcpus=vm.vcpus,
        type=vm.type,
        kernel=files.kernel,
        initrd=files.initrd,
        cmdline=" ".join(part for part in (files.cmdline, vm.cmdline) if part),
        networks=vm.networks,
        disks=(*files.disks, *vm.disks),
        native=vm.native,
    )


def name_fault(name: str) -> str:
    """Why Xen, or the tools around it, would not take the name; empty where it is good."""
    if not _XEN_NAME.fullmatch(name):
        return f"{quoted(name)} is no name of a domain (letters, digits, _ . + -, beginning with a letter or digit, 63 at most)"
    if name.isdigit():
        return f"{quoted(name)} is a number, which xl takes for a domain's id"
    if name == "Domain-0":
        return "Domain-0 is the host itself"
    if ending := next((each for each in NAMES_IN_MOTION if name.endswith(each)), ""):
        return f"{quoted(name)} ends as xl names a domain that is being moved ({ending})"
    return ""


def own_mac(vm: str, card: str) -> str:
    """The address of a card that is given none: always the same for the same VM and card, in Xen's own range."""
    digest = hashlib.sha256(f"{vm}/{card}".encode()).digest()
    return f"{XEN_OUI}:{digest[0]:02x}:{digest[1]:02x}:{digest[2]:02x}"


# --- one VM -----------------------------------------------------------------------------------------------------------------


def faults_of(vm: VmConfig, at: dict[str, Where], parts: Iterable[str]) -> Iterable[Fault]:
    """`at`: where each key stands, or would; `parts`: the sections [[networks]], [[disks]] that are there."""
    if fault := name_fault(vm.name):
        yield Fault(vm.where, fault)
    if not vm.memory_bytes and "memory" not in at:
        yield Fault(_missing(vm, "memory"), "is missing (how much, as in memory = 512M)")
    yield from _memory_faults(vm, at)
    yield from _boot_faults(vm, at, parts)
    for network in vm.networks:
        if len(network.bridge_name) > BRIDGE_CHARS_MAX:
            text = f"bridge {network.bridge_name} has more than {BRIDGE_CHARS_MAX} characters, which Linux does not take"
            yield Fault(at.get("[networks]", vm.where), text)
    for target in sorted({*vm.affinity} & {*vm.anti_affinity}):
        yield Fault(at["anti_affinity"], f"{quoted(target)} stands in affinity too")


def _memory_faults(vm: VmConfig, at: dict[str, Where]) -> Iterable[Fault]:
    for key, count in (("memory", vm.memory_bytes), ("memory_max", vm.memory_max_bytes)):
        if count % MIB:
            yield Fault(at[key], f"{show_size(count)} is no whole number of M, as hypervisors count")
    if vm.memory_bytes and vm.memory_max_bytes and vm.memory_max_bytes < vm.memory_bytes:
        yield Fault(at["memory_max"], f"is below memory, {show_size(vm.memory_bytes)}")


def _boot_faults(vm: VmConfig, at: dict[str, Where], parts: Iterable[str]) -> Iterable[Fault]:
    if vm.native:
        for key in ("type", "image", "kernel", "initrd", "cmdline"):
            if key in at:
                yield Fault(at[key], "is for the file that config names to say")
        for part in parts:
            yield Fault(at[f"[{part}]"], "is for the file that config names to say")
        return
    if vm.image and vm.kernel:
        yield Fault(at["kernel"], f"there is an image, {vm.image}, already (one of the two)")
    if vm.image and vm.initrd:
        yield Fault(at["initrd"], f"the image, {vm.image}, has its own")
    if vm.initrd and not vm.kernel and not vm.image and "kernel" not in at:
        yield Fault(at["initrd"], "is of no use without kernel")
    bootable = vm.image or vm.kernel or {"image", "kernel", "config"} & at.keys() or (vm.type == "hvm" and vm.disks)
    if not bootable:
        yield Fault(vm.where, "has nothing to boot from (kernel, image or config; with type = hvm also a disk)")


def _missing(vm: VmConfig, key: str) -> Where:
    return Where(vm.where.file, vm.where.line, vm.where.section, key)


# --- all of them ------------------------------------------------------------------------------------------------------------


def faults_together(vms: Iterable[VmConfig], at: dict[str, dict[str, Where]]) -> Iterable[Fault]:
    """`at`: by VM, where each key stands."""
    known = {vm.name: vm for vm in vms}
    members: dict[str, list[str]] = {}
    for vm in known.values():
        if vm.group:
            members.setdefault(vm.group, []).append(vm.name)
    yield from _shared_macs(known.values(), at)
    yield from _shared_disks(known.values(), at)
    for group in sorted(set(members) & set(known)):
        first = members[group][0]
        yield Fault(at[first]["group"], f"{quoted(group)} is the name of a VM as well, so affinity could not tell them apart")
    yield from order_faults(known, members, at)
    for vm in known.values():
        for key in ("affinity", "anti_affinity"):
            yield from _targets(vm, key, known, members, at[vm.name])


def _targets(
    vm: VmConfig, key: str, known: dict[str, VmConfig], members: dict[str, list[str]], at: dict[str, Where]
) -> Iterable[Fault]:
    for target in getattr(vm, key):
        if target == vm.name:
            yield Fault(at[key], "names this VM itself")
        elif target not in known and target not in members:
            yield Fault(at[key], f"{quoted(target)}: no such VM or group ({known_near(target, {*known, *members})})")
        elif key == "affinity" and target in known and _parted(vm, known[target]):
            yield Fault(at[key], f"{target} may run on no host that this VM may run on (see hosts of both)")


def _parted(one: VmConfig, other: VmConfig) -> bool:
    return bool(one.hosts and other.hosts) and not {*one.hosts} & {*other.hosts}


def _shared_macs(vms: Iterable[VmConfig], at: dict[str, dict[str, Where]]) -> Iterable[Fault]:
    seen: dict[str, str] = {}
    for vm in vms:
        for network in vm.networks:
            if network.mac in seen:
                other = "this VM" if seen[network.mac] == vm.name else seen[network.mac]
                yield Fault(at[vm.name]["[networks]"], f"the address {network.mac} belongs to {other} already")
            seen.setdefault(network.mac, vm.name)


def _shared_disks(vms: Iterable[VmConfig], at: dict[str, dict[str, Where]]) -> Iterable[Fault]:
    """safety: two VMs that write one disk destroy it."""
    seen: dict[str, tuple[str, bool]] = {}
    for vm in vms:
        for disk in vm.disks:
            other = seen.get(disk.path)
            if other and not (other[1] and disk.read_only):
                whose = "this VM" if other[0] == vm.name else other[0]
                yield Fault(at[vm.name]["[disks]"], f"{disk.path} belongs to {whose} already (only read-only disks are shared)")
            seen.setdefault(disk.path, (vm.name, disk.read_only))


def networks(vm: str, given: dict[str, Any]) -> tuple[Network, ...]:
    """`given`: by card, what checks.nic made of it."""
    return tuple(Network(bridge, mac or own_mac(vm, card), vlan) for card, (bridge, mac, vlan) in given.items())


def disks(given: dict[str, Any]) -> tuple[Disk, ...]:
    """`given`: by device, what checks.disk made of it."""
    return tuple(Disk(device, path, read_only, form) for device, (path, read_only, form) in given.items())
