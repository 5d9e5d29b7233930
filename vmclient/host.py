"""The client's core: step(event, now) -> effects. Decides what is read, pushed, run, answered. No clock, thread or socket.

One thread owns it. Every request of a manager gets exactly one answer, unless the bus is down when the answer is ready: then it
is dropped with a note, and EXECUTE can be repeated (executions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common import protocol
from common.batch import JOBS, NODES
from common.bus.contract import Opened
from common.config.differences import differences
from common.config.model import ClientConfig, PropertyConfig
from common.envelope import Envelope
from common.leases import Terms
from common.leasewords import WORDS
from common.protocol import (
    ClbControl,
    Control,
    Execute,
    FetchProp,
    GetProp,
    PropErr,
    PropList,
    Reading,
    Value,
)
from vmclient import controls, lease
from vmclient.events import (
    Arrived,
    Asked,
    BusChanged,
    Effect,
    Event,
    GuardCame,
    GuardFailed,
    GuardGone,
    GuardSaid,
    Journaled,
    Loaded,
    Moment,
    Note,
    NotReconfigured,
    Progress,
    Read,
    ReadDone,
    Recalled,
    Reconfigured,
    Reload,
    RunDone,
    Send,
    Slept,
    Stop,
    Tick,
    WakeAt,
)
from vmclient.executions import Ended, Executions
from vmclient.fetches import Fetch, Fetches
from vmclient.guardwords import Protected, Status
from vmclient.lease import Leases, Witness
from vmclient.properties import NEVER, Properties, Property, phase, said
from vmclient.pushing import Pushing

PROTOCOL = 1
SEEN_ANEW = {"vm": ("domains",), "batch": (JOBS, NODES)}  # the properties that commands of a family change
FETCH_MARGIN_S = 5.0  # beyond the longest time-out: waiting for a worker, killing one
LATER_MAX = 1000  # answers that were asked to come with jitter
JOURNAL_KEEP_S = 2 * 86_400.0
FORGET_EVERY_S = 3600.0
GREET_AGAIN_S = 5.0
STOP_WITHIN_S = 8.0  # running commands have so long to end; less than the daemon's own limit (common/daemon.py, 10 s)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a client says of itself and does not change while it lives. `key` is the public key in hex."""

    version: str
    boot_id: str
    started: float  # wall clock
    key: str


class Host:
    """`begun` and `ended` come from the journal: execution -> request that asked, execution -> wall-clock time."""

    def __init__(
        self,
        config: ClientConfig,
        facts: Facts,
        now: Moment,
        *,
        begun: Mapping[str, int] | None = None,
        ended: Mapping[str, float] | None = None,
        epoch: int = 0,
        terms: Terms | None = None,
        book: tuple[str, ...] = (),
        known: tuple[str, ...] | None = None,
    ) -> None:
        """`terms`, `book`, `known`: as the guard's file has them."""
        self.config = config
        self.facts = facts
        self.epoch = epoch
        self.phase = phase(config.name)
        self.properties = Properties(config.name)
        self.properties.configure(_all_properties(config), now)
        terms = terms if config.hypervisor.engine != "none" else None
        self.leases = Leases(config.name, facts.boot_id, now, terms, book, known)
        self.witness = Witness(config.failover, now.mono, epoch)
        self.executions = Executions(config, {name: Ended(at) for name, at in (ended or {}).items()}, leases=self.leases)
        self._fetches = Fetches()
        self._connected = False
        self._stopping = ""
        self._stopped = False
        self._stop_by = NEVER
        self._said_mono = now.mono
        self._beats = 0
        self._reloads: list[int] = []
        self._later: list[tuple[float, Effect]] = []
        self._pushing = Pushing(config.push_bytes_per_s_max, now.mono)
        self._forget_at = now.mono + FORGET_EVERY_S
        self._begun = dict(begun or {})
        self._greeted: dict[str, float] = {}  # manager -> when; only keys we trust come this far, so it stays small

    def step(self, event: Event, now: Moment) -> list[Effect]:
        """All that is to be done because of this event, in order. The last effect may be a WakeAt."""
        effects = _handlers[type(event)](self, event, now)
        effects += self._due(now)
        if self._beat_due() <= now.mono and not any(isinstance(effect, Send) for effect in effects):
            effects.append(Send(ClbControl(verb="alive", values={"epoch": self.epoch})))
        effects = self._through_bus(effects, now)
        wake = min(
            self.properties.next_due(),
            self._fetches.next_due(),
            self.executions.next_due(),
            self._beat_due(),
            self._pushing.at,
            self._forget_at,
            self._stop_by,
            self.leases.next_due(),
            min((at for at, _ in self._later), default=NEVER),
        )
        return [*effects, WakeAt(wake)]

    # --- events -------------------------------------------------------------------------------------------------------------

    def _arrived(self, event: Arrived, now: Moment) -> list[Effect]:
        envelope = event.envelope
        self.epoch = max(self.epoch, envelope.epoch)
        message = envelope.message
        if not isinstance(message, Control) or message.verb != WORDS:  # who asks for our word has not led yet
            self.witness.heard_epoch(envelope.epoch)
        if isinstance(message, GetProp):
            return [self._answer(message.names or tuple(self.properties.by_name), not message.names, envelope.id, now)]
        if isinstance(message, FetchProp):
            return self._fetch(message, envelope, now)
        if isinstance(message, Execute):
            return self.executions.arrive(envelope, now)
        if isinstance(message, Control):
            return controls.obey(self, envelope, now)
        if isinstance(message, ClbControl) and message.verb == "hello" and envelope.role == "manager":
            return self._greet(envelope, now)
        return []

    def _greet(self, envelope: Envelope, now: Moment) -> list[Effect]:
        """A manager has come: it needs to know us. Not more often than that, whatever it answers to our hello."""
        if now.mono - self._greeted.get(envelope.sender, -GREET_AGAIN_S) < GREET_AGAIN_S:
            return []
        self._greeted[envelope.sender] = now.mono
        return [self.hello(in_reply_to=envelope.id)]

    def _bus_changed(self, event: BusChanged, now: Moment) -> list[Effect]:
        if not isinstance(event.what, Opened):
            was, self._connected = self._connected, False
            return [Note(f"bus: connected -> lost ({event.what.reason})", "warning", "bus")] if was else []
        self._connected = True
        for one in self.properties.pushed():
            one.unsent = True
        effects: list[Effect] = [Note(f"bus: connected as {event.what.name}", part="bus"), self.hello()]
        begun, self._begun = self._begun, {}
        return effects + self.executions.interrupted(begun, now)

    def _tick(self, event: Tick, now: Moment) -> list[Effect]:
        return []

    def _read_done(self, event: ReadDone, now: Moment) -> list[Effect]:
        one, sentence = self.properties.done(event, now)
        effects: list[Effect] = []
        if one is not None and sentence:
            effects.append(Note(sentence, "warning" if one.error else "info", "readers"))
        effects += [self._fetched(fetch, now) for fetch in self._fetches.read(event.name)]
        return effects + (self._read_anew(event.name, now) if one is not None and one.again else [])

    def _run_done(self, event: RunDone, now: Moment) -> list[Effect]:
        """What a command on virtual machines or worker nodes did is seen at once, however it ended."""
        family = self.executions.command(event.execution).partition("-")[0]
        anew = [effect for name in SEEN_ANEW.get(family, ()) for effect in self._read_anew(name, now)]
        return anew + self.executions.done(event, now)

    def _read_anew(self, name: str, now: Moment) -> list[Effect]:
        """A reading that begins now, not one that has begun before."""
        one = self.properties.by_name.get(name)
        if one is None:
            return []
        one.again = one.reading
        return [] if one.reading else self._read([one], now)

    def _progress(self, event: Progress, now: Moment) -> list[Effect]:
        return self.executions.progressed(event, now)

    def _journaled(self, event: Journaled, now: Moment) -> list[Effect]:
        return self.executions.journaled(event, now)

    def _recalled(self, event: Recalled, now: Moment) -> list[Effect]:
        return list(self.executions.recalled(event))

    def _loaded(self, event: Loaded, now: Moment) -> list[Effect]:
        self.executions.commands = dict(event.commands)
        effects: list[Effect] = [
            Note(f"plugins: {module} is not used: {why}", "error", "plugins") for module, why in sorted(event.faults.items())
        ]
        for one in self.properties.by_name.values():
            if one.config is not lease.PROPERTY and one.config.command not in event.readers:
                where = f"{one.config.where}: " if one.config.where.file else ""
                effects.append(Note(f"{where}no plugin has the reader {one.config.command}", "error", "plugins"))
        counted = f"{len(event.readers)} readers, {len(event.commands)} commands"
        return [Note(f"plugins: {counted}", part="plugins"), *effects, *self.executions.proceed(now)]

    def _reconfigured(self, event: Reconfigured, now: Moment) -> list[Effect]:
        changed = differences(self.config, event.config)
        self.properties.configure(_all_properties(event.config), now)
        self.witness.configure(event.config.failover)
        self.config = self.executions.config = event.config
        values: dict[str, Value] = {"changed": list(changed)}
        effects: list[Effect] = [Note(f"configuration: reloaded; {'; '.join(changed) or 'nothing changed'}")]
        effects += [Send(ClbControl(verb="reload", values=values), in_reply_to=request) for request in self._reloads if request]
        self._reloads.clear()
        return [*effects, self.hello(), *self.executions.proceed(now)]

    def _not_reconfigured(self, event: NotReconfigured, now: Moment) -> list[Effect]:
        effects: list[Effect] = [
            Note(f"configuration: not reloaded, the running one stays: {f}", "error") for f in event.faults
        ]
        reason = "; ".join(event.faults)[:65_536]
        for request in self._reloads:
            if request:
                effects.append(Send(ClbControl(verb="reload", ok=False, reason=reason), in_reply_to=request))
        self._reloads.clear()
        return effects

    def _asked(self, event: Asked, now: Moment) -> list[Effect]:
        return self.reload(0) if event.what == "reload" else self.stop("asked by a signal", now)

    def _guard_came(self, event: GuardCame, now: Moment) -> list[Effect]:
        return [*self.leases.came(event), *self.executions.guard_came()]

    def _guard_gone(self, event: GuardGone, now: Moment) -> list[Effect]:
        return [*self.leases.gone(event), *self.executions.guard_gone(now)]

    def _guard_failed(self, event: GuardFailed, now: Moment) -> list[Effect]:
        return self.leases.failed(event)

    def _slept(self, event: Slept, now: Moment) -> list[Effect]:
        return self.leases.slept(event.seconds)

    def _guard_said(self, event: GuardSaid, now: Moment) -> list[Effect]:
        if isinstance(event.word, Protected):
            return self.executions.protected(event.word, now)
        return self.leases.said(event.word, now.mono) if isinstance(event.word, Status) else []

    # --- what the verbs of CONTROL use ------------------------------------------------------------------------------------

    def hello(self, in_reply_to: int = 0) -> Send:
        """Who we are; the manager's first and only way to learn our groups and key."""
        values: dict[str, Value] = {
            "groups": list(self.config.groups),
            "version": self.facts.version,
            "boot_id": self.facts.boot_id,
            "started": self.facts.started,
            "key": self.facts.key,
            "commands": list(self.config.allow),
            "epoch": self.epoch,
            "heartbeat_s": self.config.heartbeat_s,
            "protocol": PROTOCOL,
            "hypervisor": self.config.hypervisor.engine,
        }
        return Send(ClbControl(verb="hello", values=values), in_reply_to=in_reply_to)

    def reload(self, request: int) -> list[Effect]:
        """One reading of the files serves all who asked meanwhile; `request` 0 is SIGHUP."""
        self._reloads.append(request)
        return [Reload()] if len(self._reloads) == 1 else []

    def stop(self, why: str, now: Moment) -> list[Effect]:
        """Nothing new begins; Stop comes when the commands that run have ended."""
        if self._stopping:
            return []
        self._stopping = why
        self._stop_by = now.mono + STOP_WITHIN_S
        self.executions.stopping = True
        running = f", waiting for {self.executions.active} running commands" if self.executions.active else ""
        book = ", ".join(self.leases.book)
        stays = f"; protected VMs run on, guarded, as long as the lease lasts: {book}" if book else ""
        return [Note(f"stopping: {why}{running}{stays}"), *self.executions.drop_queued("the client is stopping", now)]

    def answer_later(self, effects: list[Effect], delay_s: float, now: Moment) -> list[Effect]:
        if delay_s <= 0 or len(self._later) >= LATER_MAX:
            return effects
        self._later += [(now.mono + delay_s, effect) for effect in effects]
        return []

    # --- reading and answering ----------------------------------------------------------------------------------------------

    def _fetch(self, message: FetchProp, envelope: Envelope, now: Moment) -> list[Effect]:
        names = message.names or tuple(self.properties.by_name)
        known = [self.properties.by_name[name] for name in dict.fromkeys(names) if name in self.properties.by_name]
        if not known:
            return [self._answer(names, not message.names, envelope.id, now)]
        if self._fetches.full:
            errors = {one.config.name: "too many requests wait for readings" for one in known}
            return [Send(PropErr(errors=errors), in_reply_to=envelope.id)]
        deadline = now.mono + max(one.config.timeout_s for one in known) + FETCH_MARGIN_S
        waiting = {one.config.name for one in known}
        self._fetches.add(Fetch(envelope.id, names, not message.names, deadline, waiting))
        return self._read([one for one in known if not one.reading], now)

    def _read(self, those: Iterable[Property], now: Moment) -> list[Effect]:
        effects: list[Effect] = []
        for one in those:
            one.reading = True
            if one.config is lease.PROPERTY:
                effects += self._read_done(ReadDone(one.config.name, self.leases.shown(now.mono), "", "", now.mono), now)
            else:
                effects.append(Read(one.config))
        return effects

    def _fetched(self, fetch: Fetch, now: Moment) -> Send:
        return self._answer(fetch.names, fetch.complete, fetch.request, now, fetch.late)

    def _answer(
        self, names: tuple[str, ...], complete: bool, request: int, now: Moment, late: set[str] | frozenset[str] = frozenset()
    ) -> Send:
        """PROPVAL or PROPERR for one name, PROPLIST for several or all."""
        readings = tuple(self._reading(name, now, late) for name in names)
        if len(names) == 1 and not complete:
            return Send(said(readings[0]), in_reply_to=request)
        return Send(PropList(readings=readings, complete=complete), in_reply_to=request)

    def _reading(self, name: str, now: Moment, late: set[str] | frozenset[str]) -> Reading:
        one = self.properties.by_name.get(name)
        if one is None:
            return Reading(name=name, error="no such property")
        return one.reading_at(now, "not read in time" if name in late else "")

    # --- what time brings -------------------------------------------------------------------------------------------------

    def _due(self, now: Moment) -> list[Effect]:
        effects: list[Effect] = []
        if not self._stopping:
            effects += self._read(self.properties.due(now), now)
        effects += self.leases.due(now.mono, self._connected)
        effects += self.executions.lease_over() if self.leases.is_over(now.mono) else []
        effects += [self._fetched(fetch, now) for fetch in self._fetches.expired(now.mono)]
        effects += [effect for at, effect in self._later if at <= now.mono]
        self._later = [(at, effect) for at, effect in self._later if at > now.mono]
        if self.executions.next_due() <= now.mono:
            effects += self.executions.proceed(now) + self.executions.tell(now)
        if now.mono >= self._forget_at:
            self._forget_at = now.mono + FORGET_EVERY_S
            self.executions.forget(now.wall - JOURNAL_KEEP_S)
        self._pushing.rate = float(self.config.push_bytes_per_s_max)
        effects += self._pushing.due(self.properties, now) if self._connected else self._pushing.rest()
        if self._stopping and not self._stopped and (not self.executions.active or now.mono >= self._stop_by):
            self._stopped, self._stop_by = True, NEVER
            if self.executions.active:
                effects.append(Note(f"{self.executions.active} running commands are interrupted", "warning", "runner"))
            effects.append(Stop(self._stopping))
        return effects

    def _beat_due(self) -> float:
        """Up to a tenth earlier than needed, so that clients that started at once drift apart."""
        if not self._connected:
            return NEVER
        return self._said_mono + self.config.heartbeat_s * (1.0 - 0.1 * phase(f"{self.config.name}{self._beats}"))

    def _through_bus(self, effects: list[Effect], now: Moment) -> list[Effect]:
        kept: list[Effect] = []
        for effect in effects:
            if not isinstance(effect, Send):
                kept.append(effect)
            elif self._connected:
                kept.append(effect)
                self._said_mono = now.mono
                self._beats += 1
            elif effect.in_reply_to and getattr(effect.message, "verb", "") != "progress":
                what = f"{protocol.kind(effect.message)} to request {effect.in_reply_to}"
                kept.append(Note(f"answer dropped, the bus is down: {what}", "warning", "bus"))
        return kept


def _all_properties(config: ClientConfig) -> tuple[PropertyConfig, ...]:
    """Those of the files, and our own."""
    return config.properties if config.hypervisor.engine == "none" else (*config.properties, lease.PROPERTY)


_handlers: dict[type, Callable[[Host, Any, Moment], list[Effect]]] = {
    Arrived: Host._arrived,
    BusChanged: Host._bus_changed,
    Tick: Host._tick,
    ReadDone: Host._read_done,
    RunDone: Host._run_done,
    Progress: Host._progress,
    Journaled: Host._journaled,
    Recalled: Host._recalled,
    Loaded: Host._loaded,
    Reconfigured: Host._reconfigured,
    NotReconfigured: Host._not_reconfigured,
    Asked: Host._asked,
    GuardCame: Host._guard_came,
    GuardGone: Host._guard_gone,
    GuardFailed: Host._guard_failed,
    GuardSaid: Host._guard_said,
    Slept: Host._slept,
}
