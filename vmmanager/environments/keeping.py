"""The environments of the farm in the manager: every look at the slots, the mix from time to time, what is said of both. Pure.

Every manager keeps the book; the leader alone looks at slots, gives orders and decides. Where the batch system is not heard,
the mix stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.config.model import EnvironmentsConfig, ManagerConfig, VmConfig
from vmmanager.asking import Asking
from vmmanager.context import Context
from vmmanager.environments import mix, requests
from vmmanager.environments.book import Book, Tell
from vmmanager.environments.breakers import Breakers
from vmmanager.environments.demand import Policy
from vmmanager.environments.expression import Expression
from vmmanager.environments.headnode import Heard, Listening
from vmmanager.environments.orders import Orders
from vmmanager.environments.places import machine, node_name, place_of, places, vm_name
from vmmanager.environments.policies import POLICIES
from vmmanager.environments.sights import Sights
from vmmanager.environments.situation import UNKNOWN, settings_of, settled, situation, why_stands
from vmmanager.environments.slots import AWAY, Seen, Slot, State
from vmmanager.environments.steward import READY, REASON, Limits, Sight, Slip, Step, look, refreshed
from vmmanager.environments.switching import supplies
from vmmanager.requests import Request
from vmmanager.state import Environment
from vmmanager.vms.machines import Machines
from vmmanager.vms.tasks import Task


@dataclass(slots=True)
class Useless:
    """Why a slot is of no use now, and since when (wall clock)."""

    why: str
    since: float


class Environments:
    """`tell` sends a decision to all managers."""

    def __init__(self, context: Context, asking: Asking, machines: Machines, tell: Tell) -> None:
        self.context, self.machines = context, machines
        self.book = Book(context, tell)
        self.breakers = Breakers(by_subject=self.book.pauses)
        self.sights = Sights(machines, self.book, self.breakers)
        self.listening = Listening()
        self.heard = Heard()
        self.orders = Orders(context, asking, machines, self.book, self.slip, self._start_failed)
        self.slips: dict[str, Slip] = {}
        self.useless: dict[str, Useless] = {}
        self.plan: mix.Plan | None = None
        self.stands = ""  # why nothing is decided now
        self.leading = False
        self.since = 0.0  # wall clock: when it began to lead
        self._due = 0.0  # wall clock: when the mix is thought over again
        self._read: object = None  # the readings of the last look
        self._nudged = False
        self.policy: Policy = POLICIES["waterfill"]
        machines.task_ended = self.task_ended
        self.configure(context.config)

    @property
    def config(self) -> EnvironmentsConfig:
        return self.context.config.environments

    # --- what stays -------------------------------------------------------------------------------------------------------

    def configure(self, config: ManagerConfig) -> None:
        """At the start and after a reload."""
        ours = config.environments
        self.policy = (
            Expression(ours.expr) if ours.policy == "expression" and ours.expr else POLICIES.get(ours.policy, self.policy)
        )
        self.breakers.failures_max = ours.failures_max
        self.breakers.pause_s, self.breakers.pause_max_s = ours.pause_s, ours.pause_max_s
        self.templates = {vm.name: vm for vm in config.vms}
        self._machines: dict[tuple[str, str], VmConfig] = {}  # by slot and environment: made once
        self._due = 0.0

    def promoted(self) -> None:
        self.leading, self.since, self._due = True, self.context.now.wall, 0.0
        self.slips.clear()  # safety: what was seen before we led proves nothing
        self.useless.clear()

    def deposed(self) -> None:
        self.leading = False
        self.slips.clear()
        self.orders.drop()

    def clock_set(self, by_s: float) -> None:
        self.book.clock_set(by_s)
        self.slips.clear()
        self.since += by_s
        self._due += by_s
        for one in self.useless.values():
            one.since += by_s

    # --- every step -------------------------------------------------------------------------------------------------------

    def look(self, *, ticked: bool) -> None:
        """At each tick, and when the batch system was read or an order of ours has ended."""
        if not self.config.defined and not self.book.slots:
            return
        now = self.context.now.wall
        self.heard = self.listening.heard(self.config, self.context.farm, self.context.config.stale_factor, now)
        read = (self.heard.nodes_at, self.heard.nodes_why, self.heard.why)
        if not (ticked or self._nudged or read != self._read):
            return
        self._read, self._nudged = read, False
        self._define()
        self._show()
        if not self.leading:
            return
        self._know_places(now)
        self._look_at_slots(now)
        if now >= self._due or requests.next_change(self.book.requests.values(), self._due - self.config.ticks) <= now:
            self._decide(now)
        self._define()

    def soon(self) -> None:
        """An operator has said something: the mix is thought over at the next look."""
        self._due, self._nudged = 0.0, True

    def slip(self, slot: Slot) -> Slip:
        slip = self.slips[slot.name] = refreshed(self.slips.get(slot.name, Slip()), slot)
        return slip

    def names(self) -> list[str]:
        """Of all environments that may have a VM somewhere."""
        used = {name for slot in self.book.slots.values() for name in (slot.environment, slot.target) if name}
        return sorted({one.name for one in self.config.defined} | used)

    def _define(self) -> None:
        """The VMs that slots have, or get, are VMs like all others."""
        defined = {one.name: one for one in self.config.defined}
        made = {}
        for slot in self.book.slots.values():
            one = defined.get(slot.environment)
            template = self.templates.get(one.template) if one else None
            if one is None or template is None or slot.state is State.OUT:
                continue
            key = (slot.name, one.name)
            vm = self._machines.get(key) or machine(template, one.name, place_of(slot.name))
            self._machines[key] = made[vm.name] = vm
        self.machines.define(made)

    def _know_places(self, now: float) -> None:
        """Hosts that are new bring slots; where a VM of an environment runs already, it serves."""
        hosts = self.context.farm.hypervisors | {place_of(name).host for name in self.book.slots}
        wanted = {place.name for place in places(self.config, hosts)}
        for name in sorted(wanted - self.book.slots.keys()):
            slot = self.book.slots[name] = Slot(name, "", now, State.OUT)
            self.book.slot_changed(slot)
        for name in sorted(self.book.slots.keys() - wanted):
            if self.book.slots[name].state is State.OUT:
                self.book.slot_gone(name)
                self.slips.pop(name, None)

    def _show(self) -> None:
        """What triggers see."""
        farm, names = self.context.farm, [one.name for one in self.config.defined]
        has = supplies(self.book.slots.values(), dict.fromkeys(self.book.slots, 0), names, 0.0, 0.0)
        for name in names:
            asked = self.heard.demand.get(name, UNKNOWN) if not self.heard.why else UNKNOWN
            wanted = self.plan.choice.wanted.get(name) if self.plan else None
            now = Environment(name, wanted, has[name].slots, has[name].serving, asked.waiting, asked.running, asked.known)
            if farm.environments.get(name) != now:
                farm.changed |= {("environment", name)} | (set() if name in farm.environments else {("environments",)})
                farm.environments[name] = now
        for gone in farm.environments.keys() - set(names):
            del farm.environments[gone]
            farm.changed |= {("environment", gone), ("environments",)}

    # --- slots ------------------------------------------------------------------------------------------------------------

    def _look_at_slots(self, now: float) -> None:
        limits = Limits(self.config.drain_limit_s, self.config.join_limit_s)
        names, orders, fetch = self.names(), [], False
        for name in sorted(self.book.slots):
            slot = self.book.slots[name]
            slot.failures_max = self.config.failures_max
            for _ in range(len(State)):  # one look may bring it on by several states
                if slot.state is State.OUT and not self._found(slot, names, now):
                    self._note_use(slot, self.sights.away(place_of(name).host, now), now)
                    break
                slip = self.slip(slot)
                sight = self.sights.of(slot, self.heard, names, now, slip.open)
                step = look(slot, slip, sight, limits, now)
                self._note_use(slot, _of_no_use(slot, sight), now)
                orders += step.orders
                fetch = fetch or step.fetch
                if step.warning:
                    self.say(slot.name, f"slot {slot.name}: {step.warning}", "warning")
                if not self._seen(slot, step, now):
                    break
        self.orders.give(orders, self.heard.head)
        if fetch:
            self.orders.fetch(self.heard.head)

    def _found(self, slot: Slot, names: list[str], now: float) -> bool:
        found = self.sights.found(place_of(slot.name), names)
        if found:
            slot.environment = found
            self._name_node(slot)
            self.see(slot, Seen.FOUND, f"{vm_name(found, place_of(slot.name))} runs there", now)
        return bool(found)

    def _seen(self, slot: Slot, step: Step, now: float) -> bool:
        return step.seen is not None and self.see(slot, step.seen, step.why, now)

    def see(self, slot: Slot, seen: Seen, why: str, now: float) -> bool:
        changed = slot.see(seen, slot.turn, now)
        if changed:
            self._changed(slot, *changed, why, now, seen)
        return bool(changed)

    def _changed(self, slot: Slot, old: State, new: State, why: str, now: float, seen: Seen | None = None) -> None:
        host = place_of(slot.name).host
        if new is State.STARTING:
            self._name_node(slot)
        if new is State.OUT:
            self.book.nodes.pop(slot.name, None)
        if seen is Seen.JOINED:
            for subject in (f"slot {slot.name}", f"host {host}", f"environment {slot.environment}"):
                self.breakers.succeeded(subject)
            self.book.said("pauses")
        if new is State.BROKEN:
            self._pause(self.breakers.pause(f"slot {slot.name}", why, now))
        elif seen is Seen.FAILED:
            self._count_failure(slot, why, now)
        elif old in (State.STARTING, State.JOINING) and new is not State.JOINING:
            self._let_go(slot)
        goes = f" for {slot.target or 'nobody'}" if slot.target != slot.environment else ""
        level = "warning" if new in (State.BROKEN, State.DEAD) or seen is Seen.FAILED else "info"
        self.say(slot.name, f"slot {slot.name}: {slot.environment or 'nobody'}: {old} -> {new}{goes} ({why})", level)
        self.book.slot_changed(slot)

    def _name_node(self, slot: Slot) -> None:
        """It stays until the VM is gone, whatever the file says meanwhile. safety: its jobs are known by this name."""
        one = next((one for one in self.config.defined if one.name == slot.environment), None)
        place = place_of(slot.name)
        self.book.nodes[slot.name] = node_name(one, place) if one else vm_name(slot.environment, place)

    def _start_failed(self, slot: Slot, why: str) -> None:
        self.see(slot, Seen.FAILED, why, self.context.now.wall)

    def _count_failure(self, slot: Slot, why: str, now: float) -> None:
        host = place_of(slot.name).host
        self._pause(self.breakers.failed(f"environment {slot.environment}", slot.name, why, now))
        self._pause(self.breakers.failed(f"host {host}", f"{slot.environment} on {slot.name}", why, now))

    def _let_go(self, slot: Slot) -> None:
        """It is not tried to the end, so another may be."""
        for subject in (f"environment {slot.environment}", f"host {place_of(slot.name).host}"):
            self.breakers.let_go(subject, slot.name)

    def _pause(self, sentence: str) -> None:
        if sentence:
            self.say("pauses", sentence, "warning")
            self.book.said("pauses")

    def _note_use(self, slot: Slot, why: str, now: float) -> None:
        """What cannot be used is not counted, when it has been so for a while."""
        old = self.useless.get(slot.name)
        if not why:
            self.useless.pop(slot.name, None)
        elif old is None:
            self.useless[slot.name] = Useless(why, now)
        else:
            old.why = why

    # --- the mix ----------------------------------------------------------------------------------------------------------

    def _decide(self, now: float) -> None:
        self._due = now + self.config.ticks
        for one in [one for one in self.book.requests.values() if one.ends < now - requests.KEPT_S]:
            self.book.request_gone(one.id)
        self.stands = why_stands(self, now)
        settings = settings_of(self.config, self.templates)
        if settings is None:
            self._wind_up(now)
            return
        if self.stands:
            return
        self.plan = mix.made(situation(self, settings, now), self.policy, now)
        for gift in self.plan.gifts:
            self._give(gift.slot, gift.target, gift.why, now)
        for move in self.plan.moves:
            back = move.target == move.slot.environment
            self._give(move.slot, move.target, f"{move.target} needs it{' again' if back else ''}", now)
        self._drop_paused(now)

    def _wind_up(self, now: float) -> None:
        """No environment is left in the file: what runs is drained and stopped."""
        for slot in self.book.slots.values():
            if slot.target and settled(self, now):
                self._give(slot, "", f"{slot.target} is in environments.ini no more", now)

    def _give(self, slot: Slot, target: str, why: str, now: float) -> None:
        changed = slot.give(target, now)
        if changed:
            self._changed(slot, *changed, why, now)
        else:
            self.book.slot_changed(slot)
        self._nudged = True

    def _drop_paused(self, now: float) -> None:
        """Slots that wait for a paused environment are others' meanwhile."""
        for slot in self.book.slots.values():
            subject = f"environment {slot.environment}"
            if slot.state is State.STARTING and self.breakers.until(subject) > now and not self.slip(slot).open:
                self._give(slot, "", f"{subject} is paused", now)

    def jobs_on(self, slot: Slot) -> int:
        node = self.heard.nodes.get(self.book.nodes.get(slot.name, ""))
        return node.jobs if node else 0

    # --- news -------------------------------------------------------------------------------------------------------------

    def answered(self, request: Request) -> bool:
        """Was the request one of ours?"""
        ours = self.orders.answered(request)
        self._nudged = self._nudged or ours
        return ours

    def task_ended(self, task: Task, error: str, definite: bool) -> None:
        if self.leading:
            self.orders.ended(task, error, definite=definite)
            self._nudged = True

    def say(self, subject: str, text: str, level: str = "info", who: str = "") -> None:
        """Into the log and the history."""
        self.context.note(text, level, "environments")  # type: ignore[arg-type]
        self.context.record("environment", subject, text, None, who)


def _of_no_use(slot: Slot, sight: Sight) -> str:
    if sight.vm == "lost":
        return sight.why
    if slot.state in AWAY | {State.OUT} and (sight.host_away or sight.stopped_by):
        return sight.host_away or f"{sight.stopped_by} wants its VM stopped"
    if slot.state is State.SERVING and not sight.known:
        if sight.node is None:
            return "the batch system knows no such node"
        drained = sight.node.state in ("draining", "drained") and REASON in sight.node.note
        return (
            ""
            if sight.node.state in READY or drained
            else f"the batch system says: {sight.node.state} {sight.node.note}".strip()
        )
    return ""
