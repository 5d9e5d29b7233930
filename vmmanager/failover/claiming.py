"""The leader's hand on the storage: looks at beats and claims, writes claims, takes them back. Events in, effects out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.leases import lease_over_s
from vmmanager.events import ClaimWritten, LookAtStorage, StorageSeen, WriteClaim
from vmmanager.failover.claims import Claims
from vmmanager.failover.hosts import UP, Host
from vmmanager.failover.proof import NEVER

if TYPE_CHECKING:
    from vmmanager.failover.watch import Watch

CLAIMS_PER_REIGN = 1_000_000  # a claim's number is its epoch's times this, and rises


class Claiming:
    def __init__(self, watch: Watch) -> None:
        self._w = watch
        self.seen = Claims(watch.context.config.failover.terms)
        self._writing: dict[str, int] = {}  # claims on their way to the storage
        self._unwritten: dict[str, str] = {}  # host -> why its claim could not be written; said once
        self._look_at = NEVER
        self._looking = False

    def took_over(self) -> None:
        self._look_at = self._w.now

    def lives(self, host: Host) -> bool:
        """Its beat moves: it runs on by its storage."""
        now = self._w.now
        return host.storage and self.seen.readable(now) and not self.seen.is_silent(host.name, now)

    def why_not(self, host: Host) -> str:
        """Why no claim is laid on it; empty where one may be."""
        now = self._w.now
        return "" if self.seen.is_silent(host.name, now) else self.seen.why(host.name, now)

    # --- looks ----------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        folder = self._w.context.config.failover.storage
        if folder is None or self._looking or self._w.now < self._look_at:
            return
        self._looking, self._look_at = True, self._w.now + self._w.leases.terms.beat_s
        self._w.context.out.append(LookAtStorage(folder))

    def next_wake(self) -> float:
        return self._look_at if not self._looking and self._w.context.config.failover.storage else NEVER

    def looked(self, event: StorageSeen) -> None:
        w = self._w
        self._looking = False
        old = self.seen.error
        self.seen.looked(event.began, w.now, event.beats, event.claims, event.error)
        if self.seen.error != old:
            text = f"not readable: {event.error}" if event.error else "readable"
            w.say("failover", f"storage of fail-over: {text}", "warning" if event.error else "info")
        if event.error or not w.acting:
            return
        for name in sorted(event.beats.keys() - w.hosts.keys()):  # it lives by its storage, and we know nothing of it
            host = w.hosts[name] = Host(name, since=w.now, leased=True, storage=True)
            host.over_at = w.since + lease_over_s(w.terms)
            w.unheard.add(name)
        for name, host in sorted(w.hosts.items()):
            host.beat_at = self.seen.beat_at(name)
            self._look_at_claim(host, event.claims.get(name), event.began)

    def _look_at_claim(self, host: Host, lying: int | None, began: float) -> None:
        if host.name in self._writing:
            return
        if host.state == "claimed" and host.claim_at == NEVER:  # it could not be written
            self._write(host, host.claim)
        elif host.state == "claimed" and lying == host.claim:
            host.claim_seen_at = began
        elif host.state == "claimed":
            self._w.move(host, "lost", "the claim does not lie there any more")
            host.claim, host.claim_at = 0, NEVER
        elif not host.claim and lying != 0 and (lying is None or host.state in UP):
            self._write(host, 0)  # where none lies the host does not see the storage that we see, and says that it has none

    # --- claims ---------------------------------------------------------------------------------------------------------

    def claim(self, host: Host) -> None:
        lying, least = self.seen.lying.get(host.name, 0), self._w.reign.authority.epoch * CLAIMS_PER_REIGN
        host.claim = max(least, host.claim_last, lying) + 1
        host.claim_last, host.claim_at = host.claim, NEVER
        self._w.move(host, "claimed", f"its storage is silent as well; claim {host.claim}")
        self._w.host_changed(host)
        self._write(host, host.claim)

    def withdraw(self, host: Host) -> None:
        if host.claim:
            host.claim, host.claim_at, host.claim_seen_at = 0, NEVER, -NEVER
            self._write(host, 0)

    def _write(self, host: Host, number: int) -> None:
        w, folder = self._w, self._w.context.config.failover.storage
        if folder is not None:
            self._writing[host.name] = number
            w.context.out.append(WriteClaim(folder, host.name, number, w.reign.authority.epoch, w.context.name))

    def written(self, event: ClaimWritten) -> None:
        w, host = self._w, self._w.hosts.get(event.host)
        if self._writing.get(event.host) == event.number:
            del self._writing[event.host]
        if host is None or not w.acting:
            return
        was, self._unwritten[host.name] = self._unwritten.get(host.name, ""), event.error
        if event.error and event.error != was:
            w.say(host.name, f"host {host.name}: cannot write the claim: {event.error}", "warning")
        elif not event.error and event.number and event.number == host.claim:
            host.claim_at = w.now  # safety: from when it surely lay there
            host.claim_seen_at = -NEVER
