"""What a VM is, as the manager sends it with an order: VmConfig <-> the map that EXECUTE carries. Knows no file and no host.

Only what a start needs travels; where, when and with whom a VM runs is for the manager. What comes is checked as vms.ini is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from configobj.validate import ValidateError
from msgspec import Meta, Struct

from common.config import checks, vms
from common.config.model import VmConfig, Where
from common.hypervisor import Disk, Network
from common.value import Value

PARTS_MAX = checks.LIST_MAX  # cards or disks of one VM
_TEXT = r"\A[^\x00-\x08\x0a-\x1f\x7f]*\Z"  # one line
_PATH = r"\A(/[^\x00-\x1f\x7f]*)?\Z"

_Text = Annotated[str, Meta(max_length=2048, pattern=_TEXT)]
_Path = Annotated[str, Meta(max_length=4096, pattern=_PATH)]
_Bytes = Annotated[int, Meta(ge=0, le=16 * 1024**4)]


class _Network(Struct, frozen=True):
    bridge: _Text
    mac: _Text
    vlan: int = 0


class _Disk(Struct, frozen=True):
    device: _Text
    path: _Path
    read_only: bool = False
    form: Literal["raw", "qcow2"] = "raw"


class _Definition(Struct, frozen=True):
    """Fields that are missing have the default of VmConfig; fields that we do not know are passed over, as in any message."""

    memory_bytes: Annotated[int, Meta(ge=16 * 1024**2, le=16 * 1024**4)]
    type: Literal["pv", "pvh", "hvm"] = "pvh"
    memory_max_bytes: _Bytes = 0
    vcpus: Annotated[int, Meta(ge=1, le=512)] = 1
    image: _Text = ""
    kernel: _Path = ""
    initrd: _Path = ""
    cmdline: _Text = ""
    native: _Path = ""
    protect: bool = False
    networks: Annotated[tuple[_Network, ...], Meta(max_length=PARTS_MAX)] = ()
    disks: Annotated[tuple[_Disk, ...], Meta(max_length=PARTS_MAX)] = ()


def to_wire(vm: VmConfig) -> dict[str, Value]:
    """Every field, for `definition` of vm-start and vm-render."""
    made: dict[str, Value] = {name: getattr(vm, name) for name in _Definition.__struct_fields__}
    made["networks"] = [{"bridge": one.bridge, "mac": one.mac, "vlan": one.vlan} for one in vm.networks]
    made["disks"] = [{"device": one.device, "path": one.path, "read_only": one.read_only, "form": one.form} for one in vm.disks]
    return made


def from_wire(name: str, definition: Mapping[str, Value]) -> VmConfig:
    """Raises ValueError with one sentence: the first thing that is wrong."""
    if fault := vms.name_fault(name):
        raise ValueError(fault)
    about = f"definition of {name}"
    try:
        given = msgspec.convert(dict(definition), _Definition)
    except (msgspec.ValidationError, RecursionError) as fault:
        raise ValueError(f"{about}: {fault}") from None
    vm = VmConfig(
        name=name,
        where=Where(about),
        memory_bytes=given.memory_bytes,
        memory_max_bytes=given.memory_max_bytes,
        vcpus=given.vcpus,
        type=given.type,
        image=given.image,
        kernel=given.kernel,
        initrd=given.initrd,
        cmdline=given.cmdline,
        networks=tuple(_network(one, about) for one in given.networks),
        disks=tuple(_disk(one, about) for one in given.disks),
        native=given.native,
        protect=given.protect,
    )
    _check(vm, about)
    return vm


def _network(given: _Network, about: str) -> Network:
    """What vms.ini would say of it, read as vms.ini is."""
    written = [given.bridge, f"mac={given.mac}", *([f"vlan={given.vlan}"] if given.vlan else [])]
    try:
        return Network(*checks.nic(written))
    except ValidateError as fault:
        raise ValueError(f"{about}: networks: {fault}") from None


def _disk(given: _Disk, about: str) -> Disk:
    if not vms.DEVICE.fullmatch(given.device):
        raise ValueError(f"{about}: disks: {given.device!r} is no name of a disk (xvda, vda, sda, hda)")
    try:
        path, _, form = checks.disk([given.path, f"format={given.form}"])
    except ValidateError as fault:
        raise ValueError(f"{about}: disks: {fault}") from None
    return Disk(given.device, path, given.read_only, "qcow2" if form == "qcow2" else "raw")


def _check(vm: VmConfig, about: str) -> None:
    """What the fields mean together, by the rules of vms.ini."""
    if vm.image:
        try:
            checks.image(vm.image)
        except ValidateError as fault:
            raise ValueError(f"{about}: image: {fault}") from None
    if len({one.device for one in vm.disks}) < len(vm.disks):
        raise ValueError(f"{about}: disks: two have the same device")
    fields = {
        "memory": vm.memory_bytes,
        "memory_max": vm.memory_max_bytes,
        "type": "" if vm.type == "pvh" else vm.type,
        "image": vm.image,
        "kernel": vm.kernel,
        "initrd": vm.initrd,
        "cmdline": vm.cmdline,
        "config": vm.native,
    }
    at = {key: Where(about, key=key) for key, value in fields.items() if value}
    parts = [part for part, there in (("networks", vm.networks), ("disks", vm.disks)) if there]
    at |= {f"[{part}]": Where(about, key=part) for part in parts}
    for wrong in vms.faults_of(vm, at, parts):
        raise ValueError(str(wrong))
