"""What becomes of each host: heard, silent, lost, claimed, fenced, proved dead, back. Events in, effects out. Pure.

Every manager notes who asks for leases; only one that has authority grants, claims, fences, and declares anybody dead. What a
proof means for virtual machines is protection.py's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from operator import gt
from typing import Any, Literal

from common.leases import Terms, lease_over_s, restart_after_grant_s
from common.leasewords import LEASE, Ask, Grant, terms_of
from common.protocol import GROUP_CLIENTS, Control, Value
from vmmanager.context import Context
from vmmanager.events import FenceEnded, Persist
from vmmanager.failover.claiming import Claiming
from vmmanager.failover.fences import Fences
from vmmanager.failover.hostleases import HostLeases
from vmmanager.failover.hosts import PROVED, SUSPECT, Host, Proof, State, host_of
from vmmanager.failover.proof import NEVER, by_time
from vmmanager.failover.reign import Reign
from vmmanager.failover.restraint import LATE_BEATS, Restraint
from vmmanager.failover.sequence import Number, Sequence

SILENT_BEATS = 3
TABLE = "lease"
FARM_ROW: tuple[Literal["fact"], str] = ("fact", "failover")
TOKEN = "lease:"
JUDGE_S, JUDGE_BEATS = 0.5, 0.25  # all hosts are looked at so often, whichever is sooner
INVITE_S = 60.0  # a host with a hypervisor that asks for no lease is told the terms so often

Row = tuple[str, str, dict[str, Value]]


class Watch:
    """`tell` sends a decision to all managers. `may_have`, `names`: see protection.py, which sets them."""

    def __init__(self, context: Context, reign: Reign, tell: Callable[[str, dict[str, Value]], object]) -> None:
        self.context = context
        self.reign = reign
        self._tell = tell
        self.hosts: dict[str, Host] = {}
        self.leases = HostLeases(self.hosts, context.config.failover.terms)
        self.restraint = Restraint()
        self.fences = Fences(self)
        self.claiming = Claiming(self)
        self.since = NEVER  # monotonic: since when this manager acts
        self.started = context.now.mono
        self.unheard: set[str] = set()  # hosts that may have what the leader before ordered, and could not tell
        self.sequence = Sequence()
        self._judge_at = -NEVER
        self._invited: dict[str, float] = {}
        self.may_have: Callable[[str], bool] = lambda host: True
        self.names: Callable[[], Mapping[str, tuple[str, ...]]] = dict
        self.proved: Callable[[str], None] = lambda host: None  # said when a proof comes or goes
        self.maintenance: Callable[[str], str] = lambda host: ""
        self.renewed: Callable[[], None] = lambda: None  # said when a host that held no lease is granted one
        self.wanted: Callable[[], bool] = lambda: False  # is any VM protected?

    @property
    def acting(self) -> bool:
        return self.since != NEVER

    @property
    def now(self) -> float:
        return self.context.now.mono

    @property
    def terms(self) -> Terms:
        """By what proofs are counted."""
        return self.leases.longest

    # --- what stays -----------------------------------------------------------------------------------------------------

    def restore(self, table: str, key: str, value: dict[str, Any]) -> None:
        """A row of the store, or of the leader."""
        if table == TABLE:
            told, known = host_of(key, value), self.hosts.get(key)
            if known is not None:
                told.ask, told.asked_at, told.answer = known.ask, known.asked_at, known.answer
            self.hosts[key] = told
            self.proved(key)
            return
        self.restraint.restore(value)
        terms = terms_of(value.get("terms"))
        self.sequence.restore(value)
        if terms is not None and terms != self.leases.terms:
            self.leases.told(terms)

    def rows(self) -> list[Row]:
        """What a newcomer is told."""
        hosts: list[Row] = [(TABLE, name, host.row()) for name, host in sorted(self.hosts.items())]
        return [*hosts, (*FARM_ROW, self._farm_row(self.sequence.at))]

    def _farm_row(self, at: Number) -> dict[str, Value]:
        return {**self.restraint.row(), **self.sequence.row(at), "terms": asdict(self.leases.terms)}

    def told(self, rows: list[Row]) -> None:
        """The leader's rows take the place of ours."""
        theirs = [row for row in rows if row[0] == TABLE or row[:2] == FARM_ROW]
        for name in sorted(self.hosts.keys() - {key for table, key, _ in theirs if table == TABLE}):
            self._keep(TABLE, name, {**self.hosts[name].row(), "state": "unknown"})  # a proof that nobody else knows is none
        for table, key, value in theirs:
            self._keep(table, key, value)

    def decided(self, verb: str, arguments: dict[str, Value], *, own: bool) -> None:
        """A change of the leader's, as every manager hears it; our own is in force already."""
        name, row, token = arguments.get("name"), arguments.get("row"), str(arguments.get("token") or "")
        if not isinstance(name, str) or not isinstance(row, dict):
            return
        table, key = (TABLE, name) if verb == "lease-host" else FARM_ROW
        at = self.sequence.after(arguments, own=own)
        if own:
            self.context.out.append(Persist(table, key, row, token))  # type: ignore[arg-type]
        else:
            self._keep(table, key, row)
            self.sequence.at = at
        if table == TABLE or not own:
            self.context.out.append(Persist(*FARM_ROW, self._farm_row(at)))

    def _keep(self, table: str, key: str, row: dict[str, Value]) -> None:
        self.restore(table, key, row)
        self.context.out.append(Persist(table, key, row))  # type: ignore[arg-type]

    def host_changed(self, host: Host) -> str:
        token = f"{TOKEN}{self.context.next_id()}"
        self._decide("lease-host", {"name": host.name, "row": host.row(), "token": token})
        return token

    def farm_changed(self, token: str = "") -> None:
        self._decide("lease-farm", {"name": "failover", "token": token})

    def _decide(self, verb: str, arguments: dict[str, Value]) -> None:
        place = self.sequence.next(self.reign.authority)
        row = {"row": self._farm_row(self.sequence.at)} if verb == "lease-farm" else {}
        self._tell(verb, {**arguments, **row, **place})

    def stored(self, token: str, error: str) -> None:
        """safety: a host that was dead gets a lease only when the disk and the other managers know that it is back."""
        for host in self.hosts.values():
            if host.noting and host.noting == token:
                host.noting, host.noted_at = "", self.now
                if error:
                    host.noting = self.host_changed(host)

    # --- who leads ------------------------------------------------------------------------------------------------------

    def took_over(self) -> None:
        """This manager acts from now on. safety: whoever led before may have granted until now, and more than we know."""
        now, knows_all = self.now, self.sequence.took_over(self.reign.authority)
        self.since = now
        self.unheard.clear()
        for host in self.hosts.values():
            if host.state in PROVED and knows_all:
                continue
            host.doubted = host.leased and (host.doubted or not knows_all)  # safety: it may have got what we do not know of
            if host.leased:
                self.unheard.add(host.name)
            if host.state != "unknown":
                self._move(host, "unknown", "this manager leads now")
            host.claim, host.claim_at, host.claim_seen_at = 0, NEVER, -NEVER
        self.leases.took_over(now)
        for host in self.hosts.values():
            if host.noting:  # what was on its way got lost with the bus
                host.noting = self.host_changed(host)
            if now - host.asked_at < self.leases.terms.lease_s:
                self._heard(host)
        self.claiming.took_over()
        self._invited.clear()
        self.farm_changed()

    def deposed(self) -> None:
        self.since = NEVER
        self.fences.drop()
        self.unheard.clear()

    def configure(self) -> None:
        """After a reload."""
        terms = self.context.config.failover.terms
        if terms != self.leases.terms:
            self.leases.told(self.leases.terms)
            self.leases.terms = self.claiming.seen.terms = terms
            if self.acting:
                self.farm_changed()

    # --- events ---------------------------------------------------------------------------------------------------------

    def asked(self, name: str, values: dict[str, Value]) -> None:
        """A host asks for its lease."""
        ask = Ask.of(values)
        if ask is None:
            return
        known = self.hosts.get(name)
        before = (known.guard_s, known.storage, known.leased, known.doubted) if known else (0.0, False, False, False)
        host = self.leases.asked(name, ask, self.now)
        if self.acting:
            if host.over_at == NEVER:  # nobody knew it here
                host.over_at = self.since + lease_over_s(self.terms)  # safety: the leader before may have granted it a lease
            host.doubted = host.doubted and host.ask is not ask
            self._heard(host)
            now = (host.guard_s, host.storage, host.leased)
            if (*now, host.doubted) != before:
                token = self.host_changed(host)
                if any(map(gt, now, before)):  # safety: it may run where, or longer than, the next leader must know
                    host.noting = token

    def _heard(self, host: Host) -> None:
        """It asks, so it lives; what it may have left from before, it says."""
        if host.state == "dead":
            self._move(host, "returned", "it asks again")
        elif host.state == "claimed" and host.ask is not None and host.ask.stopped == host.claim:
            self._dead(host, "said", "it saw our claim and has stopped all that was protected, by its own word")
            self._move(host, "returned", "it asks again")
        elif host.state in ("unknown", "silent", "lost", "claimed"):
            self._move(host, "online", "it asks")
            self.claiming.withdraw(host)
        if host.state == "returned" and not host.book:  # safety: nothing is left there of what may run elsewhere now
            self._back(host, "it has nothing left from before")

    def heard_without_lease(self, host: Host) -> None:
        """One that asks for no leases is on the bus and lists its domains."""
        if host.state == "dead":
            self._move(host, "returned", "it is on the bus again")
            self._back(host, "it lists its domains")

    def _back(self, host: Host, why: str) -> None:
        self._move(host, "online", why)
        host.proof, host.proved_by = "", ""
        self.claiming.withdraw(host)
        host.noting = self.host_changed(host)
        self.restraint.confirmed -= {host.name}
        self.proved(host.name)

    def fence_ended(self, event: FenceEnded) -> None:
        self.fences.ended(event)

    # --- every step -----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """What follows from the time that has passed."""
        if not self.acting:
            return
        if self.now >= self._judge_at:
            self._judge_at = self.now + min(JUDGE_S, JUDGE_BEATS * self.leases.terms.beat_s)
            self._watch_storm()
            for _, host in sorted(self.hosts.items()):
                self._judge(host)
            self._invite()
        self.claiming.look()
        self._settle()
        if grant := self.leases.grant(self.now, self._may_be_granted, self.names):
            self._send(grant)
            if any(self.hosts[name].lapsed for name in grant.hosts):
                self.renewed()

    def _settle(self) -> None:
        """A host that is not known here runs nothing protected any more, or is known by its beat on the storage."""
        if not self.sequence.doubt:
            return
        is_over = self.now >= self.since + restart_after_grant_s(self.terms, 0.0)
        if is_over and (not self.context.config.failover.storage or self.claiming.seen.readable(self.now)):
            self.sequence.doubt = False
            self.farm_changed()

    def _may_be_granted(self, host: Host) -> bool:
        """safety: only to whom nothing stands against."""
        if host.state != "online" or host.noting:
            return False
        return host.noted_at == -NEVER or self.reign.authority.since(host.noted_at)

    def _send(self, grant: Grant) -> None:
        self.context.send(Control(verb=LEASE, arguments=grant.values()), (GROUP_CLIENTS,), (GROUP_CLIENTS,))

    def _invite(self) -> None:
        """Hosts that have heard no terms of ours ask for nothing."""
        farm, now = self.context.farm, self.now
        if not self.wanted():
            return
        mute = [name for name in farm.hypervisors if farm.clients[name].address and not self._asks(name)]
        if any(now - self._invited.get(name, -NEVER) >= INVITE_S for name in mute):
            self._invited = dict.fromkeys(mute, now)
            self._send(Grant(self.leases.terms))

    def _asks(self, name: str) -> bool:
        host = self.hosts.get(name)
        return host is not None and self.now - host.asked_at < self.leases.terms.lease_s

    def _watch_storm(self) -> None:
        late = {
            name
            for name, host in self.hosts.items()
            if host.leased and host.state not in PROVED and self._silent_s(host) > LATE_BEATS * self.leases.terms.beat_s
        }
        among = [name for name, host in self.hosts.items() if host.leased and host.state not in PROVED]
        if self.restraint.watch(late, sorted(among), self.context.config.failover.storm_share):
            storm = self.restraint.storm
            text = (
                f"{len(storm)} of {len(among)} hosts are silent at once: nothing is done about any of them"
                if storm
                else "the storm of silent hosts is over"
            )
            self.say("failover", text, "error" if storm else "info")

    def _silent_s(self, host: Host) -> float:
        """It may have asked before we acted, and not been heard: the bus was down, or the leader dead."""
        return self.now - max(host.asked_at, self.since)

    def _judge(self, host: Host) -> None:
        terms, silent_s = self.leases.terms, self._silent_s(host)
        if host.state == "online" and host.leased and silent_s >= SILENT_BEATS * terms.beat_s:
            self._move(host, "silent", f"it has not asked for {silent_s:.1f} s")
        if host.state in ("silent", "unknown") and host.leased and self.now >= host.over_at:
            self._move(host, "lost", "its lease has run out")
        if host.state == "returned" and host.leased and silent_s >= SILENT_BEATS * terms.beat_s:
            self._move(host, "dead", f"silent again; {host.proved_by}")
        if host.state in SUSPECT:
            self._suspect(host)

    def why_not(self, host: Host) -> str:
        """Why nothing is done about it; empty where something may be."""
        if why := self.reign.why_not_alone():
            return why
        return self.restraint.why_not(
            now=self.now,
            grace_until=self.started + self.context.config.failover.grace_s,
            maintenance=self.maintenance(host.name),
        )

    def _suspect(self, host: Host) -> None:
        failover = self.context.config.failover
        if why := self.why_not(host):
            self._tell_why(host, why)
            return
        may_have = self.may_have(host.name)
        if host.state != "fencing" and may_have and not self.claiming.lives(host) and self.fences.begin(host, "vmherd"):
            return
        if host.state == "lost" and host.storage:
            if why := self.claiming.why_not(host):
                self._tell_why(host, why)
                return
            self.claiming.claim(host)
        proof = by_time(host, self.terms, may_have=may_have, trust=failover.without_watchdog == "trust")
        if host.state in ("lost", "claimed", "fencing") and self.now >= proof.at:
            self._dead(host, "time", proof.why)
        elif proof.at == NEVER:
            self._tell_why(host, proof.why)

    def _tell_why(self, host: Host, why: str) -> None:
        if host.told.partition("(")[0] != why.partition("(")[0]:
            self.say(host.name, f"host {host.name}: {host.state}, and nothing is done: {why}", "warning")
        host.told = why

    def _dead(self, host: Host, proof: Proof, why: str) -> None:
        """safety: only here, and only by proof."""
        host.proof, host.proved_by, host.epoch = proof, why, self.reign.authority.epoch
        if host.state != "dead":
            self._move(host, "dead", why)
        self.unheard.discard(host.name)
        self.host_changed(host)
        self.proved(host.name)

    def dead_by(self, host: Host, proof: Proof, why: str) -> None:
        """A fence device, or an operator's word."""
        self._dead(host, proof, why)

    def move(self, host: Host, new: State, why: str) -> None:
        self._move(host, new, why)

    def _move(self, host: Host, new: State, why: str) -> None:
        sentence = host.become(new, why, self.now)
        self.say(host.name, sentence, "info" if new in ("online", "unknown", "returned") else "warning")

    def say(self, subject: str, text: str, level: Any = "info", who: str = "") -> None:
        """Into the log and the history."""
        self.context.note(text, level, "failover")
        self.context.record("failover", subject, text, None, who)

    def next_wake(self) -> float:
        if not self.acting:
            return NEVER
        return min(self.leases.next_wake(), self.claiming.next_wake(), self._judge_at if self.hosts else NEVER)
