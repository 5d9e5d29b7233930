"""Leases of hosts, the leader's side: what a host asked, what it was granted, from when its lease is over by any clock. Pure.

The host counts from when it asked, the leader from when it grants; several hosts are answered together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from common.leases import Terms, lease_over_s
from common.leasewords import Ask, Grant
from vmmanager.failover.hosts import Host

GATHER_BEATS = 0.25  # askings within this share of a beat are answered together


class HostLeases:
    def __init__(self, hosts: dict[str, Host], terms: Terms) -> None:
        self._hosts = hosts
        self.terms = terms
        self.before: Terms | None = None  # the numbers of the reign before, where hosts may still count by them
        self._due_at = float("inf")

    def asked(self, name: str, ask: Ask, now: float) -> Host:
        """Every manager notes it, so that a new leader knows who holds what."""
        host = self._hosts.setdefault(name, Host(name, since=now))
        if host.ask is not None and ask.boot_id == host.ask.boot_id and ask.n <= host.answer:
            return host  # overtaken by a later one
        host.ask, host.asked_at, host.answer, host.leased = ask, now, ask.n, True
        host.watchdog_s, host.storage = ask.watchdog_s, ask.storage
        self._due_at = min(self._due_at, now + GATHER_BEATS * self.terms.beat_s)
        return host

    def took_over(self, now: float) -> None:
        """safety: whoever led before may have granted up to this moment."""
        longest = max([lease_over_s(self.terms), *([lease_over_s(self.before)] if self.before else [])])
        for host in self._hosts.values():
            host.granted_at, host.over_at = now, now + longest
            if host.answer and now - host.asked_at < self.terms.lease_s:
                self._due_at = now

    def grant(self, now: float, may: Callable[[Host], bool], protected: Callable[[Host], tuple[str, ...]]) -> Grant | None:
        """What is to be told to all hosts now, if it is time."""
        if now < self._due_at:
            return None
        self._due_at = float("inf")
        granted: dict[str, int] = {}
        names: dict[str, tuple[str, ...]] = {}
        for name, host in sorted(self._hosts.items()):
            if not host.answer or now - host.asked_at >= self.terms.lease_s or not may(host):
                continue
            granted[name], host.answer = host.answer, 0
            host.granted_at = now
            host.over_at = now + lease_over_s(self.terms)  # safety: not before any clock says that it is over
            names[name] = protected(host)
        return Grant(self.terms, granted, names) if granted else None

    def next_wake(self) -> float:
        return self._due_at


def newest(hosts: Mapping[str, Host]) -> float:
    """When any host asked last."""
    return max((host.asked_at for host in hosts.values()), default=float("-inf"))
