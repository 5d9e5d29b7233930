"""The manager's threads: Listener (bus -> inbox), TriggerWatch (owns the core), Sender (outbox -> bus). Decide nothing.

Queues are bounded: a Listener that finds the inbox full waits (and the bus daemon notices); a Sender that cannot keep up makes
the core hear Unsent. docs/design/0001 has all threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common import logs
from common.bus.contract import Bus, BusDown, BusError, Closed, Delivery
from common.envelope import Opener, Rejected, Role, Sealer, introduced
from common.keys import Keyring
from common.protocol import GROUP_MANAGERS, ClbControl, ProtocolError
from common.ratelimit import Bucket
from vmmanager import events
from vmmanager.events import Arrived, Asked, BusChanged, Event, Introduced, Loaded, Measured, Moment, Persist, Send, Unsent
from vmmanager.mailbox import Mailbox
from vmmanager.manager import Manager

INBOX_MAX = 50_000  # events
INBOX_BYTES_MAX = 256 * 1024 * 1024  # of messages not yet handled: a fleet round of 2,000 x 100 KB
OUTBOX_MAX = 10_000
BATCH_MAX = 5_000  # events between two looks at the triggers
RECEIVE_S = 0.5  # so often the Listener looks whether it shall stop
STRANGERS_PER_S, STRANGERS_BURST = 50.0, 3000.0  # unknown hellos looked at; 2,000 hosts start at once
FLOORS_EVERY_S = 30.0  # what the replay check must remember over a restart

_bus_log = logs.part("bus")


def moment() -> Moment:
    return Moment(time.time(), time.monotonic())


class Listener:
    """Receives, checks, hands on. What fails a check is dropped, counted, and logged once a minute for each sender."""

    def __init__(self, bus: Bus, name: str, keyring: Keyring, inbox: Mailbox[Event], store: Callable[[Persist], None]) -> None:
        self._bus = bus
        self._name = name
        self._keyring = keyring
        self._inbox = inbox
        self._store = store
        self._opener = Opener((name, GROUP_MANAGERS), keyring)
        self._log = logs.RateLimited(_bus_log)
        self._strangers = Bucket(STRANGERS_PER_S, STRANGERS_BURST)
        self._floors_at = time.monotonic()
        self._floors: dict[str, int] = {}
        self.dropped: Counter[str] = Counter()
        self.received_bytes = 0

    def remember(self, floors: dict[str, int], epoch: int) -> None:
        """What the store remembers from before the restart. To be called before `run`, or soon after."""
        self._opener = Opener((self._name, GROUP_MANAGERS), self._keyring, epoch=epoch, floors=floors)

    def run(self) -> None:
        """The thread, until the bus is closed by us."""
        while True:
            received = self._bus.receive(RECEIVE_S)
            if isinstance(received, Delivery):
                self._deliver(received)
            elif received is not None:
                self._inbox.put(BusChanged(received), wait=True)
                if isinstance(received, Closed) and received.final:
                    break
            if time.monotonic() - self._floors_at >= FLOORS_EVERY_S:
                self._keep_floors()
        self._keep_floors()

    def _deliver(self, delivery: Delivery) -> None:
        self.received_bytes += len(delivery.payload)
        if GROUP_MANAGERS not in delivery.groups and self._bus.name not in delivery.groups:
            return  # a multicast to the clients: we are in their group for its views alone
        try:
            envelope = self._opener.open(delivery.payload, time.time())
        except Rejected as rejected:
            self._reject(rejected, delivery)
        else:
            self._inbox.put(Arrived(envelope, delivery.sender), len(delivery.payload), wait=True)

    def _reject(self, rejected: Rejected, delivery: Delivery) -> None:
        if rejected.silent:
            return
        rejected, shown = self._introduction(rejected, delivery.payload)
        self.dropped[rejected.reason] += 1
        if shown is not None:
            name, key, hello = shown
            role: Role = "manager" if hello.values.get("role") == "manager" else "client"
            self._inbox.put(Introduced(name, key, delivery.sender, role))
            return
        whom = rejected.sender or delivery.sender
        self._log.log(
            (rejected.reason, whom),
            f"dropped a message from {whom} ({rejected.reason}): {rejected}",
            f"dropped {{}} more messages from {whom} ({rejected.reason})",
        )

    def _introduction(self, rejected: Rejected, payload: bytes) -> tuple[Rejected, tuple[str, bytes, ClbControl] | None]:
        """Does it show a key that is not accepted yet? Of a host whose clock is off, that is what must be said."""
        unproved = rejected.reason in ("unknown-key", "pending-key", "bad-signature")
        if not unproved or not self._strangers.allows(time.monotonic()):
            return rejected, None
        try:
            return rejected, introduced(payload, time.time())
        except Rejected as clock:
            return clock, None

    def _keep_floors(self) -> None:
        self._floors_at = time.monotonic()
        self._log.flush()
        floors = self._opener.floors()
        if floors != self._floors:
            self._floors = floors
            self._store(Persist("fact", "floors", dict(floors)))


class Sender:
    """Seals and sends. What does not go out comes back to the core as Unsent."""

    def __init__(self, bus: Bus, sealer: Sealer, inbox: Mailbox[Event]) -> None:
        self.outbox: Mailbox[Send] = Mailbox("outbox", OUTBOX_MAX)
        self._bus = bus
        self._sealer = sealer
        self._inbox = inbox
        self._log = logs.RateLimited(_bus_log)
        self.sent_bytes = 0

    def run(self) -> None:
        """The thread, until the outbox is closed and empty."""
        while True:
            sends = self.outbox.take(None, 100)
            for send in sends:
                self._send(send)
            if not sends and self.outbox.closed:
                return

    def _send(self, send: Send) -> None:
        try:
            payload = self._sealer.seal(
                send.message, send.to, time.time(), ttl_s=send.ttl_s, in_reply_to=send.in_reply_to, epoch=send.epoch, id=send.id
            )
            self._bus.send(send.addresses, payload)
            self.sent_bytes += len(payload)
        except BusDown as fault:
            self._inbox.put(Unsent(send.id, f"the bus is down: {fault}"))
        except (BusError, ProtocolError) as fault:
            self._log.log(type(fault).__name__, f"cannot send: {fault}", "cannot send {} more messages", logging.ERROR)
            self._inbox.put(Unsent(send.id, str(fault)))


@dataclass(frozen=True, slots=True)
class Hands:
    """What carries out each kind of effect, by its type."""

    do: dict[type, Callable[[Any], None]]


class TriggerWatch:
    """Owns the core: takes what is in the inbox, lets the core decide once for all of it, carries its effects out."""

    def __init__(self, manager: Manager, inbox: Mailbox[Event], hands: Hands, measure: Callable[[], Measured]) -> None:
        self._manager = manager
        self._inbox = inbox
        self._hands = hands
        self._measure = measure
        self._wake = 0.0
        self.stopping = threading.Event()

    def run(self, alive: Callable[[], None], alive_every_s: float) -> None:
        """The thread, until the inbox is closed and empty. `alive` is called at least each `alive_every_s`."""
        while True:
            until = min(self._wake, time.monotonic() + alive_every_s)
            taken = self._inbox.take(until, BATCH_MAX)
            self._once(taken)
            alive()
            if self._inbox.closed and not len(self._inbox):
                return

    def _once(self, taken: list[Event]) -> None:
        for event in taken:
            now = moment()
            if isinstance(event, Asked) and event.op == "status":
                self._manager.handle(self._measure(), now)
            self._manager.handle(event, now)
        now = moment()
        if now.mono >= self._wake:
            self._manager.handle(events.Tick(), now)
        for effect in self._manager.conclude(now):
            if isinstance(effect, events.WakeAt):
                self._wake = effect.mono
            else:
                self._hands.do[type(effect)](effect)


def remembered(loaded: Loaded) -> tuple[dict[str, int], int]:
    """(floors, epoch) of the replay check, from the store."""
    facts = {key: value for table, key, value in loaded.rows if table == "fact"}
    floors = {name: id for name, id in facts.get("floors", {}).items() if isinstance(id, int)}
    epoch = facts.get("epoch", {}).get("epoch")
    return floors, epoch if isinstance(epoch, int) else 0
