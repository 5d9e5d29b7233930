"""What is so: clients, groups, properties with age and history. Pure; times are the manager's wall clock, handed in.

Every change is noted as a Key, so that the trigger engine evaluates only what can have changed. Owned by one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from common.protocol import Reading, Value
from vmmanager.history import TEXT_CHARS_MAX, TEXTS_MAX, History

Key = tuple[str, ...]
"""What changed: ("clients",) who is known · ("group", G) who is in it · ("client", C) its own facts (active_timestamp, address)
· ("property", C, P) a value · ("view",) the managers · ("environment", E) an environment ·
("environments",) which there are."""

Status = Literal["unseen", "connected", "silent", "lost"]

PROPERTIES_MAX = 10_000  # of one client; further ones are not kept
ERROR_CHARS_MAX = 1024
OBJECT_BYTES = 64  # of an object beside its contents, about
CLIENT_BYTES_MAX = 64 << 20  # texts, lists and dicts of one client, texts with their history; what is beyond has no value here


@dataclass(slots=True)
class Property:
    """The last reading of one property of one client, and its past values as (time, value), oldest first."""

    reading: Reading
    read_at: float  # wall clock of this manager: arrival minus the reading's age
    history: Sequence[tuple[float, Value]]
    bytes: int = 0  # what it may take in memory, about; numbers count nothing

    def stale_after(self, factor: float) -> float:
        """When this value becomes unknown for age; infinite where it is never read by the clock."""
        return self.read_at + factor * self.reading.ticks if self.reading.ticks > 0 else float("inf")

    def unknown(self, now: float, factor: float) -> bool:
        """A failed read, no value, or too old a one: unknown, never zero."""
        return bool(self.reading.error) or self.reading.value is None or now > self.stale_after(factor)


@dataclass(slots=True)
class Client:
    """One client as the manager knows it. `address` is its private name on the bus, empty when it is not connected."""

    name: str
    groups: tuple[str, ...] = ()
    address: str = ""
    active_timestamp: float = 0.0  # when its last message came
    connected_at: float = 0.0
    lost_at: float = 0.0  # when the bus said it was gone; 0 while connected
    version: str = ""
    boot_id: str = ""
    commands: tuple[str, ...] = ()  # what its closed list allows
    hypervisor: str = ""  # the engine it says it has; empty: it runs no virtual machines
    properties: dict[str, Property] = field(default_factory=dict)
    bytes: int = 0  # of all properties
    status: Status = "unseen"  # changed by Farm.turn alone


@dataclass(frozen=True, slots=True)
class Environment:
    """What triggers see of an environment. `known`: the batch system answers; else `waiting` and `running` say nothing.
    `wanted` is None before the mix was decided."""

    name: str
    wanted: int | None = None
    slots: int = 0
    serving: int = 0
    waiting: int = 0
    running: int = 0
    known: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A client's status changed."""

    client: str
    old: Status
    new: Status
    why: str


@dataclass(slots=True)
class Farm:
    """All that is known. `changed` collects Keys until the trigger engine takes them."""

    clients: dict[str, Client] = field(default_factory=dict)
    groups: dict[str, dict[str, Client]] = field(default_factory=dict)
    managers: tuple[str, ...] = ()  # full names, in view order; the first leads
    leader: str = ""
    changed: set[Key] = field(default_factory=set)
    by_address: dict[str, str] = field(default_factory=dict)  # private address -> full name, connected clients only
    hypervisors: set[str] = field(default_factory=set)  # clients that have a hypervisor
    environments: dict[str, Environment] = field(default_factory=dict)

    def take_changed(self) -> set[Key]:
        changed, self.changed = self.changed, set()
        return changed

    # --- what the bus tells ---------------------------------------------------------------------------------------------

    def heard(self, name: str, address: str, now: float) -> Turn | None:
        """A message of this client came from `address`."""
        client = self.clients.get(name)
        if client is None:
            client = self.clients[name] = Client(name)
            self.changed.add(("clients",))
        client.active_timestamp = now
        self.changed.add(("client", name))
        if client.address != address:
            self._move(client, address)
            client.connected_at = now
        if client.status == "connected":
            return None
        return self.turn(client, "connected", f"on the bus as {address}", now)

    def lost(self, name: str, why: str, now: float) -> Turn | None:
        """The bus says this client is gone."""
        client = self.clients[name]
        self._move(client, "")
        self.changed.add(("client", name))
        return self.turn(client, "lost", why, now) if client.status != "lost" else None

    def quiet(self, name: str, now: float) -> Turn:
        """Still on the bus, and says nothing."""
        client = self.clients[name]
        return self.turn(client, "silent", f"no message for {now - client.active_timestamp:.0f} s", now)

    def turn(self, client: Client, new: Status, why: str, now: float) -> Turn:
        old, client.status = client.status, new
        client.lost_at = now if new == "lost" else 0.0
        self.changed.add(("client", client.name))
        return Turn(client.name, old, new, why)

    def _move(self, client: Client, address: str) -> None:
        if self.by_address.get(client.address) == client.name:
            del self.by_address[client.address]
        client.address = address
        if address:
            self.by_address[address] = client.name

    # --- what the client tells ------------------------------------------------------------------------------------------

    def introduce(
        self,
        name: str,
        groups: tuple[str, ...],
        version: str,
        boot_id: str,
        commands: tuple[str, ...],
        hypervisor: str = "",
    ) -> None:
        """Its hello: the facts that are not properties."""
        client = self.clients[name]
        client.hypervisor = hypervisor
        if hypervisor:
            self.hypervisors.add(name)
        else:
            self.hypervisors.discard(name)
        client.version, client.boot_id, client.commands = version, boot_id, commands
        self.changed.add(("client", name))
        if groups != client.groups:
            self._leave_groups(client)
            client.groups = groups
            for group in groups:
                self.groups.setdefault(group, {})[name] = client
                self.changed.add(("group", group))

    def read(self, name: str, reading: Reading, now: float, keep: int, max_s: float) -> None:
        """A reading came. Its history keeps `keep` values, none older than `max_s`."""
        client = self.clients[name]
        read_at = now - max(0.0, reading.age_s)
        known = client.properties.get(reading.name)
        if known is None:
            if len(client.properties) >= PROPERTIES_MAX:
                return
            known = client.properties[reading.name] = Property(reading, read_at, History(keep))
        reading = _kept(client, known, reading, keep)
        near_s = min(SAME_READ_S, reading.ticks / 2) if reading.ticks > 0 else SAME_READ_S
        again = len(known.history) > 0 and abs(read_at - known.read_at) < near_s and known.reading.value == reading.value
        known.reading = reading
        self.changed.add(("property", name, reading.name))
        if again:
            return  # the same read, told once more
        known.read_at = read_at
        history = known.history
        if not reading.error and reading.value is not None and isinstance(history, History):
            history.append(read_at, reading.value)
            history.forget_before(now - max_s)

    def failed(self, name: str, property: str, why: str, now: float) -> None:
        """PROPERR: the property has no value now. One that was never known stays so."""
        why = why[:ERROR_CHARS_MAX]
        known = self.clients[name].properties.get(property)
        if known is not None and known.reading.error != why:
            old = known.reading
            known.reading = Reading(name=property, type=old.type, unit=old.unit, ticks=old.ticks, error=why)
            known.read_at = now
            self.changed.add(("property", name, property))

    def keep_only(self, name: str, properties: set[str]) -> None:
        """A complete list came: what is not in it is gone from the client's configuration."""
        client = self.clients[name]
        for gone in sorted(set(client.properties) - properties):
            client.bytes -= client.properties.pop(gone).bytes
            self.changed.add(("property", name, gone))

    def clock_set(self, by_s: float) -> None:
        """safety: the wall clock was set. Everything stays as old as it is, or the whole farm would look dead at once."""
        for client in self.clients.values():
            client.active_timestamp += by_s
            client.connected_at += by_s
            client.lost_at += by_s if client.lost_at else 0.0
            for known in client.properties.values():
                known.read_at += by_s
                if isinstance(known.history, History):
                    known.history.shift(by_s)

    # --- what the operator tells ----------------------------------------------------------------------------------------

    def forget(self, name: str) -> None:
        """The client is no longer one of ours."""
        client = self.clients.pop(name, None)
        if client is not None:
            self._move(client, "")
            self._leave_groups(client)
            self.hypervisors.discard(name)
            self.changed |= {("clients",), ("client", name)}

    def _leave_groups(self, client: Client) -> None:
        for group in client.groups:
            members = self.groups.get(group, {})
            members.pop(client.name, None)
            if not members:
                self.groups.pop(group, None)
            self.changed.add(("group", group))


def _kept(client: Client, known: Property, reading: Reading, keep: int) -> Reading:
    """The reading, or one that says why its value is not kept: one client must not fill the manager's memory."""
    why = ""
    try:
        size = _bytes(reading.value, keep) + len(reading.error)
    except ValueError:
        why, size = "a number in it is infinite or none", 0
    if known.history:
        size = max(size, known.bytes)  # longer texts may be in its history
    if client.bytes - known.bytes + size > CLIENT_BYTES_MAX:
        why, size = f"not kept: the values of {client.name} take more than {CLIENT_BYTES_MAX >> 20} MiB", known.bytes
    client.bytes += size - known.bytes
    known.bytes = size
    if why:
        return Reading(name=reading.name, ticks=reading.ticks, age_s=reading.age_s, error=why)
    return reading


def _bytes(value: Value, keep: int) -> int:
    """About what it takes in memory. Raises ValueError: a number that is infinite or none, which no comparison finds."""
    if isinstance(value, float) and not isfinite(value):
        raise ValueError
    if isinstance(value, str):
        return len(value) * (min(keep, TEXTS_MAX) if len(value) <= TEXT_CHARS_MAX else 1)
    if isinstance(value, list):
        return OBJECT_BYTES + sum(_bytes(item, 1) + OBJECT_BYTES for item in value)
    if isinstance(value, dict):
        return OBJECT_BYTES + sum(len(key) + _bytes(item, 1) + 2 * OBJECT_BYTES for key, item in value.items())
    return 0


SAME_READ_S = 0.5  # two tellings of one read may differ so much: age is counted at sending, arrival here
