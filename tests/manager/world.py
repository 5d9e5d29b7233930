"""A whole farm in one process and in pretend time: manager cores, client cores, one ordered bus between them. Deterministic.

The cores, the envelopes and their checks are the real ones; only threads, disks and clocks are pretended. A manager's store
is a dict that outlives its process. What plugins would read and run is told by the story.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from nacl.signing import SigningKey

from common.bus.contract import Cause, Closed, Delivery, Opened, View
from common.config.model import ClientConfig, ManagerConfig, PropertyConfig, TriggerConfig, Where
from common.envelope import Opener, Rejected, Sealer, introduced
from common.keys import Keyring, raw_public
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, Value
from vmclient import events as client_events
from vmclient.host import Facts, Host
from vmmanager import events
from vmmanager.events import Moment
from vmmanager.manager import Manager

EPOCH_S = 1_000_000_000.0  # wall clock at second 0
ROUNDS_MAX = 100_000  # events between two moments of time: more is an endless loop


def private_key(name: str) -> SigningKey:
    """The same in every run."""
    return SigningKey(name.encode().ljust(32, b"\0")[:32])


@dataclass
class Seat:
    """One session on the bus."""

    address: str
    groups: list[str]
    inbox: deque[Any] = field(default_factory=deque)
    watches: bool = False  # gets views


@dataclass
class ManagerProcess:
    """One manager: its core, and the store that stays when it dies."""

    config: ManagerConfig
    rows: dict[tuple[str, str], dict[str, Value]] = field(default_factory=dict)
    events: list[events.Record] = field(default_factory=list)
    core: Manager | None = None
    seat: Seat | None = None
    keyring: Keyring = field(default_factory=Keyring)
    opener: Opener | None = None
    sealer: Sealer | None = None
    wake: float = 0.0
    disk_error: str = ""
    disk_hangs: bool = False
    local: list[tuple[str, bytes, Any]] = field(default_factory=list)  # what LookForKeys finds


@dataclass
class ClientProcess:
    config: ClientConfig
    host: Host | None = None
    seat: Seat | None = None
    opener: Opener | None = None
    sealer: Sealer | None = None
    wake: float = 0.0
    values: dict[str, Value] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)  # commands really run, by execution
    journal: dict[str, client_events.Journal] = field(default_factory=dict)  # outlives its process
    mute: bool = False  # takes everything, says nothing
    slow_s: float = 0.0  # a command takes so long
    later: list[tuple[float, Any]] = field(default_factory=list)


class World:
    """`hear(who, effect)` is called for every effect of a manager that is not a message."""

    def __init__(self, hear: Callable[[str, events.Effect], None] = lambda who, effect: None) -> None:
        self.mono = 0.0
        self.clock_s = 0.0  # added to all wall clocks
        self.managers: dict[str, ManagerProcess] = {}
        self.clients: dict[str, ClientProcess] = {}
        self.seats: dict[str, Seat] = {}
        self.members: dict[str, list[str]] = {}
        self.replies: dict[int, list[dict[str, Any]]] = {}
        self.hear = hear
        self.trusted: list[tuple[str, bytes, Any]] = []  # keys that every manager finds in its folders
        self.known_to_clients = Keyring()
        self.commands: dict[str, str] = {"exec": "", "log": ""}  # that clients have, and the parameter each is about
        self._number = 0
        self._call = 0

    @property
    def now(self) -> Moment:
        return Moment(EPOCH_S + self.clock_s + self.mono, self.mono)

    @property
    def _client_now(self) -> client_events.Moment:
        return client_events.Moment(EPOCH_S + self.clock_s + self.mono, self.mono)

    # --- managers -------------------------------------------------------------------------------------------------------

    def add_manager(self, name: str, triggers: tuple[TriggerConfig, ...] = (), **settings: Any) -> None:
        config = ManagerConfig(name, triggers=triggers, **({"grace_s": 0.0} | settings))
        self.managers[name] = ManagerProcess(config)
        self.trusted.append((name, raw_public(private_key(name)), "manager"))
        self.known_to_clients.set(name, raw_public(private_key(name)), "manager", "accepted")
        self.start_manager(name)

    def start_manager(self, name: str) -> None:
        process, key = self.managers[name], private_key(name)
        process.keyring = Keyring()
        process.keyring.set(name, raw_public(key), "manager", "accepted")
        process.opener = Opener((name, GROUP_MANAGERS), process.keyring)
        process.sealer = Sealer(name, key)
        process.core = Manager(process.config, raw_public(key).hex(), self.now)
        rows = tuple((table, row, value) for (table, row), value in sorted(process.rows.items()))
        last = max((record.id for record in process.events), default=0)
        self.tell(name, events.Loaded(rows, last))
        process.seat = self._connect([GROUP_MANAGERS, GROUP_CLIENTS], watches=True)
        self.settle()

    def tell(self, name: str, event: events.Event) -> None:
        """One event for one manager, and all that follows from it there."""
        process = self.managers[name]
        assert process.core is not None
        todo: deque[events.Effect] = deque(process.core.step(event, self.now))
        while todo:
            effect = todo.popleft()
            answer = self._carry_out(name, process, effect)
            if answer is not None and process.core is not None:
                todo.extend(process.core.step(answer, self.now))

    def _carry_out(self, name: str, process: ManagerProcess, effect: events.Effect) -> events.Event | None:
        self.hear(name, effect)
        if isinstance(effect, events.WakeAt):
            process.wake = effect.mono
        elif isinstance(effect, events.Send):
            return self._send_of(process, effect)
        elif isinstance(effect, events.Reply):
            self.replies.setdefault(effect.call, []).append(effect.body)
        elif isinstance(effect, events.Record):
            process.events.append(effect)
        elif isinstance(effect, events.Persist):
            return self._persist(process, effect)
        elif isinstance(effect, events.RunCode):
            assert process.core is not None
            return process.core.engine.run_code(effect, process.core.context.farm, self.now)
        elif isinstance(effect, events.Trust):
            if effect.state is None:
                process.keyring.remove(effect.name)
            else:
                process.keyring.set(effect.name, effect.key, effect.role, effect.state)
        elif isinstance(effect, events.LookForKeys):
            return events.KeysFound((*self.trusted, *process.local))
        elif isinstance(effect, events.FindEvents):
            return self._find(process, effect)
        return None

    def _persist(self, process: ManagerProcess, effect: events.Persist) -> events.Event | None:
        if process.disk_hangs:
            return None
        if not process.disk_error:
            if effect.value is None:
                process.rows.pop((effect.table, effect.key), None)
            else:
                process.rows[effect.table, effect.key] = effect.value
        return events.Stored(effect.token, process.disk_error) if effect.token else None

    def _find(self, process: ManagerProcess, ask: events.FindEvents) -> events.Event:
        from vmmanager.followers import row_of

        rows = [row_of(r) for r in process.events if r.at >= ask.since and (not ask.kind or r.kind == ask.kind)]
        return events.Recalled(ask.call, tuple(rows[-ask.limit :]))

    def _send_of(self, process: ManagerProcess, send: events.Send) -> events.Event | None:
        assert process.sealer is not None
        if process.seat is None or process.seat.address not in self.seats:
            return events.Unsent(send.id, "the bus is down")
        payload = process.sealer.seal(
            send.message, send.to, self.now.wall, ttl_s=send.ttl_s, in_reply_to=send.in_reply_to, epoch=send.epoch, id=send.id
        )
        self._multicast(process.seat.address, send.addresses, payload)
        return None

    def kill_manager(self, name: str) -> None:
        """SIGKILL: what was on disk stays, nothing else."""
        process = self.managers[name]
        process.core = None
        seat, process.seat = process.seat, None
        if seat:
            self._disconnect(seat)
        self.settle()

    def ask(self, name: str, op: str, args: dict[str, Any] | None = None, who: str = "alice") -> int:
        """vmctl; the replies are in `replies[call]`."""
        self._call += 1
        self.tell(name, events.Asked(self._call, op, args or {}, who))
        self.settle()
        return self._call

    # --- clients --------------------------------------------------------------------------------------------------------

    def add_client(self, name: str, values: dict[str, Value] | None = None, *, accepted: bool = True, **settings: Any) -> None:
        values = values or {}
        properties = tuple(PropertyConfig(key, "told", Where("story"), ticks=-1.0) for key in values)
        config = ClientConfig(name, properties=properties, **({"allow": ("exec", "log")} | settings))
        self.clients[name] = ClientProcess(config, values=values)
        if accepted:
            self.trusted.append((name, raw_public(private_key(name)), "client"))
        self.start_client(name)

    def start_client(self, name: str) -> None:
        process, key = self.clients[name], private_key(name)
        self._number += 1
        process.opener = Opener((name, GROUP_CLIENTS, *process.config.groups), self.known_to_clients)
        process.sealer = Sealer(name, key)
        facts = Facts("0.1.0", f"boot{self._number}", self.now.wall, raw_public(key).hex())
        begun = {key: noted.in_reply_to for key, noted in process.journal.items() if noted.answer is None}
        ended = {key: noted.at for key, noted in process.journal.items() if noted.answer is not None}
        process.host = Host(process.config, facts, self._client_now, begun=begun, ended=ended)
        process.seat = self._connect([GROUP_CLIENTS, *process.config.groups])
        self._tell_client(process, client_events.Loaded((), self.commands))
        self._tell_client(process, client_events.BusChanged(Opened(process.seat.address)))
        self.settle()

    def kill_client(self, name: str) -> None:
        process = self.clients[name]
        process.host = None
        process.later.clear()
        seat, process.seat = process.seat, None
        if seat:
            self._disconnect(seat)
        self.settle()

    def _tell_client(self, process: ClientProcess, event: client_events.Event) -> None:
        todo: deque[client_events.Event] = deque([event])
        while todo and process.host is not None:
            for effect in process.host.step(todo.popleft(), self._client_now):
                todo.extend(self._client_does(process, effect))

    def _client_does(self, process: ClientProcess, effect: client_events.Effect) -> list[client_events.Event]:
        if isinstance(effect, client_events.WakeAt):
            process.wake = effect.mono
        elif isinstance(effect, client_events.Send):
            self._client_sends(process, effect)
        elif isinstance(effect, client_events.Read):
            name = effect.property.name
            known = process.values.get(name)
            error = "" if known is not None else "cannot be read"
            return [client_events.ReadDone(name, known, error, "", self.mono)]
        elif isinstance(effect, client_events.Run):
            process.runs.append(effect.execution)
            done = client_events.RunDone(effect.execution, "ok", "", None, f"ran {effect.command}", process.slow_s)
            if process.slow_s:
                process.later.append((self.mono + process.slow_s, done))
            else:
                return [done]
        elif isinstance(effect, client_events.Journal):
            process.journal[effect.execution] = effect
            return [client_events.Journaled(effect.execution)]
        elif isinstance(effect, client_events.Recall):
            noted = process.journal.get(effect.execution)
            return [client_events.Recalled(effect.execution, noted.answer if noted else None, effect.in_reply_to)]
        return []

    def _client_sends(self, process: ClientProcess, send: client_events.Send) -> None:
        if process.mute or process.seat is None or process.sealer is None:
            return
        payload = process.sealer.seal(send.message, send.to, self.now.wall, ttl_s=send.ttl_s, in_reply_to=send.in_reply_to)
        self._multicast(process.seat.address, send.to, payload)

    # --- the bus --------------------------------------------------------------------------------------------------------

    def _connect(self, groups: list[str], *, watches: bool = False) -> Seat:
        self._number += 1
        seat = Seat(f"#p{self._number}#bus", groups, watches=watches)
        self.seats[seat.address] = seat
        if watches:
            seat.inbox.append(Opened(seat.address))
        for group in groups:
            self.members.setdefault(group, []).append(seat.address)
            self._view(group, Cause.JOIN, seat.address)
        return seat

    def _disconnect(self, seat: Seat) -> None:
        self.seats.pop(seat.address, None)
        for group in seat.groups:
            if seat.address in self.members.get(group, []):
                self.members[group].remove(seat.address)
                self._view(group, Cause.DISCONNECT, seat.address)

    def _view(self, group: str, cause: Cause, changed: str) -> None:
        view = View(group, tuple(sorted(self.members[group])), cause, (changed,))  # as Spread lists them
        for address in self.members[group]:
            if self.seats[address].watches:
                self.seats[address].inbox.append(view)

    def _multicast(self, sender: str, targets: tuple[str, ...], payload: bytes) -> None:
        receivers = dict.fromkeys(
            address for target in targets for address in ([target] if target in self.seats else self.members.get(target, []))
        )
        for address in receivers:
            self.seats[address].inbox.append(Delivery(sender, targets, payload))

    def stop_bus(self) -> None:
        """The bus daemon dies: everybody is cut off."""
        for process in [*self.managers.values()]:
            if process.seat:
                process.seat.inbox.append(Closed("connection reset"))
        self.settle()
        self.seats.clear()
        self.members.clear()
        for client in self.clients.values():
            if client.seat:
                client.seat = None
                self._tell_client(client, client_events.BusChanged(Closed("connection reset")))
        for manager in self.managers.values():
            manager.seat = None

    def start_bus(self) -> None:
        """Everybody connects again."""
        for process in self.managers.values():
            if process.core is not None:
                process.seat = self._connect([GROUP_MANAGERS, GROUP_CLIENTS], watches=True)
        for client in self.clients.values():
            if client.host is not None:
                client.seat = self._connect([GROUP_CLIENTS, *client.config.groups])
                self._tell_client(client, client_events.BusChanged(Opened(client.seat.address)))
        self.settle()

    # --- time -----------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Delivers until nothing is under way."""
        for _ in range(ROUNDS_MAX):
            if not self._deliver_one_each():
                return
        raise AssertionError("the messages do not come to an end")

    def _deliver_one_each(self) -> bool:
        some = False
        for name, process in self.managers.items():
            if process.core is not None and process.seat is not None and process.seat.inbox:
                some = True
                self._receive(name, process, process.seat.inbox.popleft())
        for client in self.clients.values():
            if client.host is not None and client.seat is not None and client.seat.inbox:
                some = True
                self._client_receives(client, client.seat.inbox.popleft())
        return some

    def _receive(self, name: str, process: ManagerProcess, received: Any) -> None:
        assert process.opener is not None
        assert process.seat is not None
        if not isinstance(received, Delivery):
            self.tell(name, events.BusChanged(received))
            return
        if GROUP_MANAGERS not in received.groups and process.seat.address not in received.groups:
            return
        try:
            envelope = process.opener.open(received.payload, self.now.wall)
        except Rejected:
            shown = introduced(received.payload)
            if shown:
                sender, key, hello = shown
                role: Any = "manager" if hello.values.get("role") == "manager" else "client"
                self.tell(name, events.Introduced(sender, key, received.sender, role))
            return
        self.tell(name, events.Arrived(envelope, received.sender))

    def _client_receives(self, client: ClientProcess, received: Any) -> None:
        assert client.opener is not None
        if isinstance(received, Delivery):
            try:
                envelope = client.opener.open(received.payload, self.now.wall)
            except Rejected:
                return
            self._tell_client(client, client_events.Arrived(envelope))

    def wait(self, seconds: float) -> None:
        """Lets time pass, from wake to wake."""
        end = self.mono + seconds
        while True:
            due = [process.wake for process in self.managers.values() if process.core is not None]
            due += [client.wake for client in self.clients.values() if client.host is not None]
            due += [at for client in self.clients.values() for at, _ in client.later]
            at = min([*due, end])
            if at >= end:
                break
            self.mono = max(self.mono + 0.001, at)
            self._let_time_work()
        self.mono = end
        self._let_time_work()

    def _let_time_work(self) -> None:
        for name, process in self.managers.items():
            if process.core is not None and process.wake <= self.mono:
                self.tell(name, events.Tick())
        for client in self.clients.values():
            if client.host is not None and client.wake <= self.mono:
                self._tell_client(client, client_events.Tick())
            for at, done in [item for item in client.later if item[0] <= self.mono]:
                client.later.remove((at, done))
                self._tell_client(client, done)
        self.settle()

    def leader(self) -> str:
        """Who leads by its own word; two names: a fault."""
        leading = [name for name, p in self.managers.items() if p.core is not None and p.core.leadership.leading]
        return " and ".join(leading)

    def reconfigure(self, name: str, **settings: Any) -> None:
        process = self.managers[name]
        process.config = replace(process.config, **settings)
        self.tell(name, events.Reconfigured(process.config))
        self.settle()
