"""Small farms for the tests of placement, and the rules written down a second time, as plainly as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from hypothesis import strategies as st

from common.config.model import VmConfig, Where
from vmmanager.vms.placement import MIB, Room, need_bytes

GROUPS = ("mail", "web")
HOSTS = ("xen1", "xen2", "xen3")


def vm(name: str, mib: int = 512, **more: Any) -> VmConfig:
    return VmConfig(name, Where("vms.ini", section=name), memory_bytes=mib * MIB, **more)


def defined(*vms: VmConfig) -> dict[str, VmConfig]:
    return {one.name: one for one in vms}


def room(host: str, free_mib: int | None = 4096, total_mib: int = 8192, **more: Any) -> Room:
    more = {"why_not": "", "cpus": 8, **more, "vms": frozenset(more.get("vms", ()))}
    return Room(host, memory_free_bytes=None if free_mib is None else free_mib * MIB, memory_bytes=total_mib * MIB, **more)


@dataclass(frozen=True)
class Farm:
    definitions: dict[str, VmConfig]
    rooms: tuple[Room, ...]

    @property
    def running(self) -> dict[str, str]:
        return {name: room.host for room in self.rooms for name in sorted(room.vms)}

    @property
    def stopped(self) -> list[VmConfig]:
        return [one for name, one in self.definitions.items() if name not in self.running]


@st.composite
def farms(draw: st.DrawFn, vms_max: int = 6) -> Farm:
    """What runs fits into the memory, and may break any other rule: somebody started it by hand."""
    names = [f"v{number}" for number in range(draw(st.integers(1, vms_max)))]
    groups = {name: draw(st.sampled_from(("", *GROUPS))) for name in names}
    vms = defined(*(draw(_vms(name, names, groups)) for name in names))
    places = {name: draw(st.sampled_from((None, *HOSTS))) for name in names}
    return Farm(vms, tuple(draw(_rooms(host, [vms[name] for name in names if places[name] == host])) for host in HOSTS))


@st.composite
def _vms(draw: st.DrawFn, name: str, names: list[str], groups: dict[str, str]) -> VmConfig:
    others = st.sampled_from(
        [other for other in names if other != name] + [group for group in GROUPS if group in groups.values()]
    )
    affinity = draw(st.lists(others, max_size=1)) if len(names) > 1 else []
    anti = [other for other in draw(st.lists(others, max_size=2)) if other not in affinity] if len(names) > 1 else []
    return vm(
        name,
        draw(st.sampled_from((128, 256, 512, 1024))),
        vcpus=draw(st.integers(1, 3)),
        priority=draw(st.sampled_from((10, 100, 500))),
        group=groups[name],
        hosts=tuple(draw(st.lists(st.sampled_from(HOSTS), max_size=2, unique=True))),
        affinity=tuple(affinity),
        anti_affinity=tuple(anti),
    )


@st.composite
def _rooms(draw: st.DrawFn, host: str, there: list[VmConfig]) -> Room:
    free = draw(st.sampled_from((0, 300, 700, 1100, 1100, 2200, None)))
    used = sum(need_bytes(one) for one in there) // MIB
    return room(
        host,
        free,
        used + (free or 0) + 256,
        cpus=draw(st.sampled_from((1, 2, 4, 4, 4, None))),
        why_not=draw(st.sampled_from(("", "", "", "", "it is in maintenance"))),
        load=draw(st.sampled_from((None, 0.5, 2.0))),
        vms=[one.name for one in there],
    )


# --- the rules again --------------------------------------------------------------------------------------------------------


def apart(one: VmConfig, other: VmConfig) -> bool:
    return any(
        a.name != b.name and (b.name in a.anti_affinity or (b.group and b.group in a.anti_affinity))
        for a, b in ((one, other), (other, one))
    )


def tied(name: str, definitions: Mapping[str, VmConfig]) -> set[str]:
    """All that affinity by name ties to it, by going round until nothing is new."""
    found = {name}
    for _ in definitions:
        for one in definitions.values():
            linked = {one.name, *(other for other in one.affinity if other in definitions)}
            found |= linked if linked & found else set()
    return found - {name}


def fits(one: VmConfig, room: Room, definitions: Mapping[str, VmConfig], where: Mapping[str, str]) -> bool:
    """Whether it may be on that host, beside the VMs that `where` has there. Memory: see over_full."""
    others = [definitions[name] for name, host in where.items() if host == room.host and name in definitions]
    return (
        not room.why_not
        and room.cpus is not None
        and one.vcpus <= room.cpus
        and (not one.hosts or room.host in one.hosts)
        and not any(apart(one, other) for other in others)
    )


def free_bytes(room: Room, farm: Farm, where: Mapping[str, str]) -> int | None:
    """What is free on the host when the VMs are where `where` says."""
    if room.memory_free_bytes is None:
        return None
    before = sum(need_bytes(farm.definitions[name]) for name in room.vms)
    return (
        room.memory_free_bytes + before - sum(need_bytes(farm.definitions[n]) for n, host in where.items() if host == room.host)
    )


def may_be(one: VmConfig, room: Room, farm: Farm, where: Mapping[str, str]) -> bool:
    """Whether the VM, which is nowhere in `where`, may come to this host."""
    free = free_bytes(room, farm, where)
    partners = {where[name] for name in tied(one.name, farm.definitions) if name in where}
    mates = [
        {where[m.name] for m in farm.definitions.values() if m.group == group and m is not one and m.name in where}
        for group in one.affinity
        if group in GROUPS
    ]
    return (
        fits(one, room, farm.definitions, where)
        and free is not None
        and need_bytes(one) <= free
        and (not partners or room.host in partners)
        and all(not hosts or room.host in hosts for hosts in mates)
    )


def assignments(vms: list[VmConfig], farm: Farm) -> Iterator[dict[str, str]]:
    """All ways to place all of these beside what runs, one after the other as they are given."""
    for hosts in product(farm.rooms, repeat=len(vms)):
        where = dict(farm.running)
        for one, target in zip(vms, hosts, strict=True):
            if not may_be(one, target, farm, where):
                break
            where[one.name] = target.host
        else:
            yield where
