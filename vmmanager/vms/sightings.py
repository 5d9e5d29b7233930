"""Which host lists which domain, and how far its list can be trusted. Pure: reads the farm's state, orders nothing.

A list counts as *fresh* when the host is connected and its property `domains` is known; for one VM, when it was also read after
the last order on that VM had ended. Whatever is not fresh is unknown: what was there may still be there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.hypervisor import plain_name
from common.protocol import NOT_READ, Value
from vmmanager.state import Client, Farm, Property
from vmmanager.vms.protection import Protection

AWAITED = "has not listed its domains since the last order there"
DOMAINS, HYPERVISOR = "domains", "hypervisor"  # the properties a client with a hypervisor has (docs/design/0030)
COMING_S = 30.0  # a client that has come has told its domains by then, or orders that wait for them are told why not
ALIVE = frozenset({"starting", "running", "paused", "incoming", "leaving", "dying", "unknown"})
"""States in which a domain may be running, or have memory that matters. The others, `crashed` and `shutdown`, are dead."""


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as its host lists it; `name` without what a migration adds to it."""

    name: str
    state: str
    memory_bytes: int
    vcpus: int
    ours: bool
    note: str
    told: Mapping[str, Value] = field(default_factory=dict, compare=False)

    @property
    def alive(self) -> bool:
        return self.state in ALIVE


@dataclass(frozen=True, slots=True)
class Listing:
    """What one host lists. `why`: why it is not fresh, empty where it is; then the domains are the last ones known.

    `since`: wall clock, when that began; 0 where it says nothing."""

    host: str
    why: str
    since: float = 0.0
    domains: tuple[Domain, ...] = ()
    read_at: float = field(default=0.0, compare=False)  # wall clock
    boot_id: str = ""
    coming: bool = False  # its client has just started: the first list is being read

    @property
    def fresh(self) -> bool:
        return not self.why

    def ours(self, name: str) -> tuple[Domain, ...]:
        return tuple(domain for domain in self.domains if domain.ours and domain.name == name)

    def foreign(self, name: str) -> bool:
        return any(domain.name == name and not domain.ours for domain in self.domains)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a host has; None is unknown, `why` says why."""

    kind: str = ""
    version: str = ""
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None
    cpus: int | None = None
    load: float | None = None
    read_at: float = 0.0
    why: str = ""


class Sightings:
    """The listings of all hosts, brought up to date by `look`.

    `ended`: (host, VM) of which a list is awaited, and the wall clock when the order ended after which it must be read. VM "":
    all. `led_at`: wall clock, since when this manager leads; 0: it does not."""

    def __init__(self) -> None:
        self.listings: dict[str, Listing] = {}
        self.protection = Protection()
        self.ended: dict[tuple[str, str], float] = {}
        self.led_at = 0.0
        self._parsed: dict[str, tuple[object, tuple[Domain, ...], str]] = {}
        self._by_name: dict[str, set[str]] = {}  # domain of ours -> hosts that list it

    def look(self, farm: Farm, hosts: Iterable[str], factor: float, now: float) -> tuple[set[str], set[str]]:
        """Reads these hosts anew. Returns the hosts whose listing is another now, and our VMs that they list or listed."""
        changed: set[str] = set()
        names: set[str] = set()
        for host in sorted(set(hosts)):
            old, client = self.listings.get(host), farm.clients.get(host)
            new = self._listing(host, client, factor, now) if client and host in farm.hypervisors else None
            if new is not None and old is not None and _old_news(old, new):
                self.ended[host, ""] = now
            if new is not None and old is None:  # safety: what it read before may be older than an order of the leader before
                self.ended.setdefault((host, ""), self.led_at)
            if new is not None:
                was_awaited = (host, "") in self.ended
                names |= self._told_since(new)
                if was_awaited and (host, "") not in self.ended:
                    changed.add(host)  # what was awaited of it is known now, be it the same list as before
            if new == old:
                if new is not None:
                    self.listings[host] = new  # read again, the same
                continue
            changed.add(host)
            names |= {domain.name for each in (old, new) if each for domain in each.domains if domain.ours}
            if new is None:
                self._forget(host)
            else:
                self._take(new)
        return changed, names

    def led(self, now: float) -> None:
        """This manager leads from now on: every host is to list its domains anew, those that come later as well."""
        self.led_at = now
        self.ended |= {(host, ""): now for host in self.listings}

    def hosts(self) -> list[str]:
        return sorted(self.listings)

    def where(self, name: str) -> list[tuple[str, Domain]]:
        """Our domains of this name, host by host; of hosts that are not fresh the last known."""
        hosts = [host for host in sorted(self._by_name.get(name, ())) if not self.protection.gone(host, name)]
        return [(host, domain) for host in hosts for domain in self.listings[host].ours(name)]

    def why_unknown(self, host: str, now: float, vm: str = "") -> str:
        """Why nothing is known of this host, or of this VM there, now; empty where its list is fresh, or it cannot be there."""
        if vm and self.protection.gone(host, vm):
            return ""
        listing = self.listings.get(host)
        if listing is None:
            return "has not been heard since this manager started"
        ago = f" ({max(0.0, now - listing.since):.0f} s ago)" if listing.why and listing.since else ""
        return listing.why + ago or (AWAITED if self.awaited(host, vm) else "")

    def fresh(self, host: str, vm: str = "") -> bool:
        if vm and self.protection.gone(host, vm):
            return True
        listing = self.listings.get(host)
        return listing is not None and listing.fresh and not self.awaited(host, vm)

    def coming(self, host: str) -> bool:
        """It is there, and its first list is on its way, or the first that counts since it is back."""
        listing = self.listings.get(host)
        return listing is not None and (listing.coming or self.awaited(host))

    def awaited(self, host: str, vm: str = "") -> bool:
        """It is there, and its next list will tell what the last order has done."""
        listing = self.listings.get(host)
        return listing is not None and listing.fresh and bool({(host, vm), (host, "")} & self.ended.keys())

    def outdated(self) -> list[str]:
        """Hosts whose list is older than an order that ended there: to be asked again."""
        return sorted({host for host, _ in self.ended if host in self.listings and self.listings[host].fresh})

    def _told_since(self, listing: Listing) -> set[str]:
        """VMs whose last order this list has seen the end of. safety: read after it, not before."""
        told = [key for key, at in self.ended.items() if key[0] == listing.host and listing.fresh and listing.read_at >= at]
        for key in told:
            del self.ended[key]
        every = {domain.name for domain in listing.domains if domain.ours} if (listing.host, "") in told else set()
        return every | {name for _, name in told if name}

    def clock_set(self, by_s: float) -> None:
        self.ended = {key: at + by_s for key, at in self.ended.items()}
        self.led_at += by_s if self.led_at else 0.0

    def names(self) -> Iterable[str]:
        return self._by_name

    def _listing(self, host: str, client: Client, factor: float, now: float) -> Listing:
        known = client.properties.get(DOMAINS)
        domains, fault = self._domains(host, known)
        read_at = known.read_at if known else 0.0
        why, since = _not_connected(client)
        if not why:
            why, since = fault, 0.0
        if not why and known is not None and known.unknown(now, factor):
            why, since = "last listed its domains too long ago", read_at
        coming = _first_is_coming(client, known, now)
        return Listing(host, why, since, domains, read_at, client.boot_id, coming)

    def _domains(self, host: str, known: Property | None) -> tuple[tuple[Domain, ...], str]:
        """Parsed once for each reading. A failed reading keeps the last domains, with why they are not to be trusted."""
        if known is None:
            return (), "has not told its domains yet"
        reading, parsed = known.reading, self._parsed.get(host)
        if parsed is not None and parsed[0] is reading:
            return parsed[1], parsed[2]
        last = parsed[1] if parsed else ()
        if reading.error:
            domains, fault = last, f"cannot list its domains: {reading.error}"
        else:
            told = parse(reading.value)
            domains = last if told is None else told
            fault = "tells its domains in a form that is not understood" if told is None else ""
        self._parsed[host] = (reading, domains, fault)
        return domains, fault

    def _take(self, listing: Listing) -> None:
        self._unlist(listing.host)
        self.listings[listing.host] = listing
        for domain in listing.domains:
            if domain.ours:
                self._by_name.setdefault(domain.name, set()).add(listing.host)

    def _forget(self, host: str) -> None:
        self._unlist(host)
        self._parsed.pop(host, None)
        self.listings.pop(host, None)

    def _unlist(self, host: str) -> None:
        listing = self.listings.get(host)
        for domain in listing.domains if listing else ():
            hosts = self._by_name.get(domain.name, set())
            hosts.discard(host)
            if not hosts:
                self._by_name.pop(domain.name, None)


def _old_news(old: Listing, new: Listing) -> bool:
    """safety: it was restarted, or away, and its list is from before: what has become of it the next one will tell."""
    if old.boot_id and new.boot_id != old.boot_id:
        return True
    return bool(old.why) and new.fresh and new.read_at == old.read_at


def _first_is_coming(client: Client, known: Property | None, now: float) -> bool:
    is_new = client.status == "connected" and now - client.connected_at < COMING_S
    return is_new and (known is None or known.reading.error == NOT_READ)


def _not_connected(client: Client) -> tuple[str, float]:
    if client.status == "lost":
        return "left the bus", client.lost_at
    if client.status == "silent":
        return "has been silent since its last message", client.active_timestamp
    return ("", 0.0) if client.status == "connected" else ("has not said hello yet", 0.0)


def parse(value: Value) -> tuple[Domain, ...] | None:
    """The property `domains`. None where it is not understood: better unknown than half known."""
    if not isinstance(value, list):
        return None
    domains = []
    for each in value:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str) or not isinstance(each.get("state"), str):
            return None
        domains.append(_domain(each))
    return tuple(sorted(domains, key=lambda domain: domain.name))


def _domain(each: Mapping[str, Any]) -> Domain:
    return Domain(
        plain_name(each["name"]),
        each["state"],
        _whole(each.get("memory_bytes")) or 0,
        _whole(each.get("vcpus")) or 0,
        each.get("ours") is True,
        str(each.get("note") or ""),
        each,
    )


def capacity(client: Client | None, factor: float, now: float) -> Capacity:
    """What the host says it has (property `hypervisor`)."""
    known = client.properties.get(HYPERVISOR) if client else None
    if known is None:
        return Capacity(why="has not told what it has yet")
    value, error = known.reading.value, known.reading.error
    if error or not isinstance(value, dict):
        return Capacity(why=f"cannot tell what it has: {error or 'a form that is not understood'}")
    if known.unknown(now, factor):
        return Capacity(why=f"told what it has {max(0.0, now - known.read_at):.0f} s ago")
    load = value.get("load")
    return Capacity(
        str(value.get("kind") or ""),
        str(value.get("version") or ""),
        _whole(value.get("memory_bytes")),
        _whole(value.get("memory_free_bytes")),
        _whole(value.get("cpus")),
        float(load) if isinstance(load, (int, float)) else None,
        known.read_at,
    )


def _whole(value: Value) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
