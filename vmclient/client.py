"""The client daemon wired together: files, keys, bus and threads around the core, which runs in the main thread.

run(RunOptions("vmclient", ...), Client(config, reload, make_bus).serve)
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from common import VERSION, logs
from common.bus.contract import Bus
from common.config.model import ClientConfig, ConfigurationError
from common.daemon import CannotStart, Life
from common.envelope import Opener, Sealer
from common.keys import KeyFault, own_key, publish_local, raw_public
from common.logs import LogFault
from common.protocol import GROUP_CLIENTS
from vmclient import guard_files, seen
from vmclient.events import (
    Abort,
    Asked,
    Effect,
    Event,
    Journal,
    Note,
    NotReconfigured,
    Read,
    Recall,
    Reconfigured,
    Reload,
    Run,
    Send,
    Slept,
    StartGuard,
    Stop,
    Tick,
    ToGuard,
    WakeAt,
)
from vmclient.guard_setup import GuardSetup
from vmclient.guardlink import GuardLink
from vmclient.host import Facts, Host
from vmclient.journal import Journal as JournalFile
from vmclient.journal import JournalFault
from vmclient.setups import READER_DATA_BYTES, setup_of
from vmclient.sleep import Sleep
from vmclient.threads import Finish, IFaceDaemon, Inbox, ReaderDaemon, Reconfigure, Runner, moment
from vmclient.trust import Trust

WAIT_S_MAX = 3600.0  # the core looks at its clock at least this often
MakeBus = Callable[[ClientConfig], Bus]
LoadConfig = Callable[[], ClientConfig]
GroupName = Callable[[str], str]


class Client:
    """One client in this process. `reload` reads the files again and raises ConfigurationError."""

    def __init__(self, config: ClientConfig, reload: LoadConfig, make_bus: MakeBus, group_name: GroupName) -> None:
        self._config = config
        self._reload = reload
        self._make_bus = make_bus
        self._group_name = group_name
        self._inbox = Inbox()
        self._own_events: deque[Event] = deque()
        self._sleep = Sleep()

    def serve(self, life: Life) -> int:
        """The body of the daemon; returns when it is to end. Raises CannotStart."""
        self._life = life
        self._prepare()
        life.on_reload(lambda: self._inbox.put(Asked("reload")))
        life.thread("IFaceDaemon", self._face.receive)
        out = life.thread("IFaceDaemon-out", self._face.transmit)
        life.thread("ReaderDaemon", self._readers.run)
        life.thread("Runner", self._runner.run)
        life.thread("guard", self._guard.run)
        life.thread("stop", self._await_stop)
        life.ready(f"{len(self._config.properties)} properties, bus {self._config.bus.daemon}")
        try:
            self._loop()
        finally:
            self._readers.mailbox.put(Finish(), beyond=True)
            self._runner.mailbox.put(Finish(), beyond=True)
            self._guard.finish()
            self._face.finish()
            out.join()
            self._face.bus.close()
            life.stop("the core has ended")
        return 0

    def _prepare(self) -> None:
        config, now = self._config, moment()
        state = config.paths.state
        try:
            key = own_key(state, config.name)
            trust = Trust(config, say("keys"))
            if config.paths.local_keys is not None:
                publish_local(config.paths.local_keys, config.name, "client", key)
            journal = JournalFile(state / "executions", now.wall)
            remembered = seen.load(state / "seen")
        except (KeyFault, JournalFault, seen.SeenFault) as fault:
            raise CannotStart(str(fault)) from None
        if journal.cut_bytes:
            say("runner")(
                f"{state / 'executions'}: {journal.cut_bytes} bytes at its end were not whole and are cut off", "warning"
            )
        kept = self._kept_book(state)
        facts = Facts(VERSION, boot_id(), now.wall, raw_public(key).hex())
        self._host = Host(
            config,
            facts,
            now,
            begun=journal.begun,
            ended=journal.ended,
            epoch=remembered.epoch,
            terms=kept.terms,
            book=kept.names,
            known=kept.known,
        )
        self._guard = GuardLink(guard_setup(config, facts.boot_id), os.environ, self._inbox)
        bus = self._make_bus(config)
        for group in self._groups(config):
            bus.join(group)
        self._trust = trust
        opener = Opener(self._addresses(config), trust.ring, epoch=remembered.epoch, floors=remembered.floors)
        sealer = Sealer(config.name, key, remembered.sent)
        self._face = IFaceDaemon(bus, opener, sealer, trust, state / "seen", self._inbox, remembered)
        self._readers = ReaderDaemon(config, self._inbox, os.environ)
        self._runner = Runner(config, self._inbox, journal, os.environ)
        for warning in config.warnings:
            say("client")(str(warning), "warning")

    @staticmethod
    def _kept_book(state: Path) -> guard_files.Kept:
        """What the guard has noted; a damaged book is the guard's to deal with."""
        try:
            return guard_files.load(state)
        except guard_files.BookFault as fault:
            say("lease")(f"the book of protected VMs is left to the guard: {fault}", "warning")
            return guard_files.Kept()

    def _loop(self) -> None:
        wake = moment().mono
        while True:
            event = self._own_events.popleft() if self._own_events else self._next(wake)
            self._life.alive()
            if event is None:
                continue
            wake = math.inf
            for effect in self._host.step(event, moment()):
                if isinstance(effect, WakeAt):
                    wake = effect.mono
                elif isinstance(effect, Stop):
                    return
                else:
                    self._perform(effect)

    def _next(self, wake: float) -> Event | None:
        """The next event; Tick when it is time; None when only the watchdog wants to be fed."""
        wait_s = max(0.0, min(wake - time.monotonic(), self._life.alive_every_s, WAIT_S_MAX))
        event = self._inbox.get(wait_s)
        if slept_s := self._sleep.slept_s():
            self._own_events += [Slept(slept_s)] + ([event] if event is not None else [])
            return self._own_events.popleft()
        if event is not None:
            return event
        return Tick() if time.monotonic() >= wake else None

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            self._face.put(effect)
        elif isinstance(effect, Note):
            say(effect.part)(effect.text, effect.level)
        elif isinstance(effect, Read):
            self._readers.mailbox.put(effect, beyond=True)  # as many as there are properties, at most
        elif isinstance(effect, (Run, Abort, Journal, Recall)):
            self._runner.mailbox.put(effect, beyond=True)  # bounded by `parallel` and by the requests that were let in
        elif isinstance(effect, ToGuard):
            self._guard.put(effect.word)
        elif isinstance(effect, StartGuard):
            self._guard.want(anew=effect.anew)
        elif isinstance(effect, Reload):
            self._read_again()

    def _read_again(self) -> None:
        try:
            config = self._reload()
            self._trust.configure(config)
            logs.set_up(config.log, "vmclient")
        except ConfigurationError as fault:
            self._own_events.append(NotReconfigured(tuple(map(str, fault.faults))))
            return
        except (KeyFault, LogFault) as key_fault:
            self._own_events.append(NotReconfigured(tuple(str(key_fault).splitlines())))
            return
        old, self._config = self._config, config
        for text in needs_restart(old, config):
            say("client")(text, "warning")
        joined, wanted = self._groups(old), self._groups(config)
        for group in sorted(set(wanted) - set(joined)):
            self._face.bus.join(group)
        for group in sorted(set(joined) - set(wanted)):
            self._face.bus.leave(group)
        self._face.listen_to(self._addresses(config))
        setup = setup_of(config, READER_DATA_BYTES)
        self._readers.mailbox.put(Reconfigure(setup, config.parallel), beyond=True)
        self._runner.mailbox.put(Reconfigure(setup_of(config, 0), config.parallel), beyond=True)
        self._guard.reconfigure(guard_setup(config, boot_id()))
        self._own_events.append(Reconfigured(config))

    def _groups(self, config: ClientConfig) -> list[str]:
        return [GROUP_CLIENTS, *(self._group_name(group) for group in config.groups)]

    def _addresses(self, config: ClientConfig) -> frozenset[str]:
        """What a manager may sign a message for: our name, and groups by their configured and their bus name."""
        return frozenset((self._config.name, *config.groups, *self._groups(config)))

    def _await_stop(self) -> None:
        self._life.stopping.wait()
        self._inbox.put(Asked("stop"))


def needs_restart(old: ClientConfig, new: ClientConfig) -> list[str]:
    """What a reload does not change in a running daemon, as sentences."""
    what = {"name": (old.name, new.name), "[bus]": (old.bus, new.bus), "[paths] state": (old.paths.state, new.paths.state)}
    return [f"{key} has changed; it takes effect when vmclient is restarted" for key, (a, b) in what.items() if a != b]


def guard_setup(config: ClientConfig, boot: str) -> GuardSetup:
    failover = config.failover
    return GuardSetup(
        config.name, boot, config.paths.state, VERSION, failover.watchdog, failover.storage, config.hypervisor, config.log
    )


def say(part: str) -> Callable[[str, str], None]:
    """Logs a sentence as that part's."""
    log = logs.part(part)
    return lambda text, level: log.log(getattr(logging, level.upper()), "%s", text)


def boot_id() -> str:
    """Changes at each boot of the machine; random(4)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
