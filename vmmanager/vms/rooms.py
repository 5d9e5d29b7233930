"""The hosts as placement sees them, kept up to date while orders go out in one step. Pure.

What a host says of its free memory is older than the orders given since: those are taken off here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.config.model import VmConfig
from vmmanager.vms.placement import Room, after, without
from vmmanager.vms.sightings import Capacity, capacity
from vmmanager.vms.tasks import ARRIVES, PREFIX, Task

if TYPE_CHECKING:
    from vmmanager.vms.machines import Machines


class Rooms:
    def __init__(self, machines: Machines) -> None:
        self._m = machines
        self._rooms: tuple[Room, ...] = ()
        self._arrived: dict[str, list[tuple[float, str, int]]] = {}  # host -> (wall clock, VM, bytes) of orders since it told
        self._busy: dict[str, int] = {}
        self._migrations: dict[str, int] = {}
        self._coming: dict[str, dict[str, int]] = {}  # host -> VM -> bytes: orders under way
        self._ordered: dict[str, set[str]] = {}  # host -> VMs that may be there

    def refresh(self) -> None:
        """At the beginning of a step."""
        self._busy, self._migrations = dict(self._m.tasks.busy()), dict(self._m.tasks.migrations())
        self._coming, self._ordered = {}, {}
        for task in self._m.tasks.active():
            if task.arrives_at:
                self._coming.setdefault(task.arrives_at, {})[task.vm] = task.memory_bytes
        for name, record in self._m.records.items():
            for host in record.places:
                self._ordered.setdefault(host, set()).add(name)
        self._rooms = tuple(self._room(host) for host in self._m.seen.hosts())

    def all(self) -> tuple[Room, ...]:
        return self._rooms

    def for_vm(self, vm: VmConfig, *, leaving: str = "") -> tuple[Room, ...]:
        """Without the VM itself; the host that it leaves does not take it."""
        rooms = without(self._rooms, vm) if any(vm.name in room.vms for room in self._rooms) else self._rooms
        if vm.protect:
            why_not = {room.host: self._m.protection.why_not_on(room.host, vm) for room in rooms}
            rooms = tuple(_closed(room, room.why_not or why) if (why := why_not[room.host]) else room for room in rooms)
        if not leaving:
            return rooms
        return tuple(room if room.host != leaving else _closed(room, "it is there now") for room in rooms)

    def capacity(self, host: str) -> Capacity:
        context = self._m.context
        return capacity(context.farm.clients.get(host), context.config.stale_factor, context.now.wall)

    # --- how much is under way ------------------------------------------------------------------------------------------

    def free(self, host: str, *, migration: bool = False) -> bool:
        orders = self._m.context.config.orders
        if migration and self._migrations.get(host, 0) >= orders.migrations_per_host:
            return False
        return self._busy.get(host, 0) < orders.parallel_per_host

    def any_free(self) -> bool:
        return any(self.free(host) for host in self._m.seen.hosts())

    def begun(self, task: Task) -> None:
        for host in task.hosts:
            self._busy[host] = self._busy.get(host, 0) + 1
            if task.op == "migrate":
                self._migrations[host] = self._migrations.get(host, 0) + 1
        vm = self._m.definitions.get(task.vm)
        if task.arrives_at and vm is not None:
            self._rooms = after(without(self._rooms, vm) if task.op in ARRIVES else self._rooms, vm, task.arrives_at)

    def ended(self, task: Task) -> None:
        """It may be there now, and the host has not yet said what is left."""
        if task.arrives_at:
            self._arrived.setdefault(task.arrives_at, []).append((self._m.context.now.wall, task.vm, task.memory_bytes))

    # --- one host -------------------------------------------------------------------------------------------------------

    def _room(self, host: str) -> Room:
        has = self.capacity(host)
        return Room(
            host,
            self._why_not(host, has),
            self._memory_free(host, has),
            has.memory_bytes or 0,
            has.cpus,
            has.load,
            self._vms(host),
        )

    def _why_not(self, host: str, has: Capacity) -> str:
        m = self._m
        if why := m.seen.why_unknown(host, m.context.now.wall):
            return why
        record, client = m.hosts.get(host), m.context.farm.clients.get(host)
        if record is not None and record.in_maintenance:
            return f"in maintenance: {record.why or 'no reason given'} ({record.who})"
        if client is not None and not {"vm", f"{PREFIX}start"}.intersection(client.commands):
            return "its own file does not allow a manager to start VMs (allow = vm)"
        return has.why

    def _memory_free(self, host: str, has: Capacity) -> int | None:
        if has.memory_free_bytes is None:
            return None
        since = [each for each in self._arrived.get(host, ()) if each[0] >= has.read_at]
        self._arrived[host] = since
        listed = {domain.name for domain in self._m.seen.listings[host].domains}
        coming = self._coming.get(host, {}) | {vm: size for _, vm, size in since}
        taken = sum(
            size for vm, size in coming.items() if vm not in listed or has.read_at < self._m.seen.listings[host].read_at
        )
        return max(0, has.memory_free_bytes - taken - self._m.context.config.orders.memory_reserve_bytes)

    def _vms(self, host: str) -> frozenset[str]:
        listed = {domain.name for domain in self._m.seen.listings[host].domains if domain.ours}
        there = listed | self._ordered.get(host, set()) | self._coming.get(host, {}).keys()
        if not self._m.seen.fresh(host):  # what a dead host listed last ties nobody to it
            there = {vm for vm in there if not self._m.protection.gone(host, vm)}
        return frozenset(there)


def _closed(room: Room, why: str) -> Room:
    return Room(room.host, why, room.memory_free_bytes, room.memory_bytes, room.cpus, room.load, room.vms)
