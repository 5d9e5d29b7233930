"""What the state of the hosts means for each VM: where it cannot run any more, where it must not be started, and why. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.config.model import VmConfig
from common.leases import restart_after_grant_s
from vmmanager.failover.hosts import PROVED, SUSPECT, Host
from vmmanager.failover.proof import covers
from vmmanager.failover.watch import Watch
from vmmanager.vms.dispatch import NOBODY
from vmmanager.vms.protection import Protection
from vmmanager.vms.records import Record

if TYPE_CHECKING:
    from vmmanager.vms.machines import Machines


class Guarding(Protection):
    def __init__(self, watch: Watch, machines: Machines) -> None:
        self._w = watch
        self._m = machines
        watch.may_have, watch.names, watch.proved, watch.wanted = self.may_have, self.names, self._proved, self._wanted
        watch.maintenance = self._maintenance
        watch.renewed = machines.look_at_waiting
        machines.protect(self)

    # --- asked by the part that orders VMs --------------------------------------------------------------------------------

    def gone(self, host: str, vm: str) -> bool:
        """A fresh list says more than a proof: what it lists is there."""
        known, listing = self._w.hosts.get(host), self._m.seen.listings.get(host)
        if known is None or known.state not in PROVED or (listing is not None and listing.fresh):
            return False
        if covers(known.proof) == "all":
            return True
        return self._noted(known, vm)

    def _noted(self, host: Host, vm: str) -> bool:
        """safety: the end of a lease stops only what the host knows to be protected: by its own word since the VM last moved,
        or because the order to start it was one that a host notes first."""
        record, now = self._m.records.get(vm), self._w.context.now
        if record is not None and record.noted_on == host.name:
            return True
        asked_at = now.wall - (now.mono - host.asked_at)
        return vm in host.book and (record is None or asked_at > record.moved_at)

    def proof(self, host: str) -> str:
        known = self._w.hosts.get(host)
        return known.proved_by if known is not None and known.state in PROVED else ""

    def why_unknown(self, vm: VmConfig) -> str:
        if not vm.protect:
            return ""
        self._forget_heard()
        if self._w.unheard:  # safety: the leader before may have started it there, and could not tell
            host = min(self._w.unheard)
            return f"it may be on {host}, which this leader has not heard"
        if why := self._not_yet(vm):
            return why
        return self._w.reign.why_not_alone()

    def why_not_start(self, vm: VmConfig) -> str:
        if why := self.why_unknown(vm):
            return why
        record = self._m.records.get(vm.name)
        if vm.protect and record is not None and record.rescued and self._w.restraint.disarmed:
            return f"fail-over is disarmed by {self._w.restraint.disarmed_by}"
        return ""

    def _not_yet(self, vm: VmConfig) -> str:
        """safety: of a VM of which nothing is known here, an unknown host may hold a lease that another leader granted."""
        if self._w.sequence.doubt:  # safety: of no VM is enough known
            return "this manager was away, and it may be on a host that it does not know"
        record = self._m.records.get(vm.name)
        if record is not None and (record.wanted_at or record.boot_id or record.restarts or record.places):
            return ""
        left_s = self._w.since + restart_after_grant_s(self._w.terms, 0.0) - self._w.now
        return f"nothing is known of it yet, and it may hold a lease for {left_s:.0f} s more" if left_s > 0 else ""

    def why_not_on(self, host: str, vm: VmConfig) -> str:
        if not vm.protect:
            return ""
        known = self._w.hosts.get(host)
        if known is None or not known.leased:
            return "it asks for no lease, and the VM is protected"
        if known.state != "online" or self._w.now >= known.over_at:
            return f"it holds no lease ({known.state})"
        if self._w.now >= known.lasts_until - self._w.leases.terms.beat_s:
            return "its lease is to be granted anew first"  # it would refuse
        return ""

    def may_order(self) -> bool:
        return self._w.acting and self._w.reign.authority.held(self._w.now)

    def holds_book(self, host: str, vm: str) -> bool:
        known = self._w.hosts.get(host)
        return known is not None and vm in known.book

    # --- asked by the watch -------------------------------------------------------------------------------------------------

    def may_have(self, host: str) -> bool:
        """May a protected VM run there?"""
        self._forget_heard()
        known = self._w.hosts.get(host)
        if host in self._w.unheard or (known is not None and known.book):
            return True
        return any(host in record.places and self._counts(name) for name, record in self._m.records.items())

    def names(self) -> dict[str, tuple[str, ...]]:
        """By host, the VMs that it is to keep as protected ones."""
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted(name for name, vm in self._m.definitions.items() if vm.protect):
            for host in self._places(name):
                found[host] = (*found.get(host, ()), name)
        return found

    def _places(self, name: str) -> set[str]:
        record = self._m.records.get(name)
        return {*(record.places if record else ()), *(host for host, _ in self._m.seen.where(name))}

    def _counts(self, name: str) -> bool:
        vm = self._m.definitions.get(name)
        return (vm is not None and vm.protect) or self._m.records[name].protected

    def _wanted(self) -> bool:
        return any(vm.protect for vm in self._m.definitions.values())

    def _maintenance(self, host: str) -> str:
        record = self._m.hosts.get(host)
        return (record.why or "no reason given") if record is not None and record.in_maintenance else ""

    def _proved(self, host: str) -> None:
        self._m.host_proved(host)

    def _forget_heard(self) -> None:
        """Hosts that told their domains since this manager leads."""
        if self._m.leading:
            self._w.unheard -= {host for host in self._w.unheard if self._m.seen.fresh(host)}

    def fail_over(self, name: str) -> str:
        """A trigger wants the VM to run elsewhere, its host being gone. Why nothing more is done for it than is done anyway;
        empty: a fence device is at work, it is started now, or it runs. safety: a wish is no proof."""
        vm, record = self._m.definitions.get(name), self._m.records.get(name) or Record(name)
        if vm is None:
            return f"no VM is called {name}"
        status = self._m.status(name)
        if status.state in ("running", "starting", "waiting"):
            return ""
        if status.state == "stopped":
            if name not in self._m.tasks.by_vm:
                self._m.dispatch.wish("start", name, NOBODY)
            return ""
        for place in record.places:
            host = self._w.hosts.get(place)
            if host is None or host.state not in SUSPECT:
                return f"{name} is {status.state}: {status.why}"
            if why := self._w.why_not(host):
                return f"{place}: {why}"
            if host.state != "fencing" and not self._w.fences.begin(host, "a trigger"):
                return f"{place} is {host.state}, and no fence device is for it: {host.told or 'it is waited for proof'}"
        return ""

    def tick(self) -> None:
        """Hosts without leases come back by their lists alone; VMs go back where the file says so."""
        self._listed()
        settings = self._w.context.config.failover
        if settings.failback == "auto" and self._m.leading:
            homes = sorted({record.home for record in self._m.records.values() if record.home})
            for home in [home for home in homes if self._back_for_s(home) >= settings.failback_hold_s]:
                self.fail_back(NOBODY, home)

    def _back_for_s(self, host: str) -> float:
        known = self._w.hosts.get(host)
        return self._w.now - known.since if known is not None and known.state == "online" else -1.0

    def fail_back(self, by: str, home: str = "") -> tuple[list[str], dict[str, str]]:
        """VMs that were restarted elsewhere: those that move back now, and why others do not. `home`: only to this host."""
        moving: list[str] = []
        left: dict[str, str] = {}
        for name, record in sorted(self._m.records.items()):
            if not record.home or (home and record.home != home):
                continue
            if why := self._why_not_back(name, record):
                left[name] = why
                continue
            self._m.dispatch.wish("migrate", name, by, only=record.home)
            record.home = ""  # one try: what the operator finds somewhere else afterwards he may move by hand
            self._m.changed(record)
            moving.append(name)
        return moving, left

    def _why_not_back(self, name: str, record: Record) -> str:
        if name in self._m.tasks.by_vm:
            return "something else is being done with it"
        if (state := self._m.status(name).state) != "running":
            return f"it is {state}"
        why = self._m.seen.why_unknown(record.home, self._w.context.now.wall)
        return f"{record.home} {why}" if why else ""

    def _listed(self) -> None:
        for name, host in sorted(self._w.hosts.items()):
            if host.state == "dead" and not host.leased and self._m.seen.fresh(name):
                self._w.heard_without_lease(host)
