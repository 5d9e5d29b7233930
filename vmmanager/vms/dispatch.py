"""Tasks to orders: whose turn it is, on which host, whether it is safe; and what an answer makes of the record. Pure.

safety: an order goes out only after the record that says where the VM may be is on disk and with the standbys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.config.model import VmConfig
from common.definition import to_wire
from common.protocol import Execute, FetchProp, Value
from vmmanager.asking import EXECUTE_GRACE_S
from vmmanager.context import Refused
from vmmanager.requests import Request, Target
from vmmanager.vms import safety
from vmmanager.vms.keeper import Verdict
from vmmanager.vms.placement import Placement, place
from vmmanager.vms.records import Op, Order, Record
from vmmanager.vms.rooms import Rooms
from vmmanager.vms.sightings import DOMAINS, HYPERVISOR
from vmmanager.vms.tasks import ARRIVES, COMMANDS, Phase, Task

if TYPE_CHECKING:
    from vmmanager.vms.machines import Machines

TOKEN = "vm:"
LOOKED_AT_MAX = 500  # queued tasks in one step
SHORT_S = 60.0  # a pause, a reboot, new memory
STOP_MARGIN_S = 30.0  # beyond the guest's own time: destroying it
RESUMED_S = 120.0  # an order older than its limit and this is not sent again by a new leader: what it saw is long past
FETCH = "fetch:"
FETCH_S = 10.0  # a host that has not told its domains by then is asked again
NOTE_AGAIN_S = 10.0  # after a disk that took nothing, for orders that nobody gave
NOBODY = "vmherd"  # `by` of what nobody asked for now


class Dispatch:
    def __init__(self, machines: Machines) -> None:
        self._m = machines
        self._rooms = Rooms(machines)
        self._fetching: set[str] = set()  # hosts that are asked for their domains
        self._verdicts: dict[str, Verdict] = {}
        self._unnotable = ("", 0.0)  # why, and until when (wall clock) no automatic order is tried

    @property
    def rooms(self) -> Rooms:
        return self._rooms

    # --- wishes -----------------------------------------------------------------------------------------------------------

    def wish(
        self,
        op: Op,
        name: str,
        by: str,
        *,
        only: str = "",
        parameters: dict[str, Value] | None = None,
        limit_s: float = 0.0,
        evacuates: str = "",
    ) -> Task:
        """A new task for a VM that has none."""
        vm = self._m.definitions.get(name)
        task = Task(
            name,
            op,
            by,
            self._m.context.now.wall,
            priority=vm.priority if vm and op in ARRIVES else 0,
            only=only,
            limit_s=limit_s or self._limit_s(op),
            parameters=parameters or {},
            memory_bytes=vm.memory_bytes if vm else 0,
            evacuates=evacuates,
        )
        return self._m.tasks.add(task)

    def start_automatically(self, vm: VmConfig, verdict: Verdict) -> None:
        task = self.wish("start", vm.name, NOBODY)
        task.automatic, task.rescues = True, verdict.rescues
        self._verdicts[vm.name] = verdict

    def _limit_s(self, op: Op) -> float:
        orders = self._m.context.config.orders
        return {
            "start": orders.start_timeout_s,
            "stop": orders.stop_limit_s + STOP_MARGIN_S,
            "save": orders.save_timeout_s,
            "restore": orders.save_timeout_s,
            "migrate": orders.migrate_timeout_s,
        }.get(op, SHORT_S)

    def cancel(self, task: Task, why: str) -> None:
        """One that is still queued."""
        assert task.phase is Phase.QUEUED, task.vm
        self._end(task, why, definite=False)

    # --- turns ------------------------------------------------------------------------------------------------------------

    def run(self, *, tick: bool) -> None:
        """Begins what may begin; at each tick asks hosts whose lists are too old."""
        self._fetch_outdated()
        if tick and self._m.protection.may_order():
            self._send_resumed()
        orders, tasks = self._m.context.config.orders, self._m.tasks
        queued = tasks.queued() if len(tasks) else []
        free = orders.parallel - sum(1 for _ in tasks.active()) if queued else 0
        if free <= 0 or not self._m.protection.may_order():
            return
        rescues = self._m.context.config.failover.parallel_restarts - sum(1 for task in tasks.active() if task.rescues)
        self._rooms.refresh()
        for task in queued[:LOOKED_AT_MAX]:
            if free <= 0 or not self._rooms.any_free():
                break
            if (not task.rescues or rescues > 0) and self._begin(task):
                free -= 1
                rescues -= task.rescues

    def _begin(self, task: Task) -> bool:
        """Is it under way now? Not so when it has to wait, or has ended because it cannot be done."""
        chosen = self._choose(task)
        if isinstance(chosen, str):
            self._cannot(task, chosen)
            return False
        if chosen is None:
            return False
        task.host, task.target = chosen
        self._rooms.begun(task)
        self._note(task)
        return True

    def _choose(self, task: Task) -> tuple[str, str] | str | None:
        """(host, target), or why it cannot be done, or None: it waits for a free place in the row of a host."""
        record, now = self._m.record(task.vm), self._m.context.now.wall
        if safety.awaits(record, self._m.seen):
            return None
        if task.op in ARRIVES:
            return self._choose_arrival(task, record, now)
        host, why = safety.not_there(record, self._m.seen, now)
        if why:
            return why
        if not self._rooms.free(host, migration=task.op == "migrate"):
            return None
        return self._choose_target(task, record, host, now) if task.op == "migrate" else (host, "")

    def _choose_arrival(self, task: Task, record: Record, now: float) -> tuple[str, str] | str | None:
        vm = self._m.definitions.get(task.vm)
        if vm is None:
            return "vms.ini does not define it any more"
        if task.only and self._m.seen.coming(task.only):
            return None
        dead = next((host for host, domain in self._m.seen.where(task.vm) if not domain.alive), "")
        if task.automatic and (why := safety.never_known(record, self._candidates(vm), self._m.seen, now)):
            return why
        placement = self._place(task, vm, prefer=dead or (record.places or ("",))[0], only=task.only or dead)
        if placement is None:
            return None
        if placement.host is None:
            return placement.why
        why = safety.may_not_arrive(record, placement.host, self._m.seen, now) or self._m.protection.why_not_start(vm)
        return why or (placement.host, "")

    def _choose_target(self, task: Task, record: Record, source: str, now: float) -> tuple[str, str] | str | None:
        vm = self._m.definitions.get(task.vm)
        if vm is None:
            return "vms.ini does not define it any more: it can only be stopped"
        if task.only == source:
            return f"it is on {source} already"
        placement = self._place(task, vm, leaving=source, only=task.only)
        if placement is not None and placement.host is None and task.evacuates:
            if self._m.emptying.goes_on_before(task):
                return None  # a step before it may make room
            placement = self._place(task, vm, leaving=source)
        if placement is None:
            return None
        if placement.host is None:
            return placement.why
        why = safety.may_not_arrive(record, placement.host, self._m.seen, now, leaving=source)
        return why or (source, placement.host)

    def _place(self, task: Task, vm: VmConfig, *, prefer: str = "", only: str = "", leaving: str = "") -> Placement | None:
        """None: a host could take it, but not now, because as much as may be is under way there."""
        migration = task.op == "migrate"
        rooms = self._rooms.for_vm(vm, leaving=leaving)
        free = [room for room in rooms if self._rooms.free(room.host, migration=migration)]
        tried = self._m.record(vm.name).tried if task.automatic else ()
        if tried and not only:
            elsewhere = place(vm, self._m.relations, [room for room in free if room.host not in tried], prefer=prefer)
            if elsewhere.host is not None:
                return elsewhere
        chosen = place(vm, self._m.relations, free, prefer=prefer, only=only)
        if chosen.host is not None or len(free) == len(rooms):
            return chosen
        chosen = place(vm, self._m.relations, rooms, prefer=prefer, only=only)
        return None if chosen.host is not None else chosen

    def _candidates(self, vm: VmConfig) -> list[str]:
        return sorted(vm.hosts) if vm.hosts else self._m.seen.hosts()

    def _cannot(self, task: Task, why: str) -> None:
        if not task.automatic:
            self._end(task, why)
            return
        self._m.tasks.end(task)
        self._verdicts.pop(task.vm, None)
        self._m.cannot_start(task.vm, why)

    # --- noted, sent ------------------------------------------------------------------------------------------------------

    def _note(self, task: Task) -> None:
        """safety: where it may be is on disk and told before the host is."""
        record = self._m.record(task.vm)
        verdict, task.noted_at = self._verdicts.pop(task.vm, None), self._m.context.now.wall
        if verdict is not None and verdict.counts:
            record.restarts = (*record.restarts, task.noted_at)
        if verdict is not None and verdict.rescues:
            record.rescues = (*record.rescues, task.noted_at)
        vm = self._m.definitions.get(task.vm)
        if task.op in ARRIVES:
            record.protected = vm is not None and vm.protect
            record.noted_on = task.host if record.protected else ""
        if task.op == "migrate":
            record.moved_at = self._m.context.now.wall
        task.id = f"{self._m.context.name}-{self._m.context.next_id()}"
        task.move(Phase.NOTING)
        task.text = f"{task.op} on {task.host}" + (f" to {task.target}" if task.target else "")
        if task.arrives_at:
            record.places = tuple(sorted({*record.places, task.arrives_at}))
        record.order = task.order()
        self._m.changed(record, TOKEN + task.id)
        self._m.show(task.vm)
        self._m.watchers.tell(task)

    def stored(self, token: str, error: str) -> None:
        """The record is on disk, or is not."""
        task = self._m.tasks.by_id(token.removeprefix(TOKEN)) if token.startswith(TOKEN) else None
        if task is None or task.phase is not Phase.NOTING:
            return
        if error:
            self._not_noted(task, f"not ordered, because it cannot be noted on disk: {error}")
        elif not self._m.protection.may_order():  # safety: another may lead by now
            self._end(task, "not ordered: this manager has no authority any more", definite=False)
        else:
            self._send(task)

    def _not_noted(self, task: Task, why: str) -> None:
        """Nothing was tried, so nothing counts as tried: what is automatic goes on when the disk does."""
        record = self._m.record(task.vm)
        record.restarts = tuple(at for at in record.restarts if at != task.noted_at)
        record.rescues = tuple(at for at in record.rescues if at != task.noted_at)
        self._unnotable = (why, self._m.context.now.wall + NOTE_AGAIN_S)
        self._end(task, why, definite=not task.automatic, counts=False)

    def why_not_note(self) -> str:
        """The disk took nothing a moment ago; empty: it is worth a try."""
        why, until = self._unnotable
        return why if self._m.context.now.wall < until else ""

    def _send(self, task: Task) -> None:
        message = Execute(
            execution=task.id, command=COMMANDS[task.op], parameters=self._parameters(task), timeout_s=task.limit_s
        )
        try:
            task.request, progress = self._m.asking.ask(
                "exec", message, [task.host], task.limit_s + EXECUTE_GRACE_S, task=task.id
            )
        except Refused as refused:
            self._end(task, str(refused))
            return
        task.move(Phase.SENT)
        details: dict[str, Value] = {"execution": task.id, "host": task.host, "target": task.target}
        self._m.context.record("request", task.vm, f"vm {task.vm}: {task.text} is ordered", details, task.by)
        for item in progress:  # the host went in this very moment
            if item.request.ended:
                self.answered(item.request)
                return

    def _parameters(self, task: Task) -> dict[str, Value]:
        parameters: dict[str, Value] = {"vm": task.vm, **task.parameters}
        vm = self._m.definitions.get(task.vm)
        if task.op == "start" and vm is not None:
            parameters["definition"] = to_wire(vm)
        if task.op == "restore" and vm is not None and vm.protect:
            parameters["protect"] = True  # safety: the host must not take it for one that needs no lease
        if task.op == "migrate":
            parameters["target"] = task.target
        return parameters

    # --- answered ---------------------------------------------------------------------------------------------------------

    def progressed(self, execution: str, sender: str, text: str, share: float | None) -> None:
        task = self._m.tasks.by_id(execution)
        if task is not None and task.host == sender:
            task.text, task.share = text[:255], share
            self._m.watchers.tell(task)

    def answered(self, request: Request) -> None:
        """The host has said how it went, or nobody has."""
        if request.task.startswith(FETCH):
            self._fetching.discard(request.task.removeprefix(FETCH))
            return
        task = self._m.tasks.by_id(request.task)
        if task is None or task.phase is not Phase.SENT:
            return
        if task.request != request.key:  # safety: the last copy may still be run
            return
        target = next(iter(request.targets.values()))
        body = target.body
        if target.state in ("answered", "late") and body.get("kind") == "ok":
            self._took_effect(task, body.get("result"))
            self._end(task, "", text=_outcome(body.get("result")))
        else:
            self._end(task, _failure(target), definite=target.state not in ("silent", "unreachable"))

    def _took_effect(self, task: Task, result: Any) -> None:
        """What a good answer makes of the record; where the VM is now, the next lists say."""
        record, told = self._m.record(task.vm), result if isinstance(result, dict) else {}
        if task.op in ARRIVES or task.op == "migrate":
            record.expected = True
            record.places = (task.arrives_at,)
            listing = self._m.seen.listings.get(task.arrives_at)
            record.boot_id = listing.boot_id if listing else ""
            record.saved, record.tried = "", ()
        if task.op == "migrate":  # safety: the target may not know yet that it is to be protected there
            record.noted_on, record.moved_at = "", self._m.context.now.wall
        if task.op == "start":
            record.image = str(told.get("image") or "")
        if task.op in ("stop", "destroy", "save"):
            record.expected = False
            record.saved = task.host if task.op == "save" else ""

    def _end(self, task: Task, error: str, *, text: str = "", definite: bool = True, counts: bool = True) -> None:
        """`definite`: it was tried, and what came of it is known. `counts`: as an attempt."""
        m, record = self._m, self._m.record(task.vm)
        if task.active:
            self._ended_on_hosts(task)
            self._rooms.ended(task)
            record.order = None
            alone = not record.restarts or record.restarts[-1] < task.since
            if error and counts and task.automatic and not task.rescues and alone:
                record.restarts = (*record.restarts, m.context.now.wall)
            m.changed(record)
        if error and definite and task.op in ARRIVES and task.automatic and task.host:
            record.tried = tuple(sorted({*record.tried, task.host}))
            m.changed(record)
        if error and definite and task.op in ARRIVES and not task.automatic:
            record.failed = f"{task.op}: {error}"  # the operator was told; nothing is tried again behind his back
            m.changed(record)
        self._verdicts.pop(task.vm, None)
        m.tasks.end(task)
        m.judge_again(task.vm)  # what waited while there was a task
        took = f"{m.context.now.wall - task.since:.1f} s"
        where = f" on {task.host}" if task.host else ""
        outcome = f"failed: {error}" if error else f"done{f', {text}' if text else ''} ({took})"
        m.say(task.vm, f"vm {task.vm}: {task.op}{where} {outcome}", "warning" if error else "info", task.by)
        m.watchers.ended(task.vm, error, task=task, text=text)
        m.emptying.ended(task, error)
        m.task_ended(task, error, definite)

    def end_on_dead_hosts(self) -> None:
        """What was ordered there is over: nobody is left to answer. A host may be proved dead some seconds before the bus has
        given up its client, and is believed only then."""
        for task in list(self._m.tasks.active()):
            host = next((host for host in task.hosts if self._m.protection.gone(host, task.vm)), "")
            if host:
                self._end(task, f"{host} is dead ({self._m.protection.proof(host)})", definite=False)

    def _ended_on_hosts(self, task: Task) -> None:
        """safety: from now on only lists count that are read after this."""
        for host in task.hosts:
            self._m.seen.ended[host, task.vm] = self._m.context.now.wall
        self._m.look_again(task.hosts)

    def _fetch_outdated(self) -> None:
        """A list that is older than an order which ended there: asked for anew, one question at a time for each host."""
        for host in self._m.seen.outdated():
            if host in self._fetching:
                continue
            try:
                self._m.asking.ask("get", FetchProp(names=(DOMAINS, HYPERVISOR)), [host], FETCH_S, task=FETCH + host)
                self._fetching.add(host)
            except Refused:  # too many are open: at the next step
                return

    # --- a new leader -----------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Orders that our predecessor noted: sent again under their execution ids, which run at most once."""
        for name, record in sorted(self._m.records.items()):
            if record.order is not None and name not in self._m.tasks.by_vm:
                self._m.tasks.add(_resumed(record, record.order))

    def _send_resumed(self) -> None:
        now, clients = self._m.context.now.wall, self._m.context.farm.clients
        for task in [task for task in self._m.tasks.active() if task.phase is Phase.NOTING and task.resumed]:
            client = clients.get(task.host)
            if now - task.since > task.limit_s + RESUMED_S:
                why = "the manager that ordered it is gone; what became of it, the next list tells"
                self._end(task, why, definite=False)
            elif client is not None and client.address and not self._why_not_again(task):
                self._send(task)

    def _why_not_again(self, task: Task) -> str:
        """safety: the leader before may have ended it and started the VM elsewhere, and not been heard."""
        vm = self._m.definitions.get(task.vm) if task.op in ARRIVES else None
        if vm is None:
            return ""
        why = safety.may_be_elsewhere(self._m.record(task.vm), task.host, self._m.seen, self._m.context.now.wall)
        return why or self._m.protection.why_unknown(vm)


def _resumed(record: Record, order: Order) -> Task:
    """What nobody asked for stays so: when it fails it is tried again, and is no matter for an operator."""
    automatic = order.by == NOBODY
    task = Task(
        record.name, order.op, order.by, order.at, host=order.host, target=order.target, limit_s=order.limit_s,
        parameters=order.parameters, id=order.id, text="ordered by an earlier leader, asked again", resumed=True,
        automatic=automatic, rescues=automatic and bool(record.rescued),
    )  # fmt: skip
    task.move(Phase.NOTING)
    return task


def _failure(target: Target) -> str:
    body: Mapping[str, Any] = target.body
    reason = str(body.get("reason") or "no reason was given")
    kind = body.get("kind")
    if target.state in ("silent", "unreachable"):
        return f"{target.name}: {reason}"
    return reason if kind == "error" else f"{kind}: {reason}"


_OUTCOMES = {"moved": "moved {}", "ended": "{}", "image": "from {}", "path": "to {}"}


def _outcome(result: Any) -> str:
    """`moved live`, `from tiny@3`: what the operator wants to know of a good end."""
    told = result if isinstance(result, dict) else {}
    return next((text.format(told[key]) for key, text in _OUTCOMES.items() if isinstance(told.get(key), str) and told[key]), "")
