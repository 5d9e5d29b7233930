"""All virtual machines of the farm in the manager: definitions, records, what is seen, and the state of each. Pure.

Every manager works out the states; the leader alone changes records, and tells each change to the others, who keep it (0030).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from common.config.failover import before
from common.config.model import ManagerConfig, VmConfig
from common.protocol import Value
from vmmanager.asking import Asking
from vmmanager.context import Context
from vmmanager.events import Persist
from vmmanager.requests import Request
from vmmanager.vms import keeper
from vmmanager.vms.dispatch import Dispatch
from vmmanager.vms.emptying import Emptying
from vmmanager.vms.hostbook import HostRecord, host_record_of
from vmmanager.vms.protection import Protection
from vmmanager.vms.questions import Questions
from vmmanager.vms.records import Record, record_of
from vmmanager.vms.relations import Relations
from vmmanager.vms.sightings import DOMAINS, HYPERVISOR, Sightings
from vmmanager.vms.states import State, Status, status
from vmmanager.vms.tasks import Task, Tasks
from vmmanager.vms.watching import Watchers

Tell = Callable[[str, dict[str, Value]], object]
Row = tuple[str, str, dict[str, Value]]
TABLES = ("vm", "host")
ALARMING: tuple[State, ...] = ("crashed", "failed", "lost", "twice", "halted")
LOOK_AGAIN_S = 1.0  # a VM that must not be started yet
RETRY_S = 10.0  # a VM that no host can take is tried again so often


@dataclass(slots=True)
class Shown:
    """The state of a VM as it was last said. `since`: wall clock."""

    status: Status
    since: float


class Machines:
    """`tell` sends a decision to all managers."""

    def __init__(self, context: Context, asking: Asking, tell: Tell) -> None:
        self.context = context
        self.asking = asking
        self._tell = tell
        self.definitions: dict[str, VmConfig] = {}
        self.relations = Relations({})
        self.records: dict[str, Record] = {}
        self.hosts: dict[str, HostRecord] = {}
        self.seen = Sightings()
        self.protection = self.seen.protection
        self.tasks = Tasks()
        self.shown: dict[str, Shown] = {}
        self.waits: dict[str, str] = {}  # VMs to be started that are not yet, and why
        self.leading = False
        self._due: dict[str, float] = {}  # wall clock: when a VM is to be looked at again
        self._dirty: set[str] = set()
        self.watchers = Watchers(context)
        self.dispatch = Dispatch(self)
        self.emptying = Emptying(self)
        self.questions = Questions(self)
        self.task_ended: Callable[[Task, str, bool], None] = lambda task, error, definite: None  # set by the owner
        self.made: dict[str, VmConfig] = {}  # VMs of slots, by the environments
        asking.task_ended = self.answered
        self.configure(context.config)

    # --- what stays -----------------------------------------------------------------------------------------------------

    def configure(self, config: ManagerConfig) -> None:
        """The definitions, at the start and after a reload."""
        self._define(config)

    def define(self, made: dict[str, VmConfig]) -> None:
        """The VMs of slots, made after templates."""
        if made != self.made:
            self.made = made
            self._define(self.context.config)

    def _define(self, config: ManagerConfig) -> None:
        old = self.definitions
        self.definitions = {vm.name: vm for vm in config.vms if not vm.template} | self.made
        self.relations = Relations(self.definitions)
        every = self.definitions.keys() | old.keys() | self.records.keys()
        self._dirty |= {name for name in every if name in self.records or self.definitions.get(name) != old.get(name)}

    def record(self, name: str) -> Record:
        return self.records.setdefault(name, Record(name))

    def restore(self, table: str, key: str, value: dict[str, Any]) -> None:
        """A row of the store, or of the leader."""
        if table == "vm":
            self.records[key] = record_of(key, value)
            self._dirty.add(key)
        else:
            self.hosts[key] = host_record_of(key, value)

    def rows(self) -> list[Row]:
        """What a newcomer is told."""
        records: list[Row] = [("vm", name, record.row()) for name, record in sorted(self.records.items())]
        return [*records, *(("host", name, host.row()) for name, host in sorted(self.hosts.items()))]

    def told(self, rows: Iterable[Row]) -> None:
        """The leader's rows take the place of ours."""
        theirs = [row for row in rows if row[0] in TABLES]
        known = {(table, key) for table, key, _ in theirs}
        for table, key, _ in self.rows():
            if (table, key) not in known:
                (self.records if table == "vm" else self.hosts).pop(key, None)
                self.context.out.append(Persist(table, key, None))  # type: ignore[arg-type]
        for table, key, value in theirs:
            self._keep_row(table, key, value)

    def changed(self, record: Record, token: str = "") -> None:
        """A record of the leader's is another now: to all managers, ourselves included, and to the disk."""
        self._dirty.add(record.name)
        self._tell("vm", {"name": record.name, "row": record.row(), "token": token})

    def host_changed(self, host: HostRecord, token: str = "") -> None:
        self._tell("vm-host", {"name": host.name, "row": host.row(), "token": token})

    def decided(self, verb: str, arguments: dict[str, Value], *, own: bool) -> None:
        """A change of the leader's, as every manager hears it; our own is in force already."""
        name, row = arguments.get("name"), arguments.get("row")
        if not isinstance(name, str) or not isinstance(row, dict):
            return
        table = "vm" if verb == "vm" else "host"
        if own:
            token = str(arguments.get("token") or "")
            self.context.out.append(Persist(table, name, row, token))  # type: ignore[arg-type]
        else:
            self._keep_row(table, name, row)

    def _keep_row(self, table: str, key: str, value: dict[str, Value]) -> None:
        self.restore(table, key, value)
        self.context.out.append(Persist(table, key, value))  # type: ignore[arg-type]

    # --- who leads ------------------------------------------------------------------------------------------------------

    def took_over(self) -> None:
        """What is under way is known before anything is wished: what an operator wants now must not hide it."""
        self.dispatch.resume()

    def promoted(self) -> None:
        """safety: lists from before we led may be older than an order that our predecessor ended: all must be told anew."""
        self.leading = True
        self.seen.led(self.context.now.wall)
        self._look(self.seen.hosts())
        self.emptying.resume()
        self._dirty |= self.definitions.keys() | self.records.keys()

    def deposed(self) -> None:
        self.leading, self.seen.led_at = False, 0.0
        self.tasks.clear()
        self.waits.clear()
        self.watchers.drop("this manager leads no longer; what was ordered goes on: see `vmctl vm list` at the new leader")

    # --- every step -----------------------------------------------------------------------------------------------------

    def look(self, *, all_hosts: bool = False) -> None:
        """Takes in what has changed; the leader acts on it."""
        farm = self.context.farm
        hosts = farm.hypervisors | self.seen.listings.keys() if all_hosts else self._hosts_changed()
        if hosts:
            self._look(hosts)
        if self.leading:
            self.dispatch.end_on_dead_hosts()
        names = self._dirty | self._overdue(all_hosts)
        self._dirty = set()
        if self.leading:
            for name in sorted(names):
                self._settle(name)
        for name in sorted(names):
            self.show(name)
        if self.leading:
            for name in sorted(names):
                self._keep(name)
            self.dispatch.run(tick=all_hosts)

    def next_wake(self) -> float:
        """Monotonic."""
        now = self.context.now
        return (
            min((at - now.wall + now.mono for at in self._due.values()), default=float("inf")) if self.leading else float("inf")
        )

    def clock_set(self, by_s: float) -> None:
        self.seen.clock_set(by_s)
        self._due = {name: at + by_s for name, at in self._due.items()}
        for shown in self.shown.values():
            shown.since += by_s

    def _hosts_changed(self) -> set[str]:
        farm = self.context.farm
        about = (DOMAINS, HYPERVISOR)
        hosts = {key[1] for key in farm.changed if key[0] == "client" or (key[0] == "property" and key[2] in about)}
        return {host for host in hosts if host in farm.hypervisors or host in self.seen.listings}

    def _look(self, hosts: Iterable[str]) -> None:
        config, now = self.context.config, self.context.now.wall
        changed, names = self.seen.look(self.context.farm, hosts, config.stale_factor, now)
        self._dirty |= names & (self.definitions.keys() | self.records.keys())
        if changed:
            self._dirty |= {name for name, record in self.records.items() if changed.intersection(record.places)}
            self._dirty |= self.waits.keys()

    def _overdue(self, ticked: bool) -> set[str]:
        now = self.context.now.wall
        return {name for name, at in self._due.items() if at <= now} | (set(self.waits) if ticked and not self._due else set())

    def _settle(self, name: str) -> None:
        record = self.records.get(name)
        if record is None:
            if not self.seen.where(name):
                return
            record = self.record(name)
        before = record.row()
        sentence = keeper.settle(record, self.definitions.get(name), self.seen, self.context.now.wall)
        if record.row() != before:
            self.changed(record)
        if sentence:
            self.say(name, f"vm {name}: {sentence}", "warning")

    def status(self, name: str) -> Status:
        record = self.records.get(name) or Record(name)
        return status(record, self.seen, self.context.now.wall, self.waits.get(name, ""))

    def show(self, name: str) -> None:
        """Says a change of state, once."""
        now = self.status(name)
        old = self.shown.get(name)
        if name not in self.definitions and not self.seen.where(name) and name not in self.records:
            self.shown.pop(name, None)
            return
        if old is not None and (old.status.state, old.status.host) == (now.state, now.host):
            old.status = now
            return
        self.shown[name] = Shown(now, self.context.now.wall)
        if old is not None or now.state in ALARMING:
            self._say_change(name, old.status if old else None, now)

    def _say_change(self, name: str, old: Status | None, new: Status) -> None:
        level = "warning" if new.state in ALARMING else "info"
        self.say(name, f"vm {name}: {old.state if old else 'unseen'} -> {new.state} ({new.why})", level)

    def say(self, name: str, text: str, level: Any = "info", who: str = "") -> None:
        """Into the log and the history."""
        self.context.note(text, level, "vms")
        self.context.record("vm", name, text, None, who)

    # --- keeping what is wanted -----------------------------------------------------------------------------------------

    def _keep(self, name: str) -> None:
        self._due.pop(name, None)
        vm, record = self.definitions.get(name), self.records.get(name) or Record(name)
        if vm is None or name in self.tasks.by_vm or name not in self.shown:
            return
        shown, now = self.shown[name], self.context.now.wall
        config = self.context.config
        verdict = keeper.judge(record, vm, shown.status, shown.since, config.orders, config.failover, now)
        if verdict.what == "nothing":
            self._wait(name, "")
        elif verdict.what == "give_up":
            self._give_up(name, verdict.why)
        elif verdict.at > now:
            self._due[name] = verdict.at
            if shown.status.state in ("stopped", "waiting"):
                self._wait(name, f"it is tried again {verdict.at - now:.0f} s from its last failure: {verdict.why}")
        elif why := self.protection.why_not_start(vm) or self._comes_before(vm) or self.dispatch.why_not_note():
            self._wait(name, why)
            self._due[name] = now + LOOK_AGAIN_S
        else:
            self.dispatch.start_automatically(vm, verdict)

    def _comes_before(self, vm: VmConfig) -> str:
        """Why it is not its turn: what start_after names is to run first."""
        for name in before(vm, self.definitions):
            other, record = self.definitions[name], self.records.get(name) or Record(name)
            if keeper.wanted(record, other) != "running" or record.held or record.failed or record.saved:
                continue
            shown = self.shown.get(name)
            if shown is None or shown.status.state != "running":
                return f"{name} is to run first (start_after)"
            if vm.start_delay_s and self.context.now.wall - shown.since < vm.start_delay_s:
                return f"{name} has not run for {vm.start_delay_s:g} s yet (start_delay)"
        return ""

    def protect(self, protection: Protection) -> None:
        """By the part that knows which hosts are dead."""
        self.protection = self.seen.protection = protection

    def look_at_waiting(self) -> None:
        """What was in the way may be so no more."""
        self._dirty |= self.waits.keys()

    def host_proved(self, host: str) -> None:
        """A host is proved to be dead, or is back: its VMs are looked at again."""
        self._dirty |= {name for name, record in self.records.items() if host in record.places or host == record.home}

    def cannot_start(self, name: str, why: str) -> None:
        """No host can take it now: it is tried again."""
        self._wait(name, why)
        self._due[name] = self.context.now.wall + RETRY_S

    def _wait(self, name: str, why: str) -> None:
        """Said only when the reason is another one."""
        old = self.waits.get(name, "")
        if why:
            self.waits[name] = why
        else:
            self.waits.pop(name, None)
        if why != old and name in self.shown:
            self.show(name)

    def _give_up(self, name: str, why: str) -> None:
        record = self.record(name)
        record.failed = why
        self._wait(name, "")
        self.changed(record)
        self.say(name, f"vm {name}: is not started any more: {why}; `vmctl vm start {name}` tries again", "error")
        self.show(name)

    def judge_again(self, name: str) -> None:
        """At the next step."""
        self._dirty.add(name)

    def look_again(self, hosts: Iterable[str]) -> None:
        """What these hosts list may be older than what was just done there."""
        self._look(hosts)

    # --- answers --------------------------------------------------------------------------------------------------------

    def answered(self, request: Request) -> None:
        """A request of ours has ended, or nobody answered."""
        if not self.questions.answered(request):
            self.dispatch.answered(request)

    def stored(self, token: str, error: str) -> None:
        self.dispatch.stored(token, error)
