"""Which slots there are, which environment may have which, and the VM that each would have there. Pure.

A slot is a numbered place on a host. Its VM is called ENVIRONMENT-HOST, and ENVIRONMENT-HOST-2 on the second place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from string import Template

from common.config.environments import matches
from common.config.model import EnvironmentConfig, EnvironmentsConfig, VmConfig
from common.config.vms import name_fault, own_mac
from common.hypervisor import Disk

BY = "environments"  # who wants a VM of a slot running or stopped, where no operator has said so


@dataclass(frozen=True, slots=True)
class Place:
    """`number` counts from 1 on its host."""

    host: str
    number: int = 1

    @property
    def name(self) -> str:
        return self.host if self.number == 1 else f"{self.host}#{self.number}"


def place_of(slot: str) -> Place:
    host, _, number = slot.partition("#")
    return Place(host, int(number) if number.isdigit() else 1)


def vm_name(environment: str, place: Place) -> str:
    return f"{environment}-{place.host}" if place.number == 1 else f"{environment}-{place.host}-{place.number}"


def node_name(one: EnvironmentConfig, place: Place) -> str:
    """What the batch system calls that VM."""
    return Template(one.node).safe_substitute(
        vm=vm_name(one.name, place),
        host=place.host,
        short=place.host.partition(".")[0],
        environment=one.name,
        slot=place.number,
    )


def places(config: EnvironmentsConfig, hosts: Iterable[str]) -> list[Place]:
    """Of all hosts that [environments] names; excluded ones too, they may be in use still."""
    ours = sorted(host for host in hosts if matches(host, config.hosts))
    names = set(ours)
    found = []
    for host in ours:
        most = max((one.slots_per_host for one in config.defined if may_have(config, one, host)), default=0)
        for number in range(1, most + 1):
            if number == 1 or f"{host}-{number}" not in names:  # the VMs of the two would have one name
                found.append(Place(host, number))
    return found


def owner(config: EnvironmentsConfig, host: str) -> EnvironmentConfig | None:
    """The environment that the host is reserved for."""
    return next((one for one in config.defined if matches(host, one.reserved)), None)


def may_have(config: EnvironmentsConfig, one: EnvironmentConfig, host: str) -> bool:
    alone = owner(config, host)
    return alone is one if alone else not one.hosts or matches(host, one.hosts)


def may_serve(config: EnvironmentsConfig, one: EnvironmentConfig, place: Place) -> bool:
    return place.number <= one.slots_per_host and may_have(config, one, place.host)


def machine(template: VmConfig, environment: str, place: Place) -> VmConfig:
    """The VM of that slot, made after the template. Cards get addresses of their own; `$vm` in the path of a disk or in the
    command line is filled in."""
    name = vm_name(environment, place)
    return replace(
        template,
        name=name,
        template=False,
        environment=environment,
        hosts=(place.host,),
        state="stopped",
        restart="always",  # never held back because it ended by itself; it is the slot that starts it again
        restart_max=0,
        cmdline=template.cmdline.replace("$vm", name),
        networks=tuple(replace(card, mac=own_mac(name, str(number))) for number, card in enumerate(template.networks)),
        disks=tuple(_disk(disk, name) for disk in template.disks),
    )


def _disk(disk: Disk, name: str) -> Disk:
    return replace(disk, path=disk.path.replace("$vm", name))


def why_not(environment: str, place: Place) -> str:
    """Why no VM can have that name; empty where it can."""
    return name_fault(vm_name(environment, place))


def jobs_per_slot(one: EnvironmentConfig, templates: Mapping[str, VmConfig]) -> int:
    """Jobs of one processor."""
    template = templates.get(one.template)
    return one.jobs_per_slot or (template.vcpus if template else 1)
