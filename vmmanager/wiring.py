"""The manager's threads and queues, built and joined. Decides nothing; __main__ gives it a configuration, a bus and a life."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from common import keys, logs
from common.bus.contract import Bus
from common.config.load import parse_triggers
from common.config.model import ConfigurationError, ManagerConfig
from common.envelope import Role, Sealer
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS
from vmmanager import events
from vmmanager.claimfiles import ClaimFiles
from vmmanager.coderunner import CodeRunner, Outcome, decoded, encoded
from vmmanager.control import Control
from vmmanager.events import CodeDone, Event, KeysFound, Loaded, Measured, NotReconfigured, Recalled, Reconfigured, Stored
from vmmanager.fenceagents import FenceAgents
from vmmanager.mailbox import Mailbox
from vmmanager.manager import Manager
from vmmanager.store import Store
from vmmanager.threads import INBOX_BYTES_MAX, INBOX_MAX, Hands, Listener, Sender, TriggerWatch, moment, remembered
from vmmanager.triggers.guard import TimeLimit
from vmmanager.triggers.trial import SampleFault, ending_at, parse_samples, try_out

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
TRY_S = 30.0  # `vmctl trigger test` may take so long
STORE_WAIT_S = 2.0  # at the start: a store that opens within this has told its rows before the first message is looked at


class Threads(Protocol):
    """Starts a thread under a name; its death by exception ends the daemon (common.daemon.Life)."""

    def __call__(self, name: str, target: Callable[[], None]) -> threading.Thread: ...


class Daemon:
    """One manager. `reread` reads the configuration again and raises ConfigurationError."""

    def __init__(self, config: ManagerConfig, bus: Bus, reread: Callable[[], ManagerConfig]) -> None:
        self._config = config
        self._bus = bus
        self._reread = reread
        self._state: Path = config.paths.state
        key = keys.own_key(self._state, config.name)
        if config.paths.local_keys:
            keys.publish_local(config.paths.local_keys, config.name, "manager", key)
        raw = keys.raw_public(key)
        self._keyring = keys.Keyring()
        self._keyring.set(config.name, raw, "manager", "accepted")
        self._inbox: Mailbox[Event] = Mailbox("inbox", INBOX_MAX, INBOX_BYTES_MAX)
        self._errands: Mailbox[Callable[[], None]] = Mailbox("errands", 100)
        self._store = Store(self._state, config.events_keep, self._from_store)
        self._limit = TimeLimit()
        self._manager = Manager(config, raw.hex(), moment(), self._limit)
        self._listener = Listener(bus, config.name, self._keyring, self._inbox, self._persist)
        self._sender = Sender(bus, Sealer(config.name, key), self._inbox)
        self._code = CodeRunner()
        self._fences = FenceAgents(self._inbox.put_anyhow)
        self._storage = ClaimFiles(self._inbox.put_anyhow, time.monotonic)
        self._control = Control(config.paths.run, config.control_group, self._asked)
        hands = Hands(
            {
                events.Send: self._send,
                events.Reply: self._reply,
                events.Note: _note,
                events.Record: self._tell_store,
                events.Persist: self._persist,
                events.FindEvents: self._tell_store,
                events.RunCode: self._run_code,
                events.TryTrigger: self._try_trigger,
                events.Notify: self._notify,
                events.Reload: self._reload,
                events.Trust: self._trust,
                events.LookForKeys: self._look_for_keys,
                events.RunFence: self._fences.run,
                events.LookAtStorage: self._storage.do,
                events.WriteClaim: self._storage.do,
            }
        )
        self._watch = TriggerWatch(self._manager, self._inbox, hands, self._measure)
        self._loaded = False
        self._threads: list[threading.Thread] = []

    # --- life -----------------------------------------------------------------------------------------------------------

    def start(self, thread: Threads, alive: Callable[[], None], alive_every_s: float) -> None:
        """Starts all threads; returns when the first message may come."""
        thread("Store", self._store.run)
        waited_until = time.monotonic() + STORE_WAIT_S
        while not self._loaded and not self._store.error and time.monotonic() < waited_until:
            time.sleep(0.005)
        self._bus.join(GROUP_MANAGERS)
        self._bus.join(GROUP_CLIENTS)
        targets: dict[str, Callable[[], None]] = {
            "TriggerWatch": lambda: self._watch.run(alive, alive_every_s),
            "Sender": self._sender.run,
            "CodeRunner": self._code.run,
            "Errands": self._run_errands,
            "Listener": self._listener.run,
            "Control": self._control.run,
        }
        self._threads = [thread(name, target) for name, target in targets.items()]

    def reload(self) -> None:
        """SIGHUP."""
        self._reload(events.Reload(0))

    def stop(self) -> None:
        """In the order of the flow: no more in, what is decided goes out, and when all have ended the store writes the rest."""
        self._control.stop()
        self._code.stop()
        self._errands.close()
        self._inbox.close()
        self._sender.outbox.close()
        self._bus.close()
        for thread in self._threads:
            thread.join()  # the life of the daemon ends us when this takes too long
        self._limit.close()
        self._store.inbox.close()

    # --- effects --------------------------------------------------------------------------------------------------------

    def _send(self, send: events.Send) -> None:
        if not self._sender.outbox.put(send):
            self._inbox.put_anyhow(events.Unsent(send.id, "too much waits to be sent already"))

    def _reply(self, reply: events.Reply) -> None:
        self._control.replies.put(reply)

    def _tell_store(self, job: events.Record | events.FindEvents) -> None:
        if not self._store.inbox.put(job) and isinstance(job, events.FindEvents):
            self._inbox.put_anyhow(Recalled(job.call, (), "too much waits for the disk already"))

    def _persist(self, persist: events.Persist) -> None:
        if not self._store.inbox.put(persist) and persist.token:
            self._inbox.put_anyhow(Stored(persist.token, "too much waits for the disk already"))

    def _run_code(self, run: events.RunCode) -> None:
        manager, now = self._manager, moment()

        def code() -> bytes:
            return encoded(manager.engine.run_code(run, manager.context.farm, now))

        def done(outcome: Outcome) -> None:
            self._inbox.put_anyhow(_code_done(run.firing, outcome))

        self._code.fork(code, run.budget_s, done)

    def _try_trigger(self, trial: events.TryTrigger) -> None:
        manager, now = self._manager, moment()

        def code() -> bytes:
            return encoded(_try(trial, manager, now))

        def done(outcome: Outcome) -> None:
            self._inbox.put_anyhow(_tried(trial.call, outcome))

        self._code.fork(code, TRY_S, done)

    def _notify(self, notify: events.Notify) -> None:
        argv = self._manager.context.config.notify
        if not argv:
            _note(events.Note(f"notify: {notify.text} ({notify.severity}; no program is configured)", "warning", "notify"))
            return
        told = {
            "text": notify.text, "severity": notify.severity, "trigger": notify.trigger, "subject": notify.subject,
            "manager": self._config.name, "at": time.time(),
        }  # fmt: skip
        if not self._code.notices.put((argv, msgspec.json.encode(told) + b"\n")):
            _note(events.Note(f"notify: dropped, too many wait: {notify.text}", "error", "notify"))

    def _reload(self, reload: events.Reload) -> None:
        def read() -> None:
            try:
                config = self._reread()
            except ConfigurationError as bad:
                self._inbox.put_anyhow(NotReconfigured(tuple(map(str, bad.faults)), reload.call))
            else:
                self._store.events_keep = config.events_keep
                self._inbox.put_anyhow(Reconfigured(config, reload.call))

        if not self._errands.put(read):
            self._inbox.put_anyhow(NotReconfigured(("too many reloads wait already",), reload.call))

    def _trust(self, trust: events.Trust) -> None:
        if trust.state is None:
            self._keyring.remove(trust.name)
            return
        try:
            self._keyring.set(trust.name, trust.key, trust.role, trust.state)
        except keys.KeyFault as fault:
            logs.part("keys").error("%s", fault)

    def _look_for_keys(self, look: events.LookForKeys) -> None:
        self._errands.put(self._look)

    def _look(self) -> None:
        found: list[tuple[str, bytes, Role]] = []
        refused: list[str] = []
        try:
            found += [(name, raw, "manager") for name, raw in keys.load_managers(self._state / "managers").items()]
        except keys.KeyFault as fault:
            refused += str(fault).splitlines()
        if self._config.paths.local_keys:
            local = keys.scan_local(self._config.paths.local_keys)
            found += local.accepted
            refused += local.refused
        self._inbox.put_anyhow(KeysFound(tuple(found), tuple(refused)))

    def _run_errands(self) -> None:
        """What may take long: reading files."""
        while True:
            errands = self._errands.take(None)
            for errand in errands:
                errand()
            if not errands and self._errands.closed:
                return

    # --- events from our own threads --------------------------------------------------------------------------------------

    def _from_store(self, event: Loaded | Stored | Recalled) -> None:
        if isinstance(event, Loaded):
            self._listener.remember(*remembered(event))
            self._loaded = True
        self._inbox.put_anyhow(event)

    def _asked(self, asked: events.Asked | events.HungUp) -> bool:
        if isinstance(asked, events.HungUp):
            self._inbox.put_anyhow(asked)
            return True
        return self._inbox.put(asked)

    def _measure(self) -> Measured:
        boxes = (self._inbox, self._sender.outbox, self._store.inbox, self._control.replies, self._code.notices, self._errands)
        return Measured(
            dict(self._listener.dropped),
            {box.name: (len(box), box.items_max) for box in boxes},
            self._store.status(),
            self._listener.received_bytes,
            self._sender.sent_bytes,
        )


def _note(note: events.Note) -> None:
    logs.part(note.part).log(LEVELS[note.level], "%s", note.text)


def _code_done(firing: str, outcome: Outcome) -> CodeDone:
    error = outcome.error
    if outcome.result and not error:
        try:
            return decoded(outcome.result, CodeDone)
        except ValueError as fault:
            error = str(fault)
    return CodeDone(firing, (), (), error, outcome.over_budget, outcome.elapsed_s)


def _try(trial: events.TryTrigger, manager: Manager, now: events.Moment) -> events.Tried:
    """In the forked child: the operator's code runs here."""
    name, source, over = trial.args.get("name"), trial.args.get("source"), trial.args.get("history")
    written = trial.args.get("samples")
    try:
        config = manager.context.config
        triggers = (
            parse_triggers(source, str(trial.args.get("file") or "source")) if isinstance(source, str) else config.triggers
        )
        rows = try_out(
            triggers,
            manager.context.farm,
            config,
            now,
            name=name if isinstance(name, str) else None,
            history_s=float(over) if isinstance(over, (int, float)) else None,
            samples=ending_at(now.wall, parse_samples(written)) if isinstance(written, str) else None,
        )
    except SampleFault as bad_line:
        return events.Tried(trial.call, (), f"{trial.args.get('samples_file') or 'samples'}: {bad_line}", "bad-config")
    except ConfigurationError as bad:
        return events.Tried(trial.call, (), "; ".join(map(str, bad.faults)), "bad-config")
    if not rows:
        return events.Tried(trial.call, (), f"no trigger is called {name}", "no-such")
    return events.Tried(trial.call, tuple(rows))


def _tried(call: int, outcome: Outcome) -> events.Tried:
    error = outcome.error or (f"it took more than {TRY_S:.0f} s" if outcome.over_budget else "")
    if outcome.result and not error:
        try:
            return decoded(outcome.result, events.Tried)
        except ValueError as fault:
            error = str(fault)
    return events.Tried(call, (), error, "refused")
