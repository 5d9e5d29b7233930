"""The Bus contract over sessions with a Spread daemon or vmbus. Knows frames and views; no byte of the wire.

The receiving thread reads. While there is no session, connector.py opens the next one in a thread of its own. Whoever notices
first that a session is dead says so, once.
"""

from __future__ import annotations

import logging
import math
import os
import random
import select
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from common.bus.connector import Connector
from common.bus.contract import PAYLOAD_BYTES_MAX, BusDown, BusError, Closed, Opened, Received
from common.bus.fragments import FRAME_BYTES_MAX, GROUPS_MAX, KIND_PROBE, KIND_WHOLE, frames
from common.bus.intake import Intake
from common.bus.links import Link, LinkError, Patience, open_link
from common.bus.names import GroupNames, group_name
from common.config.model import BusConfig

log = logging.getLogger("vmherd.bus")

GUARD_S: Final = 1.0  # how often a plain link is asked for senders that are stuck
EXPIRE_S: Final = 5.0  # how often unfinished payloads are looked at
LEAVE_S: Final = 2.0  # how long close waits for the daemon to take our leave
TELL_S: Final = 60.0  # how often dropped messages are logged
ID_MASK: Final = 0xFFFFFFFFFFFFFFFF

_wire_name = lru_cache(maxsize=4096)(group_name)


@dataclass(frozen=True, slots=True)
class _Change:
    """For the receiving thread: `link` was opened, or is lost for `reason`."""

    link: Link
    reason: str | None = None


class SpreadBus:
    """See contract.Bus. `rng` draws delays and payload ids."""

    def __init__(
        self,
        module: Any,
        config: BusConfig,
        full_name: str,
        *,
        membership: bool,
        rng: random.Random | None = None,
        patience: Patience | None = None,
    ) -> None:
        rng = rng or random.Random()
        self._daemon = config.daemon
        self._steady_s = config.reconnect_max_s  # a session that lasted so long was a good one
        self._patience = patience or Patience()
        self._changing_groups = threading.Lock()  # so that joins and leaves reach the daemon in their order; taken before _lock
        self._lock = threading.Lock()  # guards _link, _groups and _closed together; never held while waiting
        self._link: Link | None = None
        self._groups: dict[str, None] = {}  # joined, as named on the bus
        self._closed = False
        self._opened_at = 0.0
        self._names = GroupNames()
        self._changes: deque[_Change] = deque()
        self._sending_long = threading.Lock()  # one payload of many frames at a time: receivers hold fewer unfinished ones
        self._payload_id = rng.getrandbits(64)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # the receiving thread's own
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._reading: Link | None = None
        self._reading_fd = -1
        self._intake = Intake("", self._names)
        self._ready: deque[Received] = deque()
        self._heard_at = self._next_expiry = self._next_telling = 0.0
        self._probed_at: float | None = None
        self._dropped: Counter[str] = Counter()  # of earlier sessions
        self._connector = Connector(
            full_name,
            lambda name: open_link(module, config.daemon, name, membership, self._patience.send_s),
            self._hand_over,
            config.reconnect_min_s,
            config.reconnect_max_s,
            rng,
        )
        self._connector.start(at_once=True, afresh=True)

    def __del__(self) -> None:
        wake = getattr(self, "_wake", None)
        if wake is not None:
            os.close(wake)

    # any thread ------------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        link = self._link
        return link.name if link is not None else ""

    @property
    def dropped(self) -> Counter[str]:
        """What was received and dropped: reason -> how often."""
        return self._dropped + self._intake.dropped

    def join(self, group: str) -> None:
        self._change_group(group, True)

    def leave(self, group: str) -> None:
        self._change_group(group, False)

    def _change_group(self, group: str, inside: bool) -> None:
        with self._changing_groups:
            with self._lock:
                wire = self._names.joined(group)
                if self._closed or inside == (wire in self._groups):
                    return
                if inside:
                    self._groups[wire] = None
                else:
                    del self._groups[wire]
                link = self._link
            if link is None:
                return  # the next session will do it
            try:
                (link.join if inside else link.leave)(wire)
            except LinkError as fault:
                self._lose(link, str(fault))

    def send(self, groups: tuple[str, ...], payload: bytes) -> None:
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise BusError(f"payload of {len(payload)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
        wires = tuple(dict.fromkeys(map(_wire_name, groups)))
        if not wires:
            raise BusError("no group to send to")
        link = self._link
        if link is None:
            raise BusDown("closed" if self._closed else "not connected")
        try:
            if len(payload) <= FRAME_BYTES_MAX and len(wires) <= GROUPS_MAX:
                link.send(wires, payload, KIND_WHOLE)
            else:
                self._send_long(link, wires, payload)
        except LinkError as fault:
            self._lose(link, str(fault))
            raise BusDown(str(fault)) from fault

    def _send_long(self, link: Link, wires: tuple[str, ...], payload: bytes) -> None:
        with self._sending_long:
            self._payload_id = (self._payload_id + 1) & ID_MASK
            for frame in frames(wires, payload, self._payload_id):
                link.send(frame.groups, frame.data, frame.kind)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            link, self._link = self._link, None
            groups = [*self._groups]
        self._connector.stop()
        if link is not None:
            leaving = threading.Thread(target=_leave_all, args=(link, groups), name="bus-leave", daemon=True)
            leaving.start()
            leaving.join(LEAVE_S)  # a sender may be stuck in the daemon: then the end of the session must do
            link.abort()
        os.eventfd_write(self._wake, 1)

    def _lose(self, link: Link, reason: str) -> None:
        """`link` is dead. The first to notice tells the receiving thread and has the next one opened."""
        with self._lock:
            if self._link is not link:
                return
            self._link = None
            self._changes.append(_Change(link, reason))
        link.abort()
        os.eventfd_write(self._wake, 1)
        log.warning("lost the connection to %s: %s", self._daemon, reason)
        self._connector.start(at_once=False, afresh=time.monotonic() - self._opened_at > self._steady_s)

    # the connecting thread -------------------------------------------------------------------------------------------------

    def _hand_over(self, link: Link) -> bool:
        """Join what was joined, then let everybody use it. False: it died meanwhile."""
        try:
            with self._changing_groups:
                for wire in [*self._groups]:
                    link.join(wire)
                with self._lock:
                    closed = self._closed
                    if not closed:
                        self._link, self._opened_at = link, time.monotonic()
                        self._changes.append(_Change(link))
        except LinkError as fault:
            log.warning("lost the connection to %s while joining groups: %s", self._daemon, fault)
            link.close()
            return False
        if closed:
            link.close()
            return True
        log.debug("connected to %s as %s", self._daemon, link.name)
        os.eventfd_write(self._wake, 1)
        return True

    # the receiving thread --------------------------------------------------------------------------------------------------

    def receive(self, timeout_s: float | None) -> Received | None:
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while not self._closed:
            if self._ready:
                return self._ready.popleft()
            if self._changes:
                self._apply(self._changes.popleft())
                continue
            self._wait(deadline)
            if not self._ready and not self._changes and time.monotonic() >= deadline:
                return None
        self._stop_reading()
        return Closed("closed by us", final=True)

    def _apply(self, change: _Change) -> None:
        if change.reason is not None:
            self._stop_reading()
            self._ready.append(Closed(change.reason))
            return
        link = change.link
        self._dropped += self._intake.dropped
        self._intake = Intake(link.name, self._names)
        self._reading = link
        self._heard_at, self._probed_at = time.monotonic(), None
        self._ready.append(Opened(link.name))
        try:
            self._reading_fd = link.fileno()
            self._poll.register(self._reading_fd, select.POLLIN)
        except LinkError as fault:
            self._reading_fd = -1
            self._lose(link, str(fault))

    def _stop_reading(self) -> None:
        if self._reading_fd >= 0:
            self._poll.unregister(self._reading_fd)
            self._reading_fd = -1
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _wait(self, deadline: float) -> None:
        """Until something came, or something is due, or the deadline passed; and deal with it."""
        due = min(deadline, self._next_due())
        wait_ms = None if math.isinf(due) else max(0, math.ceil((due - time.monotonic()) * 1000))
        for fd, _ in self._poll.poll(wait_ms):
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif self._reading is not None:
                self._read(self._reading)
        self._look_after(time.monotonic())

    def _read(self, link: Link) -> None:
        try:
            messages = link.receive()
        except LinkError as fault:
            self._lose(link, str(fault))
            return
        self._heard_at, self._probed_at = time.monotonic(), None
        self._ready.extend(self._intake.take(messages, self._heard_at))

    def _next_due(self) -> float:
        """When _look_after has something to do."""
        due = self._next_expiry if self._intake.unfinished_bytes else math.inf
        if self._reading is not None:
            silent = self._heard_at + self._patience.idle_s
            due = min(due, silent if self._probed_at is None else self._probed_at + self._patience.answer_s)
            if self._reading.guarded:
                due = min(due, time.monotonic() + GUARD_S)
        return due

    def _look_after(self, now: float) -> None:
        if now >= self._next_expiry:
            self._next_expiry = now + EXPIRE_S
            self._intake.expire(now)
        if now >= self._next_telling:
            self._next_telling = now + TELL_S
            self._tell()
        link = self._reading
        if link is None:
            return
        if link.overdue():
            self._lose(link, "the daemon takes nothing from us")
        elif self._probed_at is not None:
            if now >= self._probed_at + self._patience.answer_s:
                self._lose(link, f"the daemon has been silent for {now - self._heard_at:.0f} s")
        elif now >= self._heard_at + self._patience.idle_s:
            self._probed_at = now
            try:
                link.send((link.name,), b"", KIND_PROBE)
            except LinkError as fault:
                self._lose(link, str(fault))

    def _tell(self) -> None:
        """Say what was dropped since the last time."""
        if self._intake.dropped:
            text = ", ".join(f"{why}: {count}" for why, count in sorted(self._intake.dropped.items()))
            log.warning("dropped messages from the bus: %s", text)
            self._dropped += self._intake.dropped
            self._intake.dropped.clear()


def _leave_all(link: Link, groups: list[str]) -> None:
    """So that the others see a leave, not a loss."""
    try:
        for group in groups:
            link.leave(group)
    except LinkError as fault:
        log.debug("lost the connection while closing it: %s", fault)
