"""The client's three threads: IFaceDaemon (bus), ReaderDaemon (properties), Runner (commands). They carry, the core decides.

Each owns what it drives; they meet the core only through bounded queues. No thread polls.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from common.bus.contract import Bus, BusDown, BusError, Closed, Delivery, Opened
from common.config.model import ClientConfig
from common.envelope import Opener, Rejected, Sealer
from common.protocol import (
    ClbControl,
    Control,
    ExecErr,
    Execute,
    ExecVal,
    Message,
    PropErr,
    PropList,
    PropVal,
    ProtocolError,
    Value,
)
from common.ratelimit import RateLimit
from vmclient import seen
from vmclient.events import (
    Abort,
    Arrived,
    BusChanged,
    Event,
    Journal,
    Journaled,
    Loaded,
    Moment,
    Progress,
    Read,
    ReadDone,
    Recall,
    Recalled,
    Run,
    RunDone,
    Send,
)
from vmclient.frames import Job, Setup
from vmclient.journal import Journal as JournalFile
from vmclient.mailbox import Mailbox
from vmclient.outcomes import Catalogue, Ended, Limits, Outcome, Progressed, Said
from vmclient.setups import READER_DATA_BYTES, READERS, runner_limits, setup_of
from vmclient.trust import Trust
from vmclient.workers import Pool

INBOX_MAX = 10_000
OUTBOX_MAX = 10_000
RESULT_BYTES_MAX = 4 * 1024 * 1024  # of a command
AHEAD_NS = 1_000_000_000  # ids run so far ahead of the clock: it was set back
RESERVE = 1_000_000_000  # ids noted at a time while they do

_log = logging.getLogger("vmherd.client")


def moment() -> Moment:
    return Moment(time.time(), time.monotonic())


class Inbox:
    """Events for the core, from all threads."""

    def __init__(self, limit: int = INBOX_MAX) -> None:
        self._queue: queue.Queue[Event] = queue.Queue(limit)

    def put(self, event: Event) -> None:
        """Waits while it is full: our own threads slow down with the core."""
        self._queue.put(event)

    def offer(self, event: Event) -> bool:
        """False when it is full: what comes from the network is dropped rather than waited for."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            return False
        return True

    def get(self, timeout_s: float | None) -> Event | None:
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None


class IFaceDaemon:
    """The client's face to the bus: opens and checks what comes, seals and sends what goes."""

    def __init__(
        self, bus: Bus, opener: Opener, sealer: Sealer, trust: Trust, seen_path: Path, inbox: Inbox, noted: seen.Seen
    ) -> None:
        """`noted` is what the file `seen_path` holds."""
        self.bus = bus
        self.dropped: Counter[str] = Counter()
        self._opener = opener
        self._sealer = sealer
        self._trust = trust
        self._seen_path = seen_path
        self._noted = noted
        self._noting = threading.Lock()
        self._inbox = inbox
        self._outbox: queue.Queue[Send | None] = queue.Queue(OUTBOX_MAX)
        self._limit = RateLimit(60.0)

    def receive(self) -> None:
        """The body of thread IFaceDaemon; returns when the bus has been closed by us."""
        while True:
            got = self.bus.receive(None)
            if isinstance(got, Delivery):
                self._delivered(got)
            elif isinstance(got, (Opened, Closed)):
                self._inbox.put(BusChanged(got))
                if isinstance(got, Closed) and got.final:
                    return

    def transmit(self) -> None:
        """The body of thread IFaceDaemon-out; returns after `finish`, when all that was put before is sent."""
        while (effect := self._outbox.get()) is not None:
            self._send(effect)

    def put(self, effect: Send) -> None:
        try:
            self._outbox.put_nowait(effect)
        except queue.Full:
            self._drop("outbox-full", "", f"an answer is dropped: {OUTBOX_MAX} wait to be sent")

    def finish(self) -> None:
        self._outbox.put(None)

    def listen_to(self, addresses: frozenset[str]) -> None:
        """The names and groups we answer to, after a reload."""
        self._opener.addresses = addresses

    def _delivered(self, delivery: Delivery, again: bool = False) -> None:
        now = moment()
        try:
            envelope = self._opener.open(delivery.payload, now.wall)
        except Rejected as fault:
            if fault.silent:
                return
            if fault.reason == "unknown-key" and not again and self._trust.unknown(delivery.payload, now.mono):
                self._delivered(delivery, again=True)
                return
            self._drop(fault.reason, fault.sender, str(fault))
            return
        if isinstance(envelope.message, (Execute, Control)) and not self._remember(envelope.message, envelope.id):
            return
        if not self._inbox.offer(Arrived(envelope)):
            self._drop("inbox-full", envelope.sender, f"{INBOX_MAX} events wait to be handled")

    def _remember(self, message: Execute | Control, request: int) -> bool:
        """safety: what this message makes a replay is on disk before it is obeyed."""
        try:
            self._note(epoch=self._opener.epoch, floors=self._opener.floors())
        except seen.SeenFault as fault:
            self._drop("not-noted", "", str(fault), logging.ERROR)
            reason = f"not obeyed: the client cannot note it: {fault}"
            if isinstance(message, Execute):
                self.put(Send(ExecErr(execution=message.execution, kind="refused", reason=reason), in_reply_to=request))
            else:
                self.put(Send(ClbControl(verb=message.verb, ok=False, reason=reason), in_reply_to=request))
            return False
        return True

    def _note(self, **changed: Any) -> None:
        """On disk when it returns. Raises SeenFault."""
        with self._noting:
            noted = msgspec.structs.replace(self._noted, **changed)
            seen.save(self._seen_path, noted)
            self._noted = noted

    def _reserve_ids(self, now: Moment) -> None:
        """Where the clock was set back: or all we say after a restart would count as replayed until it is there again."""
        last_id = self._sealer.last_id
        if last_id > int(now.wall * 1e9) + AHEAD_NS and last_id >= self._noted.sent:
            try:
                self._note(sent=last_id + RESERVE)
            except seen.SeenFault as fault:
                self._drop("not-noted", "", str(fault), logging.ERROR)

    def _send(self, effect: Send) -> None:
        now = moment()
        self._reserve_ids(now)
        try:
            data = self._sealed(effect, now)
            self.bus.send(effect.to, data)
        except BusDown:
            self._drop("bus-down", "", f"{type(effect.message).__name__} is dropped: the bus is down", logging.INFO)
        except (BusError, ProtocolError) as fault:
            self._drop("not-sent", "", f"{type(effect.message).__name__} is not sent: {fault}", logging.ERROR)

    def _sealed(self, effect: Send, now: Moment) -> bytes:
        def seal(message: Message) -> bytes:
            reply, epoch = effect.in_reply_to, self._opener.epoch
            return self._sealer.seal(message, effect.to, now.wall, ttl_s=effect.ttl_s, in_reply_to=reply, epoch=epoch)

        try:
            return seal(effect.message)
        except ProtocolError as fault:
            instead = too_large(effect.message, str(fault))
            if instead is None:
                raise
            return seal(instead)

    def _drop(self, reason: str, sender: str, text: str, level: int = logging.WARNING) -> None:
        self.dropped[reason] += 1
        first = f"dropped ({reason}){f' {sender}' if sender else ''}: {text}"
        more = f"dropped ({reason}) {{}} more" + (f" from {sender}" if sender else "")
        for sentence in self._limit.note((reason, sender), first, more, time.monotonic()):
            logging.getLogger("vmherd.bus").log(level, "%s", sentence)


def too_large(message: Message, why: str) -> Message | None:
    """What to say instead of an answer that cannot be sent, so that the manager does not wait for nothing."""
    if isinstance(message, PropVal):
        return PropErr(errors={message.reading.name: why})
    if isinstance(message, PropList):
        return PropErr(errors={reading.name: why for reading in message.readings})
    if isinstance(message, (ExecVal, ExecErr)):
        kind: Literal["error"] = "error"
        reason = f"it ended, but its result cannot be sent: {why}"
        return ExecErr(execution=message.execution, kind=kind, reason=reason, elapsed_s=message.elapsed_s)
    if isinstance(message, ClbControl):
        return ClbControl(verb=message.verb, ok=False, reason=why)
    return None


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """A new configuration for the workers of a thread; plugins are loaded afresh."""

    setup: Setup
    parallel: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The thread ends."""


class _WorkerThread:
    """What ReaderDaemon and Runner have in common: one mailbox in, one pool of worker processes."""

    def __init__(self, name: str, config: ClientConfig, inbox: Inbox, limits: Limits, environment: Mapping[str, str]) -> None:
        self.mailbox: Mailbox[object] = Mailbox(INBOX_MAX)
        self._inbox = inbox
        self._limit = RateLimit(60.0)  # a bad plugin says the same at each read
        self.pool = Pool(name, setup_of(config, self.data_bytes), limits, environment=environment)
        self._log = logging.getLogger(f"vmherd.{name}s" if name == "reader" else f"vmherd.{name}")

    data_bytes = 0

    def run(self) -> None:
        """The body of the thread; returns after Finish."""
        self.pool.watch(self.mailbox.fileno())
        self.begin()
        while True:
            for item in self.mailbox.take():
                if isinstance(item, Finish):
                    self.pool.close()
                    self.mailbox.close()
                    return
                self.do(item)
            for outcome in self.pool.wait(None):
                self._report(outcome)

    def begin(self) -> None:
        """Before the first item."""

    def do(self, item: object) -> None:
        raise NotImplementedError

    def ended(self, ended: Ended) -> Event:
        raise NotImplementedError

    def _report(self, outcome: Outcome) -> None:
        if isinstance(outcome, Ended):
            self._inbox.put(self.ended(outcome))
        elif isinstance(outcome, Said):
            level, text = getattr(logging, outcome.level.upper()), outcome.text
            for sentence in self._limit.note(text, text, f"{text} ({{}} more times)", time.monotonic()):
                self._log.log(level, "%s", sentence)
        elif isinstance(outcome, Progressed):
            self.progressed(outcome)
        else:
            self.catalogue(outcome)

    def catalogue(self, catalogue: Catalogue) -> None:
        """What the plugins offer has been found out."""

    def progressed(self, progressed: Progressed) -> None:
        """Nobody wants to know how far a reader is."""


class ReaderDaemon(_WorkerThread):
    """Reads properties in worker processes. One worker is kept warm, because most reads take a millisecond."""

    data_bytes = READER_DATA_BYTES

    def __init__(self, config: ClientConfig, inbox: Inbox, environment: Mapping[str, str]) -> None:
        super().__init__("reader", config, inbox, READERS, environment)

    def begin(self) -> None:
        self.pool.start()

    def do(self, item: object) -> None:
        if isinstance(item, Reconfigure):
            self.pool.reconfigure(item.setup)
        elif isinstance(item, Read):
            one = item.property
            named: dict[str, Value] = {**one.named}
            job = Job(0, "reader", one.command, one.positional, named, one.timeout_s, one.type_bytes_max)
            self.pool.submit(one.name, job)

    def ended(self, ended: Ended) -> Event:
        error = "" if ended.kind == "ok" else ended.reason
        if ended.output:
            self._log.debug("%s printed: %s", ended.key, ended.output[:2000])
        return ReadDone(ended.key, ended.value, error, ended.unit, ended.started_mono)

    def catalogue(self, catalogue: Catalogue) -> None:
        plugins = catalogue.ready.plugins
        readers = tuple(entry.name for entry in plugins if entry.kind == "reader")
        commands = {entry.name: entry.subject for entry in plugins if entry.kind == "command"}
        self._inbox.put(Loaded(readers, commands, catalogue.ready.faults))


class Runner(_WorkerThread):
    """Runs commands in worker processes, and writes the journal."""

    def __init__(self, config: ClientConfig, inbox: Inbox, journal: JournalFile, environment: Mapping[str, str]) -> None:
        super().__init__("runner", config, inbox, runner_limits(config.parallel), environment)
        self._journal = journal

    def do(self, item: object) -> None:
        if isinstance(item, Reconfigure):
            self.pool.limits = runner_limits(item.parallel)
            self.pool.reconfigure(item.setup, start=False)
        elif isinstance(item, Run):
            job = Job(0, "command", item.command, (), item.parameters, item.timeout_s, RESULT_BYTES_MAX)
            self.pool.submit(item.execution, job)
        elif isinstance(item, Abort):
            self.pool.abort(item.execution, item.why)
        elif isinstance(item, Journal):
            self._write(item)
        elif isinstance(item, Recall):
            self._recall(item)

    def ended(self, ended: Ended) -> Event:
        return RunDone(ended.key, ended.kind, ended.reason, ended.value, ended.output, ended.elapsed_s)

    def progressed(self, progressed: Progressed) -> None:
        self._inbox.put(Progress(progressed.key, progressed.text, progressed.share))

    def _write(self, item: Journal) -> None:
        error = ""
        try:
            if item.answer is None:
                self._journal.begin(item.execution, item.at, item.in_reply_to)
            else:
                self._journal.end(item.execution, item.answer, item.at)
        except (OSError, ProtocolError) as fault:
            error = getattr(fault, "strerror", None) or str(fault)
        self._inbox.put(Journaled(item.execution, error))

    def _recall(self, item: Recall) -> None:
        error, answer = "", None
        try:
            answer = self._journal.recall(item.execution)
        except OSError as fault:
            error = fault.strerror or str(fault)
        self._inbox.put(Recalled(item.execution, answer, item.in_reply_to, error))
