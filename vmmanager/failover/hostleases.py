"""Leases of hosts, the leader's side: what a host asked, what it was granted, from when its lease is over by any clock. Pure.

The host counts from when it asked, the leader from when it grants; several hosts are answered together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from common.leases import Terms, lease_over_s
from common.leasewords import Ask, Grant
from vmmanager.failover.hosts import Host

GATHER_BEATS = 0.25  # askings within this share of a beat are answered together


class HostLeases:
    def __init__(self, hosts: dict[str, Host], terms: Terms) -> None:
        self._hosts = hosts
        self.terms = terms
        self.heard: Terms | None = None  # the longest numbers that any leader told: hosts may still count by them
        self._due_at = float("inf")

    def asked(self, name: str, ask: Ask, now: float) -> Host:
        """Every manager notes it, so that a new leader knows who holds what."""
        host = self._hosts.setdefault(name, Host(name, since=now))
        if host.ask is not None and ask.boot_id == host.ask.boot_id and ask.n <= host.ask.n:
            return host  # overtaken by a later one
        host.ask, host.asked_at, host.answer, host.leased = ask, now, ask.n, True
        host.watchdog_s, host.storage = ask.watchdog_s, ask.storage
        self._due_at = min(self._due_at, now + GATHER_BEATS * self.terms.beat_s)
        return host

    def took_over(self, now: float) -> None:
        """safety: whoever led before may have granted up to this moment."""
        for host in self._hosts.values():
            host.over_at = now + lease_over_s(self.longest)
            if host.answer and now - host.asked_at < self.terms.lease_s:
                self._due_at = now

    def told(self, terms: Terms) -> None:
        """By another leader, or by us before a reload."""
        self.heard = terms if self.heard is None else longer(self.heard, terms)

    @property
    def longest(self) -> Terms:
        """By what proofs are counted."""
        return longer(self.terms, self.heard) if self.heard else self.terms

    def grant(
        self, now: float, may: Callable[[Host], bool], protected: Callable[[], Mapping[str, tuple[str, ...]]]
    ) -> Grant | None:
        """What is to be told to all hosts now, if it is time. `protected`: by host, the VMs that it is to keep as such."""
        if now < self._due_at:
            return None
        self._due_at = float("inf")
        granted: dict[str, int] = {}
        for name, host in sorted(self._hosts.items()):
            if not host.answer or now - host.asked_at >= self.terms.lease_s or not may(host):
                continue
            granted[name], host.answer = host.answer, 0
            host.lapsed, host.lasts_until = now >= host.lasts_until, host.asked_at + self.terms.lease_s
            host.over_at = now + lease_over_s(self.longest)  # safety: not before any clock says that it is over
        if not granted:
            return None
        names = protected()
        return Grant(self.terms, granted, {name: names.get(name, ()) for name in granted})

    def next_wake(self) -> float:
        return self._due_at


def longer(one: Terms, other: Terms) -> Terms:
    """Each number the longer one of both: hosts may count by either."""
    return Terms(*(max(getattr(one, each.name), getattr(other, each.name)) for each in fields(Terms)))
