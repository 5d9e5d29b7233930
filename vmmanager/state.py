"""What is so: clients, groups, properties with age and history. Pure; times are the manager's wall clock, handed in.

Every change is noted as a Key, so that the trigger engine evaluates only what can have changed. Owned by one thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from common.protocol import Reading, Value

Key = tuple[str, ...]
"""What changed: ("clients",) who is known · ("group", G) who is in it · ("client", C) its own facts (active_timestamp, address)
· ("property", C, P) a value · ("view",) the managers."""


@dataclass(slots=True)
class Property:
    """The last reading of one property of one client, and its past values as (time, value)."""

    reading: Reading
    read_at: float  # wall clock of this manager: arrival minus the reading's age
    history: deque[tuple[float, Value]]

    def stale_after(self, factor: float) -> float:
        """When this value becomes unknown for age; infinite where it is never read by the clock."""
        return self.read_at + factor * self.reading.ticks if self.reading.ticks > 0 else float("inf")


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
    properties: dict[str, Property] = field(default_factory=dict)


@dataclass(slots=True)
class Farm:
    """All that is known. `changed` collects Keys until the trigger engine takes them."""

    clients: dict[str, Client] = field(default_factory=dict)
    groups: dict[str, dict[str, Client]] = field(default_factory=dict)
    managers: tuple[str, ...] = ()  # full names, in view order; the first leads
    leader: str = ""
    changed: set[Key] = field(default_factory=set)

    def take_changed(self) -> set[Key]:
        changed, self.changed = self.changed, set()
        return changed
