"""Keeps what is wanted: what is started and when, what is not and why; what a look at the hosts changes in a record. Pure.

docs/hypervisors.md tells it to the operator. Nothing is done on a guess: what somebody else has stopped is not fought over, and
what may be on a silent host is not started elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.config.model import FailoverConfig, VmConfig, VmsConfig
from common.config.values import show_duration
from vmmanager.vms.records import Record
from vmmanager.vms.sightings import Sightings
from vmmanager.vms.states import Status


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a VM: nothing; start it at `at` (wall clock), which `counts` as a restart; or give it up."""

    what: Literal["nothing", "start", "give_up"]
    why: str = ""
    at: float = 0.0
    counts: bool = False
    rescues: bool = False  # its host is dead


NOTHING = Verdict("nothing")


def wanted(record: Record, vm: VmConfig) -> Literal["running", "stopped"]:
    return record.wanted or vm.state


def judge(
    record: Record, vm: VmConfig, status: Status, since: float, settings: VmsConfig, failover: FailoverConfig, now: float
) -> Verdict:
    """`since`: wall clock, when the VM came into this state."""
    if vm.environment:  # its slot decides when it is started
        return NOTHING
    if wanted(record, vm) != "running" or record.order is not None or record.held or record.failed or record.saved:
        return NOTHING
    if status.state in ("stopped", "waiting") and record.rescued:
        return _rescue(record, status, failover, now)
    if status.state in ("stopped", "waiting"):
        return _start(record, vm, status, since, settings, now, counts=False)
    if status.state == "crashed" and vm.restart != "never":
        return _start(record, vm, status, since, settings, now, counts=True)
    if status.state == "halted" and vm.restart == "always":
        return _start(record, vm, status, since, settings, now, counts=True)
    return NOTHING


def _start(
    record: Record, vm: VmConfig, status: Status, since: float, settings: VmsConfig, now: float, *, counts: bool
) -> Verdict:
    recent = [at for at in record.restarts if at > now - vm.restart_window_s]
    if vm.restart_max and len(recent) >= vm.restart_max:
        times = f"{len(recent)} attempts within {show_duration(vm.restart_window_s)} (restart_limit)"
        return Verdict("give_up", f"{times}; the last: {status.why}")
    delay_s = min(settings.restart_delay_max_s, settings.restart_delay_s * 2 ** min(len(recent), 30))
    if recent:
        return Verdict("start", f"attempt {len(recent) + 1}: {status.why}", recent[-1] + delay_s, counts)
    return Verdict("start", status.why, since + delay_s if counts else now, counts)


def _rescue(record: Record, status: Status, failover: FailoverConfig, now: float) -> Verdict:
    tried = len(record.rescues)
    if tried >= failover.retries:
        return Verdict("give_up", f"{record.rescued} died with it, and {tried} attempts to start it elsewhere failed (retries)")
    why = f"{record.rescued} died with it"
    at = record.rescues[-1] + failover.retry_delay_s * 2 ** min(tried - 1, 30) if tried else now
    return Verdict("start", f"{why}, attempt {tried + 1}" if tried else why, at, rescues=True)


def settle(record: Record, vm: VmConfig | None, seen: Sightings, now: float) -> str:
    """Takes what the hosts list into a record without an order under way. A sentence, where an operator should know it."""
    if record.order is not None:
        return ""
    found = seen.where(record.name)
    dark = tuple(place for place in record.places if not seen.fresh(place, record.name))
    if found:
        return _found(record, vm, seen, tuple(host for host, _ in found), dark, now)
    if dark:
        record.places = tuple(sorted(dark))  # safety: what is dark stays; a fresh list without it counts
        return ""
    return _gone(record, vm, seen, now)


def _rescued(record: Record, host: str, now: float) -> str:
    """It runs again after its host died."""
    died, took_s = record.rescued, now - record.rescued_at
    record.rescued, record.rescues, record.expected, record.held, record.failed = "", (), True, "", ""
    record.home = died if host != died else ""
    return f"runs again on {host}, {took_s:.1f} s after it was known not to run on {died} any more"


def _found(
    record: Record, vm: VmConfig | None, seen: Sightings, hosts: tuple[str, ...], dark: tuple[str, ...], now: float
) -> str:
    record.places = tuple(sorted({*hosts, *dark}))
    alive = [host for host, domain in seen.where(record.name) if domain.alive and seen.fresh(host, record.name)]
    if not alive:
        return ""
    record.boot_id = seen.listings[alive[0]].boot_id
    record.protected = record.protected or seen.protection.holds_book(alive[0], record.name)
    if record.home == alive[0]:
        record.home = ""
    if record.rescued:
        return _rescued(record, alive[0], now)
    was, record.expected = record.expected, True
    if record.held or record.failed:
        record.held = record.failed = ""
        return f"it runs again on {alive[0]}, without an order of ours"
    if not was and vm is not None and wanted(record, vm) == "stopped":
        return f"it runs on {alive[0]}, though it is wanted stopped; it is left alone"
    return ""


def _gone(record: Record, vm: VmConfig | None, seen: Sightings, now: float) -> str:
    """Every host where it may have been has a fresh list, and none has it; or is proved to be dead."""
    places, record.places = record.places, ()
    was, record.expected = record.expected, False
    dead = next((place for place in places if seen.protection.gone(place, record.name)), "")
    if dead and was and vm is not None:
        record.rescued, record.rescued_at, record.rescues = dead, now, ()
        return f"{dead} is dead, and it with it ({seen.protection.proof(dead)})"
    if not was or not places or vm is None:
        return ""
    host = places[0]
    if record.protected and vm.restart != "never" and wanted(record, vm) == "running":
        record.rescued, record.rescued_at, record.rescues = host, now, ()
        return f"it is not on {host} any more, and is protected: it is started again"
    if seen.listings[host].boot_id != record.boot_id:
        return f"{host} was restarted, and it ended with it"
    how = f"it ended on {host} without an order of ours: its guest shut down, or somebody stopped it by hand"
    if vm.restart == "always" or wanted(record, vm) == "stopped":
        return how
    record.held = f"{how}; `vmctl vm start {record.name}` starts it again"
    return how
