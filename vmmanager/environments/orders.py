"""Orders of slots carried out: to the head node by EXECUTE, to hosts as every other VM's; and their answers. Pure.

At most so many are open at the head node at a time; what tells of dead VMs goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from common.batch import DRAIN, GONE, NODES, RESUME
from common.protocol import Execute, FetchProp, Value
from vmmanager.asking import EXECUTE_GRACE_S, Asking
from vmmanager.context import Context, Refused
from vmmanager.environments import steward
from vmmanager.environments.places import BY, place_of, vm_name
from vmmanager.environments.slots import Slot
from vmmanager.environments.steward import REASON, Order, Slip, Verb
from vmmanager.requests import Request

if TYPE_CHECKING:
    from vmmanager.environments.book import Book
    from vmmanager.vms.machines import Machines
    from vmmanager.vms.tasks import Task

PREFIX = "environment:"
FETCH = f"{PREFIX}fetch"
OPEN_MAX = 32  # orders at the head node at a time
LIMIT_S = 60.0  # of one
FETCH_S = 30.0
FETCH_EVERY_S = 1.0
COMMANDS: dict[Verb, str] = {"drain": DRAIN, "resume": RESUME, "gone": GONE}
FIRST: tuple[Verb, ...] = ("gone", "resume", "drain", "stop", "start")
STOP_MARGIN_S = 30.0
Slips = Callable[[Slot], Slip]


class Orders:
    """`slip` gives what is known of a slot's present state; `failed` hears of starts that failed."""

    def __init__(self, context: Context, asking: Asking, machines: Machines, book: Book, slip: Slips,
                 failed: Callable[[Slot, str], None]) -> None:  # fmt: skip
        self._c, self._asking, self._m, self._book = context, asking, machines, book
        self._slip, self._failed = slip, failed
        self._open: dict[str, tuple[str, int, Verb]] = {}  # by task: slot, turn, what
        self._number = 0
        self._fetching = False
        self._fetch_at = 0.0  # monotonic; not before

    def drop(self) -> None:
        """This manager leads no longer."""
        self._open.clear()
        self._fetching = False

    def give(self, orders: Iterable[Order], head: str) -> None:
        for order in sorted(orders, key=lambda order: (FIRST.index(order.verb), order.slot.name)):
            if order.verb in COMMANDS:
                self._tell(order, head)
            else:
                self._change(order)

    # --- the head node ------------------------------------------------------------------------------------------------------

    def _tell(self, order: Order, head: str) -> None:
        slot, slip = order.slot, self._slip(order.slot)
        if len(self._open) >= OPEN_MAX:
            slip.open, slip.why = "", "waits for its turn at the head node"
            return
        if not head:
            slip.failed("no client is known that has the batch system", self._c.now.wall)
            return
        parameters: dict[str, Value] = {"node": self._book.nodes.get(slot.name, "")}
        if order.verb == "drain":
            parameters["reason"] = f"{REASON}: {f'goes to {slot.target}' if slot.target else 'goes out of use'}"
        if order.verb == "gone":
            parameters["reason"] = f"{REASON}: its virtual machine is gone"
        self._number += 1
        task = f"{PREFIX}{self._number}"
        execution = f"{self._c.name}-{self._c.next_id()}"
        message = Execute(execution=execution, command=COMMANDS[order.verb], parameters=parameters, timeout_s=LIMIT_S)
        self._open[task] = (slot.name, slot.turn, order.verb)
        try:
            _, progress = self._asking.ask("exec", message, [head], LIMIT_S + EXECUTE_GRACE_S, task=task)
        except Refused as refused:
            del self._open[task]
            slip.failed(str(refused), self._c.now.wall)
            return
        for item in progress:  # it went in this very moment
            if item.request.ended:
                self.answered(item.request)
                return

    def answered(self, request: Request) -> bool:
        """Was it one of ours? The head node has said how it went, or nobody has."""
        if request.task == FETCH:
            self._fetching = False
        opened = self._open.pop(request.task, None)
        if opened is None:
            return request.task.startswith(PREFIX)
        name, turn, verb = opened
        slot = self._book.slots.get(name)
        if slot is None or slot.turn != turn:
            return True  # safety: what is said of an earlier turn changes nothing
        target = next(iter(request.targets.values()))
        error = _error(target.state, target.body)
        steward.answered(self._slip(slot), verb, self._c.now.wall, error, unknown_node=target.body.get("kind") == "refused")
        return True

    def fetch(self, head: str) -> None:
        """A reading of the nodes before it is due."""
        now = self._c.now.mono
        if not head or self._fetching or now < self._fetch_at:
            return
        try:
            self._asking.ask("get", FetchProp(names=(NODES,)), [head], FETCH_S, task=FETCH)
            self._fetching, self._fetch_at = True, now + FETCH_EVERY_S
        except Refused:  # the next reading comes by itself
            return

    # --- hosts --------------------------------------------------------------------------------------------------------------

    def _change(self, order: Order) -> None:
        slot, slip, m = order.slot, self._slip(order.slot), self._m
        place = place_of(slot.name)
        name = vm_name(slot.environment, place)
        if name in m.tasks.by_vm:
            slip.open = ""
            return
        record = m.record(name)
        record.wanted, record.wanted_by = ("running" if order.verb == "start" else "stopped"), BY
        record.wanted_at = self._c.now.wall
        record.held = record.failed = ""
        m.changed(record)
        if order.verb == "start":
            m.dispatch.wish("start", name, BY, only=place.host)
        else:
            limit_s = self._c.config.orders.stop_limit_s
            m.dispatch.wish("stop", name, BY, parameters={"limit_s": limit_s, "destroy": True}, limit_s=limit_s + STOP_MARGIN_S)

    def ended(self, task: Task, error: str, *, definite: bool) -> None:
        """An order to a host has ended. A start that was tried, and failed, counts against the slot."""
        slot = next((slot for slot in self._of_host(task) if vm_name(slot.environment, place_of(slot.name)) == task.vm), None)
        if slot is None:
            return
        slip = self._slip(slot)
        if slip.open != task.op:
            return
        if not error:
            slip.open, slip.error, slip.tries, slip.retry_at = "", "", 0, 0.0
            return
        slip.failed(f"{task.op}: {error}", self._c.now.wall)
        if task.op == "start" and definite and task.by == BY:
            self._failed(slot, error)

    def _of_host(self, task: Task) -> list[Slot]:
        return [slot for slot in self._book.slots.values() if task.vm.startswith(f"{slot.environment}-")]


def _error(state: str, body: dict[str, Any]) -> str:
    if state in ("answered", "late") and body.get("kind") == "ok":
        return ""
    return str(body.get("reason") or ("no answer" if state in ("silent", "waiting") else f"no reason was given ({state})"))
