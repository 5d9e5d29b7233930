"""A manager: its real core, and the disk that stays when it dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import vmmanager.events as events
from common.bus.contract import Closed, Opened, View
from common.config.model import ManagerConfig
from common.core import Moment
from common.envelope import Opener, Rejected
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, Value
from sim.failover.bus import Item, Letter, Link
from sim.failover.clocks import HostClock
from sim.failover.letters import Writer
from sim.failover.process import Process
from vmmanager.manager import Manager

if TYPE_CHECKING:
    from sim.failover.world import World

DISK_S = 0.005
KEY = "11" * 32
QUIET = ("bus", "keys", "plugins")
BUS_NEWS = (Opened, Closed, View)
OF_LEADERS = ("clients", "vms")  # standbys say the same


class ManagerDaemon(Process):
    def __init__(self, world: World, config: ManagerConfig) -> None:
        super().__init__(world.timeline, HostClock(world.timeline), config.name)
        self.world = world
        self.config = config
        self.link = Link(config.name, self._heard, (GROUP_MANAGERS, GROUP_CLIENTS), watches=True)
        self.core: Manager | None = None
        self.rows: dict[tuple[str, str], dict[str, Value]] = {}
        self.replies: dict[int, list[dict[str, Any]]] = {}
        self.disk_error = ""
        self.disk_hangs = False
        self._hung: list[Callable[[], None]] = []
        self._last_event = 0
        self._opener = Opener((), _NoKeys())
        self._writer = Writer(config.name, "manager")
        world.bus.attach(self.link)

    def start(self) -> None:
        if self.alive:
            return
        self.begin()
        self._opener = Opener((self.name, GROUP_MANAGERS), _NoKeys())
        self.core = Manager(self.config, KEY, self.clock.now)
        rows = tuple((table, key, value) for (table, key), value in sorted(self.rows.items()))
        self.put_after(DISK_S, events.Loaded(rows, self._last_event))
        self.world.bus.connect(self.link)

    def kill(self) -> None:
        if not self.alive:
            return
        super().kill()
        self.core = None
        self.world.bus.disconnect(self.link)

    @property
    def leading(self) -> bool:
        return self.core is not None and self.core.leadership.leading

    @property
    def acts(self) -> bool:
        """Has it authority now, by its own clock? A process that is stopped does nothing with it."""
        return self.core is not None and self.core.reign.authority.held(self.clock.mono)

    def step(self, event: Any, now: Moment) -> list[Any]:
        assert self.core is not None
        return self.core.step(event, now)

    def _heard(self, item: Item | Letter) -> None:
        self.put(item)

    def _take(self, event: Any) -> None:
        """What the Listener does before the core sees it."""
        if type(event) is Letter:
            try:
                envelope = self._opener.admit(event.envelope, self.clock.now.wall)
            except Rejected:
                return
            event = events.Arrived(envelope, event.sender)
        elif type(event) in BUS_NEWS:
            event = events.BusChanged(event)
        super()._take(event)

    def ask(self, call: int, op: str, args: dict[str, Any], who: str) -> None:
        self.put(events.Asked(call, op, args, who))

    def perform(self, effect: Any) -> None:
        _does[type(effect)](self, effect)

    def _send(self, send: events.Send) -> None:
        envelope = self._writer.write(
            send.message, send.to, self.clock.now.wall, send.ttl_s, send.in_reply_to, send.epoch, send.id
        )
        self.world.check_epoch(self.name, send.message, send.epoch)
        if not self.world.bus.send(self.link, send.addresses, envelope):
            self.put(events.Unsent(send.id, "the bus is down"))

    def _reply(self, reply: events.Reply) -> None:
        self.replies.setdefault(reply.call, []).append(reply.body)

    def _note(self, note: events.Note) -> None:
        if note.part in QUIET or note.level == "debug" or (note.part in OF_LEADERS and not self.leading):
            return
        self.world.log(self.name, note.text)

    def _record(self, record: events.Record) -> None:
        self._last_event = max(self._last_event, record.id)

    def _persist(self, persist: events.Persist) -> None:
        """On disk a moment later: what is killed before has not written it."""
        life = self.life

        def written() -> None:
            if self.life != life:
                return
            if self.disk_hangs:
                self._hung.append(written)
                return
            if not self.disk_error and persist.value is None:
                self.rows.pop((persist.table, persist.key), None)
            elif not self.disk_error and persist.value is not None:
                self.rows[persist.table, persist.key] = persist.value
            if persist.token:
                self.put(events.Stored(persist.token, self.disk_error))

        self._later(DISK_S, written)

    def disk_works(self) -> None:
        """What hung is written now."""
        self.disk_hangs = False
        hung, self._hung = self._hung, []
        for written in hung:
            written()

    def _run_code(self, run: events.RunCode) -> None:
        assert self.core is not None
        self.put(self.core.engine.run_code(run, self.core.context.farm, self.clock.now))

    def _notify(self, notify: events.Notify) -> None:
        self.world.log(self.name, f"notifies: {notify.text}")

    def _look_for_keys(self, look: events.LookForKeys) -> None:
        self.put(events.KeysFound(tuple(self.world.keys())))

    def _find(self, find: events.FindEvents) -> None:
        self.put(events.Recalled(find.call, ()))

    def _run_fence(self, run: Any) -> None:
        self.world.power.run(run, self.put_after)

    def _look_at_storage(self, look: Any) -> None:
        began, storage = self.clock.mono, self.world.storage

        def work(mount: Any) -> None:
            if mount.state == "cut":
                self.put_after(0.0, events.StorageSeen(began, {}, {}, "the storage cannot be reached"))
                return
            stale = mount.state == "stale"
            beats, claims = (mount.old_beats, mount.old_claims) if stale else (storage.beats, storage.claims)
            self.put_after(0.0, events.StorageSeen(began, dict(beats), dict(claims)))

        life = self.life
        storage.use(self.name, lambda mount: work(mount) if self.life == life and self.alive else None)

    def _write_claim(self, write: Any) -> None:
        storage, life = self.world.storage, self.life

        def work(mount: Any) -> None:
            error = {"cut": "the storage cannot be reached", "full": "no space is left"}.get(mount.state, "")
            if not error:
                storage.claims[write.host] = write.number
                if mount.state == "stale":
                    error = "what was written does not read back"
            if self.life == life and self.alive:
                self.put(events.ClaimWritten(write.host, write.number, error))

        storage.use(self.name, work)

    def _nothing(self, effect: Any) -> None:
        """What a simulated manager has no use for."""


class _NoKeys:
    def find(self, sender: str) -> None:
        return None


_does: dict[type, Callable[[ManagerDaemon, Any], None]] = {
    events.Send: ManagerDaemon._send,
    events.Reply: ManagerDaemon._reply,
    events.Note: ManagerDaemon._note,
    events.Record: ManagerDaemon._record,
    events.Persist: ManagerDaemon._persist,
    events.RunCode: ManagerDaemon._run_code,
    events.Notify: ManagerDaemon._notify,
    events.LookForKeys: ManagerDaemon._look_for_keys,
    events.FindEvents: ManagerDaemon._find,
    events.Reload: ManagerDaemon._nothing,
    events.Trust: ManagerDaemon._nothing,
    events.TryTrigger: ManagerDaemon._nothing,
}
for _name in ("RunFence", "LookAtStorage", "WriteClaim"):
    if _kind := getattr(events, _name, None):
        _does[_kind] = getattr(
            ManagerDaemon, {"RunFence": "_run_fence", "LookAtStorage": "_look_at_storage", "WriteClaim": "_write_claim"}[_name]
        )
