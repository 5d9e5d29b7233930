"""The states of a VM: one table, and the one function that works out which it is, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vmmanager.vms.records import Op, Record
from vmmanager.vms.sightings import Domain, Sightings

State = Literal[
    "stopped", "waiting", "starting", "running", "paused", "stopping", "saving", "saved", "restoring", "migrating",
    "halted", "crashed", "failed", "lost", "twice",
]  # fmt: skip

STATES: dict[State, str] = {
    "stopped": "no host has it",
    "waiting": "it is to be started, and something is in the way, or it is not time yet",
    "starting": "a host was told to start it, or it boots",
    "running": "one host runs it",
    "paused": "one host has it, paused",
    "stopping": "it is shutting down, or is being destroyed",
    "saving": "its memory is being written to a file",
    "saved": "no host has it; its memory is in a file",
    "restoring": "it is being made of the file again",
    "migrating": "it is moving from one host to another",
    "halted": "its guest has ended, and the domain is still there: a start or a stop clears it away",
    "crashed": "its guest has crashed, and the domain is still there",
    "failed": "it was tried, and is not tried any more until an operator starts it",
    "lost": "it may be on a host of which nothing is known now: nobody starts it elsewhere",
    "twice": "two hosts have it: this must not be, and an operator has to say which is the right one",
}

_BY_ORDER: dict[Op, State] = {
    "start": "starting", "stop": "stopping", "destroy": "stopping", "reboot": "starting", "save": "saving",
    "restore": "restoring", "migrate": "migrating",
}  # fmt: skip
_BY_DOMAIN: dict[str, State] = {
    "starting": "running", "running": "running", "paused": "paused", "dying": "stopping", "incoming": "migrating",
    "leaving": "migrating", "shutdown": "halted", "crashed": "crashed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Status:
    """`host`: where it is, or may be; empty: nowhere."""

    state: State
    why: str
    host: str = ""
    domain: Domain | None = None


def status(record: Record, seen: Sightings, now: float, waits: str = "") -> Status:
    """What is so with this VM. `waits`: why it is not started yet though it is to be."""
    found = seen.where(record.name)
    known = [(host, domain) for host, domain in found if seen.fresh(host, record.name)]
    if record.order is None or record.order.op != "migrate":
        alive = [host for host, domain in known if domain.alive]
        if len(alive) > 1:
            return Status("twice", f"{' and '.join(alive)} list it", alive[0], known[0][1])
    if record.order is not None:
        return _ordered(record, found)
    if known:
        host, domain = max(known, key=lambda each: each[1].alive)
        note = f": {domain.note}" if domain.note else ""
        return Status(_BY_DOMAIN.get(domain.state, "running"), f"{host} lists it as {domain.state}{note}", host, domain)
    dark = [host for host in record.places if not seen.fresh(host, record.name)]
    if dark and all(seen.awaited(host, record.name) for host in dark):
        state: State = "running" if record.expected else "stopping"
        place = next((host for host, domain in found if domain.alive), dark[0])
        return Status(state, f"the next list of {place} will tell", place)
    if dark:
        last = next((domain for host, domain in found if host == dark[0]), None)
        return Status("lost", f"it may be on {dark[0]}, which {seen.why_unknown(dark[0], now, record.name)}", dark[0], last)
    return _nowhere(record, waits)


def _ordered(record: Record, found: list[tuple[str, Domain]]) -> Status:
    order = record.order
    assert order is not None
    domain = next((domain for host, domain in found if host == order.host), None)
    state = _BY_ORDER.get(order.op)
    if state is None:  # a pause or new memory changes little, and takes a moment
        state = _BY_DOMAIN.get(domain.state, "running") if domain else "stopped"
    where = f"{order.host} to {order.target}" if order.target else order.host
    return Status(state, f"{order.op} on {where}, ordered by {order.by}", order.host, domain)


def _nowhere(record: Record, waits: str) -> Status:
    if record.failed:
        return Status("failed", record.failed)
    if record.saved:
        return Status("saved", f"its memory is saved on {record.saved}")
    if record.held:
        return Status("stopped", record.held)
    if waits:
        return Status("waiting", waits)
    return Status("stopped", "no host lists it")
