"""The manager's core: `step(event, now) -> list[effect]`. Events in, effects out. No clock, no thread, no socket.

It joins the parts: who is there (roll), who leads (leadership), the managers among themselves (peers), keys (keybook), what was
asked (requests, asking, acting), the trigger engine, and the operations of vmctl. Nothing is decided in more than one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from common.bus.contract import Cause, Closed, Opened, View
from common.config.differences import differences
from common.config.model import ManagerConfig
from common.leasewords import LEASE, WORD, WORDS
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, ClbControl, Control, Execute, FetchProp, GetProp
from vmmanager import events
from vmmanager.acting import Acting
from vmmanager.asking import Asking
from vmmanager.context import Context, Refused
from vmmanager.decisions import ENDED_ROW, ENGINE_TABLES, Decisions
from vmmanager.environments.book import TABLES as ENVIRONMENT_TABLES
from vmmanager.environments.keeping import Environments
from vmmanager.events import (
    Arrived,
    Asked,
    BusChanged,
    ClaimWritten,
    CodeDone,
    Event,
    FenceEnded,
    HungUp,
    Introduced,
    KeysFound,
    Loaded,
    LookForKeys,
    Measured,
    Moment,
    NotReconfigured,
    Recalled,
    Reconfigured,
    Reply,
    StorageSeen,
    Stored,
    Tick,
    Tried,
    Unsent,
    WakeAt,
)
from vmmanager.failover.protection import Guarding
from vmmanager.failover.reign import Reign
from vmmanager.failover.watch import FARM_ROW, TABLE, Watch
from vmmanager.followers import Followers
from vmmanager.keybook import KeyBook
from vmmanager.leadership import Change, Leadership
from vmmanager.operations import OPERATIONS
from vmmanager.peers import Peers
from vmmanager.requests import Request, Requests
from vmmanager.roll import Roll
from vmmanager.triggers.effects import Act, Effect, Tell
from vmmanager.triggers.engine import Engine
from vmmanager.triggers.rule import Guard, unguarded
from vmmanager.vms.machines import TABLES as MACHINE_TABLES
from vmmanager.vms.machines import Machines

TICK_S = 1.0
CLOCK_SET_S = 2.0  # the wall clock moved so much against the monotonic one: somebody has set it
FILL_S = 5.0  # after the start, and before a new leader acts: so long clients that are on the bus may take to tell their names
ACKNOWLEDGE_S = 10.0  # a change that is not on disk by then is answered with an error
AT_START_ONLY = ("name", "bus", "log", "paths", "control_group", "managers")  # parts of the configuration


@dataclass(frozen=True, slots=True)
class _Ack:
    """What to tell vmctl once its change is on disk."""

    call: int
    body: dict[str, Any]
    deadline: float


class Manager:
    """`key` is our public key in hex, as our hello shows it; `guard` limits the time of triggers' expressions."""

    def __init__(self, config: ManagerConfig, key: str, now: Moment, guard: Guard = unguarded) -> None:
        self.guard = guard
        self.context = Context(config, now)
        self.started = now
        self.measured = Measured({}, {}, {"ok": True, "error": "", "events": 0})
        self.loaded = False
        self.leadership = Leadership(self.context)
        self.keys = KeyBook(self.context)
        self.decisions = Decisions(self)
        self.peers = Peers(self.context, key, self.decisions.rows, self.decisions.told, self.decisions.decided)
        self.peers.highest = lambda: self.leadership.highest
        self.leadership.proved = lambda address: address in self.peers.names
        self.roll = Roll(self.context, self.peers.own_hello, self._lost, self._returned)
        self.requests = Requests()
        self.asking = Asking(self.context, self.requests)
        self.acting = Acting(self.context, self.asking)
        self.machines = Machines(self.context, self.asking, self.peers.tell)
        self.environments = Environments(self.context, self.asking, self.machines, self.peers.tell)
        self.asking.task_ended = self._task_ended
        self.reign = Reign(self.context)
        self.failover = Watch(self.context, self.reign, self.peers.tell)
        self.reign.outbid = self.leadership.outbid
        self.leadership.outvotes = self._outvotes
        self.guarding = Guarding(self.failover, self.machines)
        self.acting.fail_over = self.guarding.fail_over
        self.followers = Followers(self.context)
        self.engine = Engine(config.triggers, config, now, guard)
        self._acks: dict[str, _Ack] = {}
        self._fill_until = now.mono + FILL_S  # monotonic; until then, or until all are named, no trigger is looked at
        self._filled = False
        self._promoted = False
        self._ticked = False
        self._tick_at = now.mono + TICK_S
        self._clock = now.wall - now.mono

    # --- the step -------------------------------------------------------------------------------------------------------

    def step(self, event: Event, now: Moment) -> list[events.Effect]:
        """All that is to be done because of this event, in order. Ends with a WakeAt."""
        self.handle(event, now)
        return self.conclude(now)

    def handle(self, event: Event, now: Moment) -> None:
        """Half a step: takes the event in. Many events may be handled before one `conclude`: triggers look at the sum."""
        self.context.now = now
        self._look_at_clock(now)
        _handlers[type(event)](self, event)

    def _look_at_clock(self, now: Moment) -> None:
        by_s = now.wall - now.mono - self._clock
        self._clock += by_s
        if abs(by_s) > CLOCK_SET_S:
            self.context.farm.clock_set(by_s)
            self.machines.clock_set(by_s)
            self.environments.clock_set(by_s)
            self.context.reserve_ids()
            self.context.note(
                f"the clock was set {'forward' if by_s > 0 else 'back'} by {abs(by_s):.0f} s; ages stay", "warning"
            )

    def conclude(self, now: Moment) -> list[events.Effect]:
        """The other half: evaluates triggers, asks for what is missing, and gives all effects since the last time."""
        context = self.context
        context.now = now
        if context.farm.leader != self.leadership.leader:
            context.farm.leader = self.leadership.leader
            context.farm.changed.add(("view",))
        self._look_at_authority()
        self.roll.ask(self.leadership.leading)
        self._filled = self._filled or self.roll.complete() or self._fill_over()
        if self._filled:
            self._evaluate(now)
        else:
            self._look_at_machines()
        out, context.out = self.followers.shown(context.out), []
        return [*out, WakeAt(self._next_wake())]

    def _look_at_authority(self) -> None:
        """safety: a leader that has no authority does nothing, as if it did not lead."""
        was = self.reign.acting
        self.reign.look(self.context.epoch if self.leadership.leading else None)
        if self.reign.acting and not was:
            self.failover.took_over()
            self.machines.took_over()
        elif was and not self.reign.acting:
            self._step_down()
        self.failover.look()

    def _step_down(self) -> None:
        self.failover.deposed()
        self._promoted = False
        self.acting.drop()
        self.machines.deposed()
        self.environments.deposed()
        self.requests.deposed()

    def _evaluate(self, now: Moment) -> None:
        if self.reign.acting and not self._promoted:
            self._promoted = True
            self.carry(self.engine.promoted(now))
            self.machines.promoted()
            self.environments.promoted()
        self._look_at_machines()
        self.carry(self.engine.evaluate(self.context.farm, now, self.leadership.since if self.reign.acting else None))

    def _look_at_machines(self) -> None:
        ticked, self._ticked = self._ticked, False
        self.environments.look(ticked=ticked)
        self.machines.look(all_hosts=ticked)

    def _next_wake(self) -> float:
        engine_wake = self.engine.next_wake()
        wakes = (
            self._tick_at,
            self.requests.next_wake(),
            self.leadership.next_wake(),
            self.roll.next_wake(),
            self.machines.next_wake(),
            self.reign.next_wake(),
            self.failover.next_wake(),
            float("inf") if engine_wake is None else engine_wake,
        )
        return min(wakes)

    def carry(self, effects: Iterable[Effect]) -> None:
        """Effects of the trigger engine: some are ours to turn into messages."""
        for effect in effects:
            if isinstance(effect, Act):
                self._ended(self.acting.act(effect))
            elif isinstance(effect, Tell):
                self.decisions.tell(effect)
            elif isinstance(effect, events.Record):
                self.context.emit(effect)
            else:
                self.context.out.append(effect)

    def _ended(self, ended: Iterable[tuple[str, str]]) -> None:
        """Firings whose wishes are all done with."""
        for firing, outcome in ended:
            self.carry(self.engine.acted(firing, outcome, self.context.now))

    # --- events ---------------------------------------------------------------------------------------------------------

    def _arrived(self, event: Arrived) -> None:
        envelope, message = event.envelope, event.envelope.message
        if envelope.role == "client":
            self.roll.heard(envelope, event.address)
            if isinstance(message, ClbControl) and message.verb in ("hello", "alive"):
                self._epoch_told(message)
            if isinstance(message, ClbControl) and message.verb == LEASE:
                self.failover.asked(envelope.sender, message.values)
            elif isinstance(message, ClbControl) and message.verb == WORD:
                self.reign.answered(envelope.sender, message)
            elif isinstance(message, ClbControl) and message.verb == "progress":
                self._progressed(envelope.sender, message)
            elif envelope.in_reply_to and not isinstance(message, (GetProp, FetchProp, Execute, Control)):
                progress = self.requests.answer(envelope.in_reply_to, envelope.sender, message, self.context.now.mono)
                self._ended(self.asking.progress(progress, self.acting))
        elif isinstance(message, Control) and GROUP_MANAGERS in envelope.to:
            self._control(envelope.sender, event.address, message)
        elif isinstance(message, ClbControl):
            self._manager_says(envelope.sender, event.address, message)

    def _progressed(self, sender: str, message: ClbControl) -> None:
        """How far a command is that we ordered."""
        execution, text, share = (message.values.get(key) for key in ("execution", "text", "share"))
        if isinstance(execution, str) and isinstance(text, str):
            part = float(share) if isinstance(share, (int, float)) and 0 <= share <= 1 else None
            self.machines.dispatch.progressed(execution, sender, text, part)

    def _control(self, sender: str, address: str, control: Control) -> None:
        if control.verb == WORDS:
            self.reign.asked(sender, address, control.arguments)
        elif control.verb == "lead":
            change = self.leadership.heard_lead(sender, address, control.arguments)
            self._changed(change)
            if change == "lost":
                self.peers.greet_managers()  # we led beside it: it answers with its state
            self.reign.pleaded_at = self.context.now.mono
            if address not in self.peers.names and sender != self.context.name:
                self.peers.greet_managers()  # after a cut network healed; its answer proves that the session is its own
        elif not (self.leadership.leading and sender != self.context.name and control.verb in ("sync", "state")):
            # safety: who leads takes no state from one that leads no longer, and does not know it yet
            self.peers.heard(sender, control.verb, control.arguments)

    def _manager_says(self, sender: str, address: str, message: ClbControl) -> None:
        if message.verb == "hello" and sender != self.context.name:
            self._epoch_told(message)
            if message.values.get("address") != address:
                return  # safety: somebody else's session repeats a manager's hello, to pass for one
            is_new = self.peers.introduced(sender, address, message.values.get("answer") is True)
            if is_new and self.leadership.leading:
                self.leadership.tell((GROUP_MANAGERS,), (address,))
                self.peers.mark(sender)
        elif message.verb == WORD:
            self.reign.answered(sender, message)
        elif message.verb == "yield":
            self.leadership.yielded(address)
        elif message.verb == "offer" and self.leadership.leading:
            self.decisions.offered(sender, message.values)

    def _epoch_told(self, hello: ClbControl) -> None:
        epoch = hello.values.get("epoch")
        if isinstance(epoch, int):
            self.leadership.heard_epoch(epoch)

    def _introduced(self, event: Introduced) -> None:
        self.keys.introduced(event.sender, event.key, event.address, event.role)

    def _keys_found(self, event: KeysFound) -> None:
        accepted = self.keys.found(event.found, event.refused)
        self.roll.greet([address for role, address in accepted if role == "client"], leading=self.leadership.leading)
        if any(role == "manager" for role, _ in accepted):
            self.peers.greet_managers()

    def _loaded(self, event: Loaded) -> None:
        self.loaded = True
        self.context.loaded(event.last_event)
        epoch, whose = 0, ""
        for table, key, value in event.rows:
            if table == "key":
                self.keys.restore(key, value)
            elif table in MACHINE_TABLES:
                self.machines.restore(table, key, value)
            elif table in ENVIRONMENT_TABLES:
                self.environments.book.restore(table, key, value)
            elif table == TABLE or (table, key) == FARM_ROW:
                self.failover.restore(table, key, value)
            elif table in ENGINE_TABLES:
                self.carry(self.engine.restore(table, key, value))
            elif (table, key) == ENDED_ROW:
                self.decisions.ended_silences.learn(value)
            elif (table, key) == ("fact", "epoch"):
                known = value.get("epoch")
                epoch, whose = known if isinstance(known, int) else 0, str(value.get("leader") or "")
            elif (table, key) == ("fact", "ids"):
                reserved = value.get("reserved")
                self.context.last_id = max(self.context.last_id, reserved if isinstance(reserved, int) else 0)
        self.context.out.append(LookForKeys())
        self.leadership.loaded(epoch)
        self.reign.loaded(epoch, whose, self.failover.sequence.at)
        if self.context.address:
            self.peers.greet()

    def _bus_changed(self, event: BusChanged) -> None:
        what = event.what
        if isinstance(what, Opened):
            self.context.address = what.name
            self.reign.pleaded_at = self.context.now.mono
            # a bus that was restarted: clients come back later than we, and who fires before asks nobody
            self._fill(FILL_S + (self.context.config.bus.reconnect_max_s if self.roll.awaited else 0.0))
            self.context.note(f"bus: connected as {what.name}", part="bus")
            self.peers.greet()
        elif isinstance(what, Closed):
            self._closed(what)
        elif what.group == GROUP_MANAGERS:
            self._managers_viewed(what)
        elif what.group == GROUP_CLIENTS:
            self.roll.viewed(what)

    def _fill(self, limit_s: float = FILL_S) -> None:
        self._filled = False
        self._fill_until = max(self._fill_until, self.context.now.mono + limit_s)

    def _fill_over(self) -> bool:
        """Those who are not back by now are gone."""
        over = self.context.now.mono >= self._fill_until
        if over:
            self.roll.awaited.clear()
        return over

    def _closed(self, closed: Closed) -> None:
        if self.context.address:
            self.context.note(f"bus: connected -> lost ({closed.reason})", "warning", "bus")
        self.context.address = ""
        self.roll.disconnected()
        self.peers.disconnected()
        self._changed(self.leadership.disconnected())

    def _managers_viewed(self, view: View) -> None:
        self.peers.viewed(view)
        if view.cause is Cause.NETWORK and set(view.members) - self.peers.names.keys():
            self.peers.greet_managers()  # parts of the bus have come together, and who is new here has said hello elsewhere
        self.roll.managers_viewed(view.members)
        self._changed(self.leadership.viewed(view))

    def _changed(self, change: Change) -> None:
        """Leadership changed hands."""
        if change:
            self.context.farm.changed.add(("view",))
        if change == "won":
            self.peers.give_up_sync()
            self.peers.mark("")
            self._fill()  # a firing is resumed when those whom it asks are known
        elif change == "lost":
            self._step_down()

    def _tick(self, event: Tick) -> None:
        now = self.context.now.mono
        self._ticked, self._tick_at = True, now + TICK_S
        self.keys.tick()
        self.leadership.tick()
        self._doubt_leader()
        self.roll.tick()
        if self.reign.acting:
            self.guarding.tick()
        self._ended(self.asking.progress(self.requests.due(now), self.acting))
        for token, ack in [(token, ack) for token, ack in self._acks.items() if now > ack.deadline]:
            del self._acks[token]
            why = "is not on disk yet" if self.context.address else "did not reach the bus"
            code = "store" if self.context.address else "bus-down"
            self.context.refuse(ack.call, Refused(code, f"the change {why}; look at it again before you repeat it"))

    def _doubt_leader(self) -> None:
        """A leader that hangs is on the bus as ever; its authority is over when it has asked for no words for so long."""
        quiet = self.reign.quiet()
        if quiet > 1 and not self.leadership.leading:
            names = self.peers.names
            leaders = {address for address, name in names.items() if name == self.leadership.leader}
            silent_s = self.context.now.mono - self.reign.pleaded_at
            self.leadership.silent(leaders if quiet <= 2 else names, f"no manager has asked for words for {silent_s:.0f} s")

    def _outvotes(self) -> bool:
        """Is a majority of the configured managers and the witness on the bus with us?"""
        authority = self.reign.authority
        witness = self.context.farm.clients.get(self.context.config.failover.witness)
        there = {self.context.name, *self.peers.names.values()}
        if witness is not None and witness.address:
            there.add(witness.name)
        return not authority.alone and len(there.intersection(authority.voters)) >= authority.needed

    def _unsent(self, event: Unsent) -> None:
        progress = self.requests.unsent(event.id, event.reason, self.context.now.mono)
        self._ended(self.asking.progress(progress, self.acting))

    def _lost(self, name: str) -> None:
        progress = self.requests.lost(name, self.context.now.mono)
        self._ended(self.asking.progress(progress, self.acting))

    def _returned(self, name: str) -> None:
        self.asking.again(name)

    def _task_ended(self, request: Request) -> None:
        """A request that a slot or a VM waits for."""
        if not self.environments.answered(request):
            self.machines.answered(request)

    def _code_done(self, event: CodeDone) -> None:
        self.carry(self.engine.code_done(event, self.context.now))

    def _stored(self, event: Stored) -> None:
        self._changed(self.leadership.stored(event))
        self.machines.stored(event.token, event.error)
        self.failover.stored(event.token, event.error)
        ack = self._acks.pop(event.token, None)
        if ack is not None and event.error:
            self.context.refuse(ack.call, Refused("store", f"the change is in force, but not on disk: {event.error}"))
        elif ack is not None:
            self.context.out.append(Reply(ack.call, ack.body))
        self.carry(self.engine.stored(event, self.context.now))

    def _measured(self, event: Measured) -> None:
        self.measured = event

    def _reconfigured(self, event: Reconfigured) -> None:
        old = self.context.config
        sentences = differences(old, event.config)
        if any(getattr(old, part) != getattr(event.config, part) for part in AT_START_ONLY):
            sentences.append(f"of these, {', '.join(AT_START_ONLY)} take effect at the next start")
        self.context.config = event.config
        self.machines.configure(event.config)
        self.environments.configure(event.config)
        self.failover.configure()
        self.carry(self.engine.configure(event.config.triggers, event.config, self.context.now))
        self.context.out.append(LookForKeys())
        for warning in event.config.warnings:
            self.context.note(f"configuration: {warning}", "warning")
        self.context.note(f"configuration: read again; {'; '.join(sentences) or 'nothing has changed'}")
        self.context.record("reload", self.context.name, "; ".join(sentences) or "nothing has changed")
        self.context.reply(event.call, {"changed": sentences})

    def _not_reconfigured(self, event: NotReconfigured) -> None:
        for fault in event.faults:
            self.context.note(f"configuration: not read again, the running one stays: {fault}", "error")
        refused = Refused("bad-config", "the files hold faults; the running configuration stays", faults=list(event.faults))
        self.context.refuse(event.call, refused)

    # --- vmctl ----------------------------------------------------------------------------------------------------------

    def _asked(self, event: Asked) -> None:
        operation = OPERATIONS.get(event.op)
        try:
            if operation is None:
                raise Refused("unknown-op", f"this manager has no operation {event.op[:80]}")
            if operation.changes:
                self._must_lead()
            operation.run(self, event)
        except Refused as refused:
            self.context.refuse(event.call, refused)

    def _must_lead(self) -> None:
        if self.reign.acting:
            return
        if self.leadership.leading:
            raise Refused("no-authority", self.reign.authority.why_not(self.context.now.mono))
        if not self.context.address:
            raise Refused("bus-down", "the manager is not connected to the bus; it tries again by itself")
        if self.leadership.leader:
            raise Refused("not-leader", f"{self.leadership.leader} leads: ask there")
        raise Refused("not-leader", "nobody leads now: the managers have not agreed yet, or the store of this one is not ready")

    def acknowledge(self, call: int, token: str, body: dict[str, Any]) -> None:
        """Answers `call` with `body` once Stored(token) has come."""
        self._acks[token] = _Ack(call, body, self.context.now.mono + ACKNOWLEDGE_S)

    def _hung_up(self, event: HungUp) -> None:
        self.requests.hung_up(event.call)
        self.followers.hung_up(event.call)
        self.machines.watchers.hung_up(event.call)

    def _recalled(self, event: Recalled) -> None:
        self.followers.recalled(event)

    def _tried(self, event: Tried) -> None:
        if event.error:
            self.context.refuse(event.call, Refused(event.code or "usage", event.error))
        else:
            self.context.reply(event.call, list(event.rows))


_handlers: dict[type, Callable[[Manager, Any], None]] = {
    Arrived: Manager._arrived,
    Introduced: Manager._introduced,
    KeysFound: Manager._keys_found,
    Loaded: Manager._loaded,
    Unsent: Manager._unsent,
    BusChanged: Manager._bus_changed,
    Tick: Manager._tick,
    Asked: Manager._asked,
    HungUp: Manager._hung_up,
    CodeDone: Manager._code_done,
    Stored: Manager._stored,
    Recalled: Manager._recalled,
    Tried: Manager._tried,
    Measured: Manager._measured,
    Reconfigured: Manager._reconfigured,
    NotReconfigured: Manager._not_reconfigured,
    FenceEnded: lambda manager, event: manager.failover.fence_ended(event),
    StorageSeen: lambda manager, event: manager.failover.claiming.looked(event),
    ClaimWritten: lambda manager, event: manager.failover.claiming.written(event),
}
