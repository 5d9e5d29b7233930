"""When an order must not go out: never two domains of one VM. Pure; every rule gives the sentence that the operator reads."""

from __future__ import annotations

from vmmanager.vms.records import Record
from vmmanager.vms.sightings import Sightings


def may_not_arrive(record: Record, host: str, seen: Sightings, now: float, *, leaving: str = "") -> str:
    """Why the VM must not be brought up on `host`; empty where it may. `leaving`: the host it migrates from."""
    if why := seen.why_unknown(host, now) or seen.why_unknown(host, now, record.name):
        return f"{host} {why}"
    if seen.listings[host].foreign(record.name):
        return f"{host} has a domain of this name that is not ours"
    for place, domain in seen.where(record.name):  # safety: one VM, one domain
        if place != leaving and (domain.alive or place != host):
            return f"{place} lists it as {domain.state}"
    return _silent_elsewhere(record, host, seen, now, leaving)


def may_be_elsewhere(record: Record, host: str, seen: Sightings, now: float) -> str:
    """Why another host than this one may have it."""
    for place, domain in seen.where(record.name):
        if place != host:
            return f"{place} lists it as {domain.state}"
    return _silent_elsewhere(record, host, seen, now)


def _silent_elsewhere(record: Record, host: str, seen: Sightings, now: float, leaving: str = "") -> str:
    """safety: a host that is silent may still run it."""
    for place in record.places:
        if place not in (leaving, host) and (why := seen.why_unknown(place, now, record.name)):
            return f"it may be on {place}, which {why}"
    return ""


def never_known(record: Record, candidates: list[str], seen: Sightings, now: float) -> str:
    """Of a VM that this manager has no record of: a host that nobody has heard may run it all the same. Nothing is started on
    a guess; an operator who knows better may."""
    if record.wanted_at or record.places or record.boot_id or record.restarts:
        return ""
    for host in candidates:
        if why := seen.why_unknown(host, now):
            return f"it has never been seen, and {host}, where it may be, {why}"
    return ""


def awaits(record: Record, seen: Sightings) -> bool:
    """Will the next list of a host tell what is to be known of the VM? Then its turn has not come yet. Of a host that has just
    come back the list from before is still the last."""
    listed = [host for host, _ in seen.where(record.name)]
    return any(seen.awaited(host, record.name) for host in {*record.places, *listed}) or any(map(seen.coming, listed))


def not_there(record: Record, seen: Sightings, now: float) -> tuple[str, str]:
    """(host, why): the one host that has it and can be ordered to do something with it, or why there is none."""
    found = seen.where(record.name)
    if len({host for host, _ in found}) > 1:
        for place, _ in found:
            if why := seen.why_unknown(place, now, record.name):
                return "", f"it may be on {place}, which {why}"
        return "", f"{' and '.join(host for host, _ in found)} list it; say which is right by hand (xl destroy), then try again"
    if not found:
        for place in record.places:
            if why := seen.why_unknown(place, now, record.name):
                return "", f"it may be on {place}, which {why}"
        return "", "no host has it"
    host = found[0][0]
    why = seen.why_unknown(host, now, record.name)
    return ("", f"it was on {host}, which {why}") if why else (host, "")
