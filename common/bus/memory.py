"""An in-memory bus: one hub, many Bus ends in this process. Ordered; cuts, losses, delays, pauses and restarts on request.

For tests and the simulator. Nothing here draws random numbers or, when a clock is handed in, knows the real time: the same
calls give the same deliveries. With real threads `receive` waits; with a clock of your own call `receive(0)` and move the
clock to `next_due()`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from common.bus.contract import PAYLOAD_BYTES_MAX, BusDown, BusError, Cause, Closed, Delivery, Opened, Received, View
from common.bus.names import GroupNames, group_name, private_name
from common.bus.views import holds_majority

QUEUE_MAX: Final = 100_000  # messages one end may leave unread; then it is cut off, as a real daemon does
DAEMON: Final = "memory"  # second half of private addresses

Lost = Callable[[str, str, bytes], bool]
"""(sender, receiver, payload) -> is this one lost on its way?"""


class MemoryBus:
    """One end; see contract.Bus. Made by MemoryHub.open."""

    def __init__(self, hub: MemoryHub, full_name: str, membership: bool) -> None:
        self._hub = hub
        self.full_name = full_name
        self.membership = membership
        self.address = ""
        self.groups: dict[str, None] = {}  # joined, as named on the bus; outlives a lost connection
        self.names = GroupNames()
        self.queue: deque[tuple[float, Received]] = deque()  # (when it arrives, what)
        self.paused = False
        self.away = False  # kept from connecting again
        self.closed = False
        self.arrived = threading.Condition(hub.lock)

    @property
    def name(self) -> str:
        return self.address

    def join(self, group: str) -> None:
        self._hub.join(self, self.names.joined(group))

    def leave(self, group: str) -> None:
        self._hub.leave(self, group_name(group))

    def send(self, groups: tuple[str, ...], payload: bytes) -> None:
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise BusError(f"payload of {len(payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
        wires = tuple(dict.fromkeys(map(group_name, groups)))
        if not wires:
            raise BusError("no group to send to")
        self._hub.send(self, wires, bytes(payload))

    def receive(self, timeout_s: float | None) -> Received | None:
        deadline = None if timeout_s is None else self._hub.clock() + timeout_s
        with self._hub.lock:
            while not self.closed:
                now = self._hub.clock()
                if self.queue and not self.paused and self.queue[0][0] <= now:
                    return self.queue.popleft()[1]
                if deadline is not None and now >= deadline:
                    return None
                due = [self.queue[0][0]] if self.queue and not self.paused else []
                until = min(due + ([] if deadline is None else [deadline]), default=None)
                self.arrived.wait(None if until is None else until - now)
        return Closed("closed by us", final=True)

    def close(self) -> None:
        self._hub.close(self)


class MemoryHub:
    """Every method may be called from any thread. Ends are named by their address (`bus.name`)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, queue_max: int = QUEUE_MAX) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self._queue_max = queue_max
        self._ends: dict[str, MemoryBus] = {}  # connected: address -> end
        self._known: list[MemoryBus] = []  # every end that is not closed
        self._members: dict[str, set[str]] = {}  # group -> addresses
        self._primary: dict[str, tuple[str, ...]] = {}  # group -> members of its last primary view
        self._sides: dict[str, int] = {}  # address -> which side of the cut, 0 where not named
        self._running = True
        self._delay_s = 0.0
        self._lost: Lost | None = None

    def open(self, full_name: str, *, membership: bool) -> MemoryBus:
        """One more end, connected at once when the hub runs."""
        with self.lock:
            end = MemoryBus(self, full_name, membership)
            self._known.append(end)
            self._connect(end)
            return end

    # what tests and the simulator ask for ----------------------------------------------------------------------------------

    def cut(self, *sides: Iterable[str]) -> None:
        """Only those on one side hear each other. Addresses that are not named stay on the first side."""
        with self.lock:
            self._regroup({address: number for number, side in enumerate(sides) for address in side})

    def heal(self) -> None:
        """One network again."""
        with self.lock:
            self._regroup({})

    def lose(self, lost: Lost | None) -> None:
        """From now on messages for which `lost` says so do not arrive. A real bus never does that; None: no more."""
        self._lost = lost

    def delay(self, delay_s: float) -> None:
        """From now on everything arrives so much later; never out of order."""
        self._delay_s = delay_s

    def pause(self, address: str) -> None:
        """This end receives nothing until resume, as if its process were stopped."""
        with self.lock:
            self._ends[address].paused = True

    def resume(self, address: str) -> None:
        with self.lock:
            self._ends[address].paused = False
            self._ends[address].arrived.notify_all()

    def kick(self, address: str, reason: str = "kicked", away: bool = False) -> MemoryBus:
        """Its connection is lost; it connects again at once, or (`away`) when it is readmitted."""
        with self.lock:
            end = self._ends[address]
            end.away = away
            self._disconnect(end, reason)
            return end

    def readmit(self, end: MemoryBus) -> None:
        with self.lock:
            end.away = False
            self._connect(end)

    def stop(self, reason: str = "the hub was stopped") -> None:
        """As if the daemon died: every connection is lost, nobody is told who else is gone."""
        with self.lock:
            self._running = False
            self._members.clear()
            self._primary.clear()
            for end in self._sorted_ends():
                self._put(end, Closed(reason))
                del self._ends[end.address]
                end.address = ""

    def start(self) -> None:
        """Every end connects again, in the order in which they were made."""
        with self.lock:
            self._running = True
            for end in self._known:
                self._connect(end)

    def next_due(self) -> float | None:
        """When the next thing arrives anywhere, by the hub's clock; None when nothing is under way."""
        with self.lock:
            return min((end.queue[0][0] for end in self._known if end.queue and not end.paused), default=None)

    # what the ends call ----------------------------------------------------------------------------------------------------

    def join(self, end: MemoryBus, wire: str) -> None:
        with self.lock:
            if wire not in end.groups and not end.closed:
                end.groups[wire] = None
                if end.address:
                    self._enter(end, wire)

    def leave(self, end: MemoryBus, wire: str) -> None:
        with self.lock:
            if wire in end.groups:
                del end.groups[wire]
                if end.address:
                    self._exit(end, wire, Cause.LEAVE)
                    if end.membership:
                        self._put(end, View(end.names.full(wire), (), Cause.LEAVE, (end.address,)))

    def send(self, end: MemoryBus, wires: tuple[str, ...], payload: bytes) -> None:
        with self.lock:
            if not end.address:
                raise BusDown("closed" if end.closed else "not connected")
            targets = {wire for wire in wires if wire in self._ends}
            targets.update(*(self._members.get(wire, ()) for wire in wires))
            for address in sorted(targets):
                receiver = self._ends[address]
                if self._side(address) != self._side(end.address):
                    continue
                if self._lost is None or not self._lost(end.address, address, payload):
                    self._put(receiver, Delivery(end.address, receiver.names.full_names(wires), payload))
            self._cut_off_slow(targets)

    def close(self, end: MemoryBus) -> None:
        with self.lock:
            if end.closed:
                return
            end.closed = True
            self._known.remove(end)
            if end.address:
                del self._ends[end.address]
                for wire in end.groups:
                    self._exit(end, wire, Cause.LEAVE)
                end.address = ""
            end.queue.clear()
            end.arrived.notify_all()

    # connections and views -------------------------------------------------------------------------------------------------

    def _connect(self, end: MemoryBus) -> None:
        if end.address or end.away or end.closed or not self._running:
            return
        variant = 0
        while (address := f"#{private_name(end.full_name, variant)}#{DAEMON}") in self._ends:
            variant += 1
        end.address = address
        self._ends[address] = end
        self._put(end, Opened(address))
        for wire in end.groups:
            self._enter(end, wire)

    def _disconnect(self, end: MemoryBus, reason: str) -> None:
        address = end.address
        del self._ends[address]
        for wire in end.groups:
            self._exit(end, wire, Cause.DISCONNECT)
        end.address = ""
        self._put(end, Closed(reason))
        self._connect(end)

    def _enter(self, end: MemoryBus, wire: str) -> None:
        was_primary = self._is_primary(wire, self._side(end.address))
        self._members.setdefault(wire, set()).add(end.address)
        self._tell(wire, self._side(end.address), Cause.JOIN, (end.address,), was_primary)

    def _exit(self, end: MemoryBus, wire: str, cause: Cause) -> None:
        side = self._side(end.address)
        was_primary = self._is_primary(wire, side)
        self._members[wire].discard(end.address)
        self._tell(wire, side, cause, (end.address,), was_primary)
        if not self._members[wire]:
            del self._members[wire]
            self._primary.pop(wire, None)

    def _regroup(self, sides: dict[str, int]) -> None:
        """The network changes: every group whose members now hear others than before gets new views."""
        before = {wire: self._by_side(wire) for wire in self._members}
        self._sides = sides
        for wire in sorted(self._members):
            reference = self._primary.get(wire, ())
            after = self._by_side(wire)
            for _, members in sorted(after.items()):
                old = {address: mates for mates in before[wire].values() for address in mates}
                if all(old[address] == members for address in members):
                    continue
                is_primary = len(after) == 1 or holds_majority(members, reference)
                if is_primary:
                    self._primary[wire] = members
                for address in members:
                    changed = tuple(sorted(set(old[address]) ^ set(members)))
                    self._show(address, wire, View(wire, members, Cause.NETWORK, changed, is_primary))

    def _tell(self, wire: str, side: int, cause: Cause, changed: tuple[str, ...], was_primary: bool) -> None:
        members = self._by_side(wire).get(side, ())
        if was_primary:
            self._primary[wire] = members
        for address in members:
            self._show(address, wire, View(wire, members, cause, changed, was_primary))

    def _show(self, address: str, wire: str, view: View) -> None:
        end = self._ends[address]
        if end.membership:
            full = end.names.full(wire)
            self._put(end, View(full, view.members, view.cause, view.changed, view.primary))

    def _is_primary(self, wire: str, side: int) -> bool:
        """Is the part of the group on this side the primary one now? A group that nobody is in starts as primary."""
        sides = self._by_side(wire)
        return len(sides | {side: ()}) == 1 or sides.get(side, ()) == self._primary.get(wire)

    def _side(self, address: str) -> int:
        return self._sides.get(address, 0)

    def _by_side(self, wire: str) -> dict[int, tuple[str, ...]]:
        sides: dict[int, tuple[str, ...]] = {}
        for address in sorted(self._members.get(wire, ())):
            side = self._side(address)
            sides[side] = (*sides.get(side, ()), address)
        return sides

    def _sorted_ends(self) -> list[MemoryBus]:
        return [self._ends[address] for address in sorted(self._ends)]

    def _put(self, end: MemoryBus, item: Received) -> None:
        """Behind everything that was sent before, however the delay was changed since."""
        due = self.clock() + self._delay_s
        if end.queue:
            due = max(due, end.queue[-1][0])
        end.queue.append((due, item))
        end.arrived.notify_all()

    def _cut_off_slow(self, addresses: Iterable[str]) -> None:
        for address in sorted(addresses):
            end = self._ends.get(address)
            if end is not None and len(end.queue) > self._queue_max:
                end.queue.clear()
                self._disconnect(end, f"did not read {self._queue_max} messages")


_hubs: dict[str, MemoryHub] = {}
_hubs_lock = threading.Lock()


def shared_hub(name: str) -> MemoryHub:
    """The hub of this name in this process, made at first use."""
    with _hubs_lock:
        return _hubs.setdefault(name, MemoryHub())
