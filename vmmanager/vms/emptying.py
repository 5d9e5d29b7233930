"""Carries an evacuation out: its plan becomes migrations, each noted when it is done; it can be stopped, and taken back. Pure.

Where the plan comes from is for evacuation.py. A new leader makes a new plan for what is still on the host.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common.config.model import VmConfig
from vmmanager.context import Refused
from vmmanager.vms.evacuation import Plan, Step, back, plan
from vmmanager.vms.hostbook import Evacuation, Going, HostRecord
from vmmanager.vms.placement import Room
from vmmanager.vms.tasks import Phase, Task

if TYPE_CHECKING:
    from vmmanager.vms.machines import Machines

MOVABLE = ("running", "starting")
MOVING: dict[Going, Going] = {"running": "done", "returning": "returned"}
"""What an evacuation under way becomes when its last step has ended."""


class Emptying:
    def __init__(self, machines: Machines) -> None:
        self._m = machines

    # --- plans ------------------------------------------------------------------------------------------------------------

    def plan(self, host: str, to: tuple[str, ...]) -> Plan:
        """For what is on the host now. What cannot be moved as it is stays, with the reason."""
        names, stays = [], {}
        listing = self._m.seen.listings[host]
        for domain in listing.domains:
            if domain.ours and domain.name in self._m.tasks.by_vm:
                stays[domain.name] = f"{self._m.tasks.by_vm[domain.name].op} is under way"
            elif domain.ours and domain.state not in MOVABLE:
                stays[domain.name] = f"it is {domain.state}, and only a running one can be moved"
            elif domain.ours:
                names.append(domain.name)
        made = plan(host, names, self._definitions(), self._rooms(), to)
        return Plan(made.steps, dict(sorted({**made.stays, **stays}.items())))

    def plan_back(self, record: HostRecord) -> Plan:
        moved = record.evacuation.moved if record.evacuation else []
        steps = [Step(vm, target, "it was moved", source) for vm, source, target in moved]
        return back(steps, self._definitions(), self._rooms(returning=record.name))

    def _rooms(self, returning: str = "") -> tuple[Room, ...]:
        """`returning`: its maintenance is about to end."""
        self._m.dispatch.rooms.refresh()
        rooms = self._m.dispatch.rooms.all()
        fit = "" if not returning else self._m.seen.why_unknown(returning, self._m.context.now.wall)
        return tuple(replace(room, why_not=fit) if room.host == returning else room for room in rooms)

    def _definitions(self) -> dict[str, VmConfig]:
        """With the memory that each has now, which may be more than the file gives it."""
        made = dict(self._m.definitions)
        for name, vm in self._m.definitions.items():
            found = self._m.seen.where(name)
            now = max((domain.memory_bytes for _, domain in found), default=0)
            if now > vm.memory_bytes:
                made[name] = replace(vm, memory_bytes=now)
        return made

    # --- the operator's word ----------------------------------------------------------------------------------------------

    def begin(self, host: str, made: Plan, to: tuple[str, ...], who: str, going: Going = "running") -> HostRecord:
        """The steps become tasks, in their order."""
        record = self._m.hosts.setdefault(host, HostRecord(host))
        old = record.evacuation
        record.evacuation = Evacuation(going, who, to, len(made.steps), stays=dict(made.stays))
        if old is not None and going == "running":
            record.evacuation.moved = list(old.moved) if old.state in ("running", "stopped", "done") else []
            record.evacuation.total += len(record.evacuation.moved)
        for step in made.steps:
            if step.vm not in self._m.tasks.by_vm:
                self._m.dispatch.wish("migrate", step.vm, who, only=step.target, evacuates=host)
        self._over(record)
        self._m.host_changed(record)
        return record

    def stop(self, host: str, who: str) -> dict[str, Any]:
        """What runs ends, the rest stays where it is. Raises Refused."""
        record = self._m.hosts.get(host)
        if record is None or record.evacuation is None or record.evacuation.state not in MOVING:
            raise Refused("no-such", f"{host} is not being evacuated")
        mine = [task for task in self._m.tasks.by_vm.values() if task.evacuates == host]
        left = sorted(task.vm for task in mine if task.phase is Phase.QUEUED)
        record.evacuation.state = "stopped"
        for name in left:
            self._m.dispatch.cancel(self._m.tasks.by_vm[name], f"the evacuation was stopped by {who}")
        self._m.host_changed(record)
        self._m.say(host, f"host {host}: its evacuation was stopped by {who}; {len(left)} VMs were not moved", who=who)
        return {"running": sorted(task.vm for task in mine if task.active), "left": left}

    def resume(self) -> None:
        """A new leader: steps that were only queued are planned anew."""
        for host, record in sorted(self._m.hosts.items()):
            evacuation = record.evacuation
            if evacuation is None or evacuation.state not in MOVING:
                continue
            if evacuation.state == "running" and host in self._m.seen.listings:
                self.begin(host, self.plan(host, evacuation.to), evacuation.to, evacuation.by)
            else:
                evacuation.state = "stopped"
                self._m.host_changed(record)

    # --- steps that end ---------------------------------------------------------------------------------------------------

    def goes_on_before(self, task: Task) -> bool:
        """Is a step of the same evacuation under way?"""
        return any(other.evacuates == task.evacuates for other in self._m.tasks.active() if other is not task)

    def ended(self, task: Task, error: str) -> None:
        record = self._m.hosts.get(task.evacuates) if task.evacuates else None
        evacuation = record.evacuation if record else None
        if record is None or evacuation is None:
            return
        if error:
            evacuation.failed[task.vm] = error
        elif evacuation.state == "returning":
            evacuation.moved = [step for step in evacuation.moved if step[0] != task.vm]
        else:
            evacuation.moved.append((task.vm, task.host, task.target))
        self._over(record)
        self._m.host_changed(record)

    def _over(self, record: HostRecord) -> None:
        evacuation = record.evacuation
        if evacuation is None or evacuation.state not in MOVING:
            return
        if any(task.evacuates == record.name for task in self._m.tasks.by_vm.values()):
            return
        evacuation.state = MOVING[evacuation.state]
        moved, left = len(evacuation.moved), len(evacuation.failed) + len(evacuation.stays)
        how = f"{moved} VMs moved, {left} stay" if evacuation.state == "done" else f"the VMs are back, {left} are not"
        self._m.say(record.name, f"host {record.name}: its evacuation is {evacuation.state}: {how}", who=evacuation.by)
