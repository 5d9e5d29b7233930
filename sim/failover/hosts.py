"""A host: its machine, the client and the guard on it with their real cores, and what they keep on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import vmclient.events as events
import vmclient.guard_events as guarding
from common.bus.contract import Closed, Opened
from common.config.model import ClientConfig, GuardConfig, HypervisorConfig, PropertyConfig, Where
from common.core import Moment
from common.envelope import Opener, Rejected
from common.leases import Terms
from common.protocol import GROUP_CLIENTS
from sim.failover.bus import Item, Letter, Link
from sim.failover.clocks import HostClock
from sim.failover.letters import Writer
from sim.failover.machine import COMMANDS, LIST_S, MIB, Machine
from sim.failover.process import Process
from vmclient.guard_book import Book
from vmclient.guard_core import Guard
from vmclient.host import Facts, Host

if TYPE_CHECKING:
    from sim.failover.world import World

DISK_S = 0.005
READ_S = 0.05
WORD_S = 0.001  # between client and guard
CLIENT_START_S = 1.0  # from the start of its process to its first word
GUARD_START_S = 0.3
QUIET = ("runner", "readers", "plugins", "bus", "keys")
KEY = "00" * 32
PROPERTIES = (
    PropertyConfig("domains", "domains", Where("sim"), ticks=10.0, push="always"),
    PropertyConfig("hypervisor", "hypervisor", Where("sim"), ticks=10.0, push="on_change"),
)


class ClientDaemon(Process):
    """`seen`, `journal`: on its disk."""

    def __init__(self, box: HostBox) -> None:
        super().__init__(box.world.timeline, box.clock, box.name)
        self.box = box
        self.link = Link(box.name, self._heard, (GROUP_CLIENTS,), watches=False)
        self.core: Host | None = None
        self._opener = Opener((), _NoKeys())
        self._writer = Writer(box.name, "client")
        self._journal: dict[str, events.Journal] = {}
        self._floors: dict[str, int] = {}
        self._epoch = 0
        self._aborted: set[str] = set()
        self.disk_error = ""

    def start(self) -> None:
        """Its process has come up."""
        box, now = self.box, self.clock.now
        if self.alive or not box.machine.up:
            return
        self.begin()
        self._opener = Opener((self.name, GROUP_CLIENTS), _NoKeys(), epoch=self._epoch, floors=self._floors)
        facts = Facts("sim", f"{self.name}-boot{box.machine.boots}", now.wall, KEY)
        begun = {key: noted.in_reply_to for key, noted in self._journal.items() if noted.answer is None}
        ended = {key: noted.at for key, noted in self._journal.items() if noted.answer is not None}
        kept = box.disk
        self.core = Host(
            box.config,
            facts,
            now,
            begun=begun,
            ended=ended,
            epoch=self._epoch,
            terms=kept.terms,
            book=tuple(sorted(kept.names)),
        )
        self.put(events.Loaded(("domains", "hypervisor"), dict.fromkeys(COMMANDS, "vm")))
        box.world.bus.connect(self.link)

    def kill(self, *, by_power: bool = False) -> None:
        if not self.alive:
            return
        super().kill()
        self.core = None
        self._floors = self._opener.floors()
        if by_power:
            self.box.world.bus.vanish(self.link)
        else:
            self.box.world.bus.disconnect(self.link)
        self.box.guard.client_gone()

    def step(self, event: Any, now: Moment) -> list[Any]:
        assert self.core is not None
        return self.core.step(event, now)

    def _heard(self, item: Item | Letter) -> None:
        self.put(item)

    def put(self, event: Any) -> None:
        """What the face does before the core sees it."""
        super().put(events.BusChanged(event) if type(event) in (Opened, Closed) else event)

    def _take(self, event: Any) -> None:
        if type(event) is Letter:
            try:
                envelope = self._opener.admit(event.envelope, self.clock.now.wall)
            except Rejected as rejected:
                if rejected.reason == "old-epoch":
                    self.box.world.log(self.name, f"refuses what {rejected.sender} says: {rejected}")
                return
            self._epoch = self._opener.epoch  # on disk before anything else is done
            event = events.Arrived(envelope)
        super()._take(event)

    def perform(self, effect: Any) -> None:
        _client_does[type(effect)](self, effect)

    def _send(self, send: events.Send) -> None:
        envelope = self._writer.write(send.message, send.to, self.clock.now.wall, send.ttl_s, send.in_reply_to, 0, 0)
        self.box.world.bus.send(self.link, send.to, envelope)

    def _read(self, read: events.Read) -> None:
        """The value is of the moment at which it was read."""
        machine, started, name, life = self.box.machine, self.clock.mono, read.property.name, self.life

        def done() -> None:
            if self.life == life:
                value = machine.listed() if name == "domains" else machine.info()
                self.put_after(READ_S / 2, events.ReadDone(name, value, "", "", started))

        machine.after(READ_S / 2, done)

    def _run(self, run: events.Run) -> None:
        life, began, machine = self.life, self.timeline.now, self.box.machine
        boots = machine.boots

        def done(error: str, result: Any) -> None:
            kind = "error" if error else "ok"
            if self.life == life and run.execution not in self._aborted:
                self.put(events.RunDone(run.execution, kind, error, result, "", self.timeline.now - began))  # type: ignore[arg-type]

        def goes_on() -> bool:
            """A worker dies with its client, though not at once."""
            if machine.boots != boots or run.execution in self._aborted:
                return False
            return self.life == life and (self.alive or self.timeline.now < self.box.workers_die_at)

        machine.run(run.command, run.parameters, done, goes_on)

    def _abort(self, abort: events.Abort) -> None:
        self._aborted.add(abort.execution)
        self.put_after(0.05, events.RunDone(abort.execution, "error", abort.why, None, "", 0.0))

    def _journal_it(self, journal: events.Journal) -> None:
        if not self.disk_error:
            self._journal[journal.execution] = journal
        self.put_after(DISK_S, events.Journaled(journal.execution, self.disk_error))

    def _recall(self, recall: events.Recall) -> None:
        noted = self._journal.get(recall.execution)
        self.put_after(DISK_S, events.Recalled(recall.execution, noted.answer if noted else None, recall.in_reply_to))

    def _note(self, note: events.Note) -> None:
        if note.part not in QUIET and note.level != "debug":
            self.box.world.log(self.name, note.text)

    def _start_guard(self, start: events.StartGuard) -> None:
        if start.anew:
            self.box.guard.kill()  # it is followed by another
            return
        self.box.guard.wanted()

    def _to_guard(self, say: events.ToGuard) -> None:
        self.box.guard.told(say.word)

    def _stop(self, stop: events.Stop) -> None:
        self.box.world.log(self.name, f"the client ends ({stop.reason})")
        self.kill()

    def _nothing(self, effect: Any) -> None:
        """Files that a simulated host does not have."""


class GuardDaemon(Process):
    """The guard beside the client, started by it, outliving it."""

    def __init__(self, box: HostBox) -> None:
        super().__init__(box.world.timeline, box.clock, f"{box.name} guard")
        self.box = box
        self.core: Guard | None = None
        self._wanted = False
        self._connected = False
        self.channel = 0  # rises with each connection

    def wanted(self) -> None:
        """The client wants one: it connects, or starts it."""
        if self._connected:
            return
        if self.alive:
            self._connect()
        else:
            self.timeline.after(GUARD_START_S, self._start)

    def _start(self) -> None:
        box = self.box
        if not box.machine.up or not box.client.alive:
            return
        if box.machine.hung:  # the client tries until it has one
            self.timeline.after(GUARD_START_S, self._start)
            return
        if not self.alive:
            self.begin()
            now, kept = self.clock.mono, box.disk
            same_boot = kept.boots in (0, box.machine.boots)
            until = kept.until if same_boot else 0.0
            book = Book(kept.names, kept.known, now) if same_boot else Book((), sorted({*kept.names, *kept.known}), now)
            self.core = Guard(book, kept.terms, now, until=until, storage=box.world.has_storage)
            self.put(guarding.Tick())
        self._connect()

    def _connect(self) -> None:
        if not self.alive or not self.box.client.alive or self._connected:
            return
        self._connected = True
        self.channel += 1
        self.put(guarding.Came())
        self.box.client.put_after(WORD_S, events.GuardCame())

    def told(self, word: Any) -> None:
        if self._connected and self.alive:
            channel = self.channel
            self.timeline.after(WORD_S, lambda: self.put(guarding.Told(word)) if channel == self.channel else None)

    def client_gone(self) -> None:
        if self._connected:
            self._connected = False
            self.channel += 1
            self.put(guarding.Gone())

    def kill(self) -> None:
        if not self.alive:
            return
        super().kill()
        self.core = None
        if self._connected:
            self._connected = False
            self.channel += 1
            self.box.client.put_after(WORD_S, events.GuardGone())
            self.timeline.after(GUARD_START_S, self._start)

    def step(self, event: Any, now: Moment) -> list[Any]:
        assert self.core is not None
        return self.core.step(event, now.mono)

    def perform(self, effect: Any) -> None:
        _guard_does[type(effect)](self, effect)

    def _save(self, save: guarding.Save) -> None:
        disk = self.box.disk
        if not self.box.disk_error:
            disk.names, disk.known, disk.terms = save.names, save.known, save.terms
        self.put_after(DISK_S, guarding.Saved(save.names, self.box.disk_error))

    def _remember(self, remember: guarding.Remember) -> None:
        self.box.disk.until, self.box.disk.boots = remember.until, self.box.machine.boots

    def _probe(self, probe: guarding.Probe) -> None:
        self._watched(self._time(probe.timeout_s))

    def _time(self, wanted_s: float) -> float:
        """What the device can be set to; 0: there is none."""
        device = self.box.machine.watchdog
        return min(max(wanted_s, device.least_s), device.most_s)

    def _arm(self, arm: guarding.Arm) -> None:
        if timeout_s := self._time(arm.timeout_s):
            self.box.machine.arm(timeout_s)
        self._watched(timeout_s)

    def _watched(self, timeout_s: float) -> None:
        armed = self.box.machine.watchdog.armed
        self.put(guarding.Watched("sim" if timeout_s else "this host has none", timeout_s, armed))

    def _feed(self, feed: guarding.Feed) -> None:
        if self.clock.mono < feed.until:  # safety: what comes too late gives no time
            self.box.machine.feed()

    def _release(self, release: guarding.Release) -> None:
        self.box.machine.release()
        self._watched(self._time(self.box.machine.watchdog.timeout_s))

    def _list(self, ask: guarding.List) -> None:
        machine, began, life = self.box.machine, self.clock.mono, self.life

        def done() -> None:
            ours = tuple(
                guarding.Seen(str(each["name"]), vm)
                for vm, each in zip(sorted(machine.domains), machine.listed(), strict=True)
                if isinstance(each, dict) and each["ours"]
            )
            if self.life == life:
                self.put_after(LIST_S / 2, guarding.Listed(began, ours))

        machine.after(LIST_S / 2, done)

    def _destroy(self, destroy: guarding.Destroy) -> None:
        life = self.life
        name = destroy.name
        self.box.machine.destroy(name, lambda error: self.put(guarding.Destroyed(name, error)) if self.life == life else None)

    def _look(self, look: guarding.Look) -> None:
        """safety: it counts from its beginning; the claim is read before and after the beat is written, which says that none
        was seen."""
        box, began, life = self.box, self.clock.mono, self.life
        storage = box.world.storage
        mark = f"{box.name}-boot{box.machine.boots} {look.n}"

        def work(mount: Any) -> None:
            claims = mount.old_claims if mount.state == "stale" else storage.claims
            claim, error = claims.get(box.name), ""
            if mount.state == "cut":
                error = "the storage cannot be reached"
            elif claim is None:
                error = "no leader knows this host there"
            elif mount.state == "full" and not claim:
                error = "no space is left"
            elif not claim:  # what is written arrives, whatever the cache shows: it is synced
                storage.beats[box.name] = mark
            if self.life == life:
                self.put_after(0.0, guarding.Looked(began, claim or 0, error))

        storage.use(box.name, work)

    def _say(self, say: guarding.Say) -> None:
        if self._connected:
            channel, word = self.channel, say.word
            self.timeline.after(
                WORD_S, lambda: self.box.client.put(events.GuardSaid(word)) if channel == self.channel else None
            )

    def _note(self, note: guarding.Note) -> None:
        self.box.world.log(self.name, note.text)

    def _end(self, end: guarding.End) -> None:
        self._connected = False
        self.channel += 1
        super().kill()


class Disk:
    """What the guard keeps."""

    def __init__(self) -> None:
        self.names: frozenset[str] = frozenset()
        self.known: tuple[str, ...] = ()
        self.terms: Terms | None = None
        self.until = 0.0
        self.boots = 0


class HostBox:
    """One host, all of it."""

    def __init__(
        self, world: World, name: str, *, memory_mib: int = 8192, witness: bool = False, groups: tuple[str, ...] = ()
    ) -> None:
        self.world = world
        self.name = name
        self.clock = HostClock(world.timeline)
        self.disk = Disk()
        self.disk_error = ""
        self.workers_die_at = 0.0
        self.config = ClientConfig(
            name,
            groups=groups,
            hypervisor=HypervisorConfig(engine="sim"),
            allow=("vm",),
            properties=PROPERTIES,
            failover=GuardConfig(watchdog="sim", witness=witness),
        )
        self.machine = Machine(
            name, world.timeline, self.clock, world.truth, memory_mib * MIB, self._reset, self._booted, world.reach,
            lambda text: world.log(name, text),
        )  # fmt: skip
        self.guard = GuardDaemon(self)
        self.client = ClientDaemon(self)
        world.bus.attach(self.client.link)

    def _reset(self) -> None:
        """All its processes die at once."""
        self.workers_die_at = 0.0
        self.guard.kill()
        self.client.kill(by_power=True)

    def _booted(self) -> None:
        self.start_client()

    def start_client(self) -> None:
        self.world.timeline.after(CLIENT_START_S, self._client_up)

    def _client_up(self) -> None:
        if self.machine.up and not self.machine.hung and not self.client.alive:
            self.client.start()

    def kill_client(self, workers_last_s: float = 0.0) -> None:
        self.workers_die_at = self.world.timeline.now + workers_last_s
        self.client.kill()

    def hang(self) -> None:
        """The system stands still, its domains run on."""
        self.machine.hang()
        self.client.stop()
        self.guard.stop()

    def unhang(self) -> None:
        self.machine.unhang()
        self.guard.go_on()
        self.client.go_on()


class _NoKeys:
    """Nothing is signed here."""

    def find(self, sender: str) -> None:
        return None


_client_does: dict[type, Callable[[ClientDaemon, Any], None]] = {
    events.Send: ClientDaemon._send,
    events.Read: ClientDaemon._read,
    events.Run: ClientDaemon._run,
    events.Abort: ClientDaemon._abort,
    events.Journal: ClientDaemon._journal_it,
    events.Recall: ClientDaemon._recall,
    events.Note: ClientDaemon._note,
    events.StartGuard: ClientDaemon._start_guard,
    events.ToGuard: ClientDaemon._to_guard,
    events.Stop: ClientDaemon._stop,
    events.Reload: ClientDaemon._nothing,
}
_guard_does: dict[type, Callable[[GuardDaemon, Any], None]] = {
    guarding.Save: GuardDaemon._save,
    guarding.Remember: GuardDaemon._remember,
    guarding.Probe: GuardDaemon._probe,
    guarding.Arm: GuardDaemon._arm,
    guarding.Feed: GuardDaemon._feed,
    guarding.Release: GuardDaemon._release,
    guarding.List: GuardDaemon._list,
    guarding.Destroy: GuardDaemon._destroy,
    guarding.Look: GuardDaemon._look,
    guarding.Say: GuardDaemon._say,
    guarding.Note: GuardDaemon._note,
    guarding.End: GuardDaemon._end,
}
