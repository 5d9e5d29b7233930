"""Who is there: views of the group `clients`, hellos, signs of life; asks the unknown and the silent. Pure.

The bus tells private addresses, envelopes tell full names; a client's first message ties the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.bus.contract import Cause, View
from common.envelope import Envelope
from common.protocol import GROUP_CLIENTS, ClbControl, Control, GetProp, PropErr, PropList, PropVal, Reading, Value, valid_name
from vmmanager.context import PRIVATE_MAX, Context
from vmmanager.state import Client, Turn

ASK_FIRST_S = 1.0  # a client says hello by itself when it connects; one that does not is asked after this time
ASK_AGAIN_S = 10.0  # and again so often
TOGETHER_S = 0.2  # clients that come within this time are asked for their properties together
GROUPS_MAX = 100  # of one client
COMMANDS_MAX = 1_000
LOST_WHY = {
    Cause.DISCONNECT: "the bus lost it",
    Cause.LEAVE: "it left",
    Cause.NETWORK: "the network between bus daemons is cut",
    Cause.JOIN: "no longer in the group",
}


class Roll:
    """`own_hello` makes what we say of ourselves; `on_lost`, `on_returned` are called with the full name of a client that goes
    or is back."""

    def __init__(
        self,
        context: Context,
        own_hello: Callable[[], ClbControl],
        on_lost: Callable[[str], None],
        on_returned: Callable[[str], None],
    ) -> None:
        self._c = context
        self._own_hello = own_hello
        self._on_lost = on_lost
        self._on_returned = on_returned
        self._members: set[str] = set()  # private addresses in the group `clients`
        self._managers: set[str] = set()  # private addresses in the group `managers`
        self._asked: dict[str, float] = {}  # members without a name yet -> when we greeted them, monotonic
        self.awaited: set[str] = set()  # were connected when we lost the bus, and are not back
        self._pinged: dict[str, float] = {}  # silent clients, by name
        self._wanted: set[str] = set()  # clients whose properties we do not know
        self._wanted_at = float("inf")  # monotonic: when to ask for them

    # --- the bus --------------------------------------------------------------------------------------------------------

    def viewed(self, view: View) -> None:
        """A view of the group `clients`."""
        members = set(view.members)
        for address in sorted(self._members - members):
            self._gone(address, LOST_WHY[view.cause])
        self._members = members
        for name in sorted(self._c.farm.clients):
            client = self._c.farm.clients[name]
            if client.address and client.address not in members and client.connected_at < self._c.now.wall - ASK_AGAIN_S:
                self._gone(client.address, LOST_WHY[view.cause])
        self._expect(members)

    def managers_viewed(self, members: Iterable[str]) -> None:
        self._managers = set(members)
        for address in self._managers:
            self._asked.pop(address, None)

    def _expect(self, members: set[str]) -> None:
        self._asked = {
            address: self._asked.get(address, self._c.now.mono + ASK_FIRST_S - ASK_AGAIN_S)
            for address in members
            if address not in self._managers and not self._introduced(address)
        }

    def _introduced(self, address: str) -> bool:
        """Has the session at this address said hello? A sign of life names it, but not its groups and commands."""
        client = self._c.farm.clients.get(self._c.farm.by_address.get(address, ""))
        return client is not None and bool(client.boot_id)

    def _gone(self, address: str, why: str) -> None:
        self._asked.pop(address, None)
        name = self._c.farm.by_address.get(address)
        if name is not None:
            self._turned(self._c.farm.lost(name, why, self._c.now.wall))
            self._on_lost(name)

    def disconnected(self) -> None:
        """Our own connection is gone: we know nothing of anybody until they speak again."""
        self._members, self._managers = set(), set()
        self._asked.clear()
        for name in sorted(self._c.farm.clients):
            client = self._c.farm.clients[name]
            if client.address:
                self.awaited.add(name)
                self._turned(self._c.farm.lost(name, "this manager lost the bus", self._c.now.wall))

    # --- the clients ----------------------------------------------------------------------------------------------------

    def heard(self, envelope: Envelope, address: str) -> None:
        """Any message of a client. Notes that it lives, and what it says of itself and its properties."""
        farm, now = self._c.farm, self._c.now.wall
        name, message = envelope.sender, envelope.message
        client = farm.clients.get(name)
        back = client is None or client.address != address
        if client is not None and back and address not in self._members and client.address in self._members:
            return  # the last words of an earlier session, overtaken by the hello of the new one
        self.awaited.discard(name)
        self._turned(farm.heard(name, address, now))
        if isinstance(message, ClbControl):
            if message.verb == "hello":
                self._hello(farm.clients[name], message.values)
        else:
            self._readings(name, message)
        if self._introduced(address):
            self._asked.pop(address, None)
        else:
            self._asked.setdefault(address, float("-inf"))
        if back:
            self._want(name)
            self._on_returned(name)

    def _want(self, name: str) -> None:
        self._wanted.add(name)
        self._wanted_at = min(self._wanted_at, self._c.now.mono + TOGETHER_S)

    def _hello(self, client: Client, values: dict[str, Value]) -> None:
        boot_id = _text(values.get("boot_id"))
        if boot_id != client.boot_id or not client.properties:
            self._want(client.name)
        self._c.farm.introduce(
            client.name,
            tuple(group for group in dict.fromkeys(_texts(values.get("groups"), GROUPS_MAX)) if valid_name(group)),
            _text(values.get("version")),
            boot_id,
            tuple(_texts(values.get("commands"), COMMANDS_MAX)),
            _engine(values.get("hypervisor")),
        )

    def _readings(self, name: str, message: object) -> None:
        farm, now = self._c.farm, self._c.now.wall
        if isinstance(message, PropVal):
            self._read(name, (message.reading,))
        elif isinstance(message, PropList):
            self._read(name, message.readings)
            if message.complete:
                farm.keep_only(name, {reading.name for reading in message.readings})
                self._wanted.discard(name)
        elif isinstance(message, PropErr):
            for property, why in message.errors.items():
                farm.failed(name, property, why, now)

    def _read(self, name: str, readings: Iterable[Reading]) -> None:
        config, now = self._c.config, self._c.now.wall
        for reading in readings:
            self._c.farm.read(name, reading, now, config.history_keep, config.history_max_s)

    def _turned(self, turn: Turn | None) -> None:
        if turn is None:
            return
        text = f"client {turn.client}: {turn.old} -> {turn.new} ({turn.why})"
        self._c.note(text, "info" if turn.new == "connected" else "warning", "clients")
        self._c.record("client", turn.client, text, {"old": turn.old, "new": turn.new})

    # --- time -----------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Who has become silent?"""
        now, limit_s = self._c.now.wall, self._c.config.silent_after_s
        for client in list(self._c.farm.clients.values()):
            if client.status == "connected" and now - client.active_timestamp > limit_s:
                self._turned(self._c.farm.quiet(client.name, now))

    def ask(self, leading: bool) -> None:
        """The leader asks the unnamed and the quiet for a sign of life, and the new ones for what they have."""
        now = self._c.now.mono
        if not self._c.address or not leading:
            self._wanted.clear()
            self._wanted_at = float("inf")
            return
        due = [address for address, asked_at in self._asked.items() if now - asked_at >= ASK_AGAIN_S]
        if due:
            self._asked.update(dict.fromkeys(due, now))
            self.greet(due, leading=True)
        if now >= self._wanted_at:
            self._ask_wanted()
        self._ping_quiet()

    def complete(self) -> bool:
        """Has everybody in the group told its name, and is everybody back whom we lost with the bus?"""
        return bool(self._members) and not self._asked and not self.awaited

    def next_wake(self) -> float:
        """Monotonic: when `ask` has something to do."""
        return self._wanted_at

    def _ask_wanted(self) -> None:
        """First our hello: a client that trusts the first manager it sees must see us before it obeys."""
        clients = self._c.farm.clients
        names = sorted(name for name in self._wanted if name in clients and clients[name].address)
        self._wanted.clear()
        self._wanted_at = float("inf")
        self._send(self._own_hello(), names)
        self._send(Control(verb="hello"), [name for name in names if not clients[name].boot_id])
        self._send(GetProp(), names)

    def fetch_all(self) -> None:
        """A manager that has just been told the keys: hellos and properties of everybody."""
        if self._c.address:
            for message in (self._own_hello(), Control(verb="hello"), GetProp()):
                self._c.send(message, (GROUP_CLIENTS,), (GROUP_CLIENTS,))

    def greet(self, addresses: Iterable[str], *, leading: bool) -> None:
        """Says our hello to members whose names we may not know; the leader also asks for theirs."""
        asked = sorted(set(addresses) & self._members)
        where = tuple(asked) if len(asked) <= PRIVATE_MAX else (GROUP_CLIENTS,)
        if asked:
            self._c.send(self._own_hello(), (GROUP_CLIENTS,), where)
        if asked and leading:
            self._c.send(Control(verb="hello"), (GROUP_CLIENTS,), where)

    def _ping_quiet(self) -> None:
        now, refresh_s = self._c.now, self._c.config.refresh_s
        quiet = []
        for client in self._c.farm.clients.values():
            since = now.wall - client.active_timestamp
            if client.address and since > refresh_s and now.mono - self._pinged.get(client.name, float("-inf")) > refresh_s:
                self._pinged[client.name] = now.mono
                quiet.append(client.name)
        self._send(Control(verb="ping"), sorted(quiet))

    def _send(self, message: GetProp | Control | ClbControl, names: list[str]) -> None:
        """To a few by their private addresses, to most by the group."""
        clients = self._c.farm.clients
        if 2 * len(names) > len(clients) and len(names) > PRIVATE_MAX:
            self._c.send(message, *address(self._c, names))
            return
        for start in range(0, len(names), PRIVATE_MAX):
            self._c.send(message, *address(self._c, names[start : start + PRIVATE_MAX]))


def address(context: Context, names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names as signed, where the bus takes it) for clients that are on the bus: once to a group where they are many."""
    clients = context.farm.clients
    if len(names) <= PRIVATE_MAX:
        return tuple(names), tuple(clients[name].address for name in names)
    if len(names) >= sum(1 for client in clients.values() if client.address):
        return (GROUP_CLIENTS,), (GROUP_CLIENTS,)
    return tuple(names), (GROUP_CLIENTS,)


def _engine(value: Value) -> str:
    engine = _text(value)
    return "" if engine == "none" else engine


def _text(value: Value) -> str:
    """One line, or nothing."""
    return value[:255] if isinstance(value, str) and value.isprintable() else ""


def _texts(value: Value, count_max: int) -> list[str]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str) and 0 < len(item) <= 255 and item.isprintable()][:count_max]
