"""What is seen of each slot: its VM as its host lists it, its node as the batch system tells it, what is in the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from vmmanager.environments.headnode import Heard
from vmmanager.environments.places import BY, Place, place_of, vm_name
from vmmanager.environments.slots import Slot, State
from vmmanager.environments.steward import Presence, Sight, Verb

if TYPE_CHECKING:
    from vmmanager.environments.book import Book
    from vmmanager.environments.breakers import Breakers
    from vmmanager.vms.machines import Machines

PRESENCE: dict[str, Presence] = {
    "running": "up", "paused": "up", "halted": "dead", "crashed": "dead", "lost": "lost", "twice": "lost",
    "stopped": "absent", "waiting": "absent", "failed": "absent", "saved": "absent",
}  # fmt: skip
"""What a state of a VM is to its slot; the others pass."""


class Sights:
    def __init__(self, machines: Machines, book: Book, breakers: Breakers) -> None:
        self._m, self._book, self._breakers = machines, book, breakers

    def of(self, slot: Slot, heard: Heard, names: Iterable[str], now: float, own: Verb | str = "") -> Sight:
        """`names`: of all environments that may have a VM there. `own`: our own order that is under way."""
        place = place_of(slot.name)
        name = vm_name(slot.environment, place)
        vm, why = self.presence(name, place, now, own)
        record = self._m.records.get(name)
        stopped = record is not None and record.wanted == "stopped" and record.wanted_by != BY
        return Sight(
            vm,
            why,
            stopped_by=record.wanted_by if stopped and record is not None else "",
            host_away=self.away(place.host, now),
            other=self._other(slot, place, names) if slot.state is State.STARTING else "",
            pause=self._pause(slot, place, now),
            known=heard.nodes_why,
            node=heard.nodes.get(self._book.nodes.get(slot.name, "")),
            nodes_at=heard.nodes_at,
        )

    def presence(self, name: str, place: Place, now: float, own: Verb | str = "") -> tuple[Presence, str]:
        """And why it is thought so. An order of somebody else's that is under way is waited for."""
        task = self._m.tasks.by_vm.get(name)
        status = self._m.status(name)
        if task is not None:
            return "changing", f"{task.op} is under way (by {task.by})"
        found = PRESENCE.get(status.state, "changing")
        if found == "absent" and name not in self._m.records and (why := self.away(place.host, now)):
            return "lost", why  # never seen by this manager: it may run there all the same
        return found, status.why

    def away(self, host: str, now: float) -> str:
        """Why nothing is known of a host; empty where its list is fresh."""
        listing = self._m.seen.listings.get(host)
        if listing is not None and listing.fresh:
            return ""
        return f"{host} {self._m.seen.why_unknown(host, now)}"

    def _other(self, slot: Slot, place: Place, names: Iterable[str]) -> str:
        """safety: one VM on a slot. Another that is there, or may be, must be gone first."""
        for environment in names:
            name = vm_name(environment, place)
            if environment == slot.environment:
                continue
            record = self._m.records.get(name)
            if any(domain.alive for _, domain in self._m.seen.where(name)) or (record is not None and record.places):
                return f"{name} is, or may be, there still: {self._m.status(name).why}"
        return ""

    def found(self, place: Place, names: Iterable[str]) -> str:
        """The environment whose VM runs on a slot that nobody has."""
        for environment in names:
            for host, domain in self._m.seen.where(vm_name(environment, place)):
                if host == place.host and domain.alive and self._m.seen.fresh(host):
                    return environment
        return ""

    def _pause(self, slot: Slot, place: Place, now: float) -> str:
        if slot.state is State.BROKEN:
            left = self._breakers.until(f"slot {slot.name}") - now
            one = self._breakers.by_subject.get(f"slot {slot.name}")
            return f"paused for {left:.0f} s more: {one.why if one else ''}" if left > 0 else ""
        if slot.state is not State.STARTING:
            return ""
        return self._breakers.why_not(f"environment {slot.environment}", slot.name, now) or self._breakers.why_not(
            f"host {place.host}", slot.name, now
        )
