"""The guard: `python -m vmclient.guard`, started by the client with a GuardSetup on standard input. It outlives the client.

One thread owns core, watchdog and sockets and waits for nothing else, so that "it feeds" means "it works". Whatever may hang
(the hypervisor, the storage, the disk, the log) has a thread of its own, and what does not come back is no evidence.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib
import logging
import math
import os
import queue
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import logs
from common.blockfile import read_block, write_block
from common.hypervisor import Hypervisor, HypervisorError, NoSuchDomain, plain_name
from common.leases import Terms
from common.plugin import Site
from common.storagebeat import Beat, BlockFault, Claim, beat_path, claim_path
from vmclient import guard_files
from vmclient.guard_book import Book
from vmclient.guard_core import Guard
from vmclient.guard_events import (
    Arm,
    Came,
    Destroy,
    Destroyed,
    Effect,
    End,
    Event,
    Feed,
    Gone,
    Leave,
    List,
    Listed,
    Look,
    Looked,
    Note,
    Probe,
    Release,
    Remember,
    Save,
    Saved,
    Say,
    Seen,
    Slept,
    Tick,
    Told,
    WakeAt,
)
from vmclient.guard_setup import GuardSetup
from vmclient.guardwords import Here, Lines, WordsFault, from_client, line
from vmclient.mailbox import Mailbox
from vmclient.sleep import Sleep
from vmclient.watchdog import SimWatchdog, Watchdog, device_of

HYPERVISOR = "plugins.hypervisor_open"  # by name: the client's folder imports no plugin
SIM_WATCHDOG = "plugins.sim_watchdog"
WAIT_S_MAX = 5.0
NOTES_MAX = 1000
LAST_LINE_S = 1.0
STACK_BYTES = 512 * 1024  # of a thread: there may be one for each domain, and memory is locked
EXIT_RUNS_ALREADY = 3
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # mlockall(2)
NICE = -20

_log = logs.part("guard")


class GuardProcess:
    """The edge: events in, effects out."""

    def __init__(self, setup: GuardSetup, listener: socket.socket, watchdog: Watchdog) -> None:
        self._setup = setup
        self._listener = listener
        self._watchdog = watchdog
        self._inbox: Mailbox[Event] = Mailbox(1)
        self._own: deque[Event] = deque()
        self._disk: queue.Queue[Save | Remember] = queue.Queue()
        self._notes: queue.Queue[Note | None] = queue.Queue(NOTES_MAX)
        self._logging = threading.Thread(target=self._say_notes, name="notes", daemon=True)
        self._selector = selectors.DefaultSelector()
        self._client: socket.socket | None = None
        self._lines = Lines()
        self._ended = False
        now = time.monotonic()
        self._core = Guard(
            *self._kept(now), now, until=guard_files.lease_until(setup.state, setup.boot_id), storage=bool(setup.storage)
        )

    def _kept(self, now: float) -> tuple[Book, Terms | None]:
        try:
            kept = guard_files.load(self._setup.state)
        except guard_files.BookFault as fault:
            self._note(Note(f"{fault}: every domain of ours counts as protected", "error"))
            return Book((), (), now, everything=True), None
        if guard_files.is_of_another_boot(self._setup.state, self._setup.boot_id):
            # none of them runs, unless the machine starts domains by itself: protected where listed, and until then there is no
            # watchdog that would reset a host again and again whose hypervisor is slow to come up
            return Book((), sorted({*kept.names, *kept.known}), now), kept.terms
        return Book(kept.names, kept.known, now), kept.terms

    def run(self) -> None:
        """Until there is nothing left to guard."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._inbox, selectors.EVENT_READ, self._take)
        threading.Thread(target=self._write, name="disk", daemon=True).start()
        self._logging.start()
        self._note(Note(f"guards the protected VMs of {self._setup.host} (process {os.getpid()})"))
        sleep = Sleep()
        wake = self._step(Tick())
        while not self._ended and not self._is_over():
            wait_s = 0.0 if self._own else max(0.0, min(wake - time.monotonic(), WAIT_S_MAX))
            ready = self._selector.select(wait_s)
            if slept_s := sleep.slept_s():
                self._step(Slept(slept_s))
            for key, _ in ready:
                key.data()
            event = self._own.popleft() if self._own else Tick()
            wake = self._step(event)
        with contextlib.suppress(queue.Full):
            self._notes.put_nowait(None)
        self._logging.join(LAST_LINE_S)

    def _is_over(self) -> bool:
        """A simulated farm that was thrown away has no domain any more, and nobody will ever list one."""
        farm = self._setup.hypervisor.farm
        return self._setup.hypervisor.engine == "sim" and farm is not None and not farm.is_dir()

    def asked_to_leave(self) -> None:
        """In a handler of a signal, which may interrupt anything: seen after WAIT_S_MAX at the latest."""
        self._own.append(Leave())

    def _step(self, event: Event) -> float:
        wake = math.inf
        for effect in self._core.step(event, time.monotonic()):
            if isinstance(effect, WakeAt):
                wake = effect.mono
            else:
                self._perform(effect)
        return wake

    def _perform(self, effect: Effect) -> None:
        if isinstance(effect, Note):
            self._note(effect)
        elif isinstance(effect, (Save, Remember)):
            self._disk.put(effect)
        elif isinstance(effect, Say):
            self._send(line(effect.word))
        elif isinstance(effect, Probe):
            self._own.append(self._watchdog.probe(effect.timeout_s))
        elif isinstance(effect, Arm):
            self._own.append(self._watchdog.arm(effect.timeout_s))
        elif isinstance(effect, Release):
            self._own.append(self._watchdog.release())
        elif isinstance(effect, Feed):
            if (told := self._watchdog.feed(effect.until)) is not None:
                self._own.append(told)
        elif isinstance(effect, List):
            self._aside(self._list, effect)
        elif isinstance(effect, Destroy):
            self._aside(self._destroy, effect)
        elif isinstance(effect, Look):
            self._aside(self._look, effect)
        elif isinstance(effect, End):
            self._ended = True

    # --- the client -----------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        uid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (0, os.geteuid()):
            client.close()
            return
        self._hang_up()
        client.setblocking(False)
        self._client, self._lines = client, Lines()
        self._selector.register(client, selectors.EVENT_READ, self._hear)
        self._send(line(Here(self._setup.digest)))
        self._own.append(Came())

    def _hear(self) -> None:
        assert self._client is not None
        try:
            data = self._client.recv(65_536)
            words = [from_client(each) for each in self._lines.take(data)]
        except BlockingIOError:
            return
        except (OSError, WordsFault) as fault:
            self._note(Note(f"the client is not understood: {fault}", "warning"))
            data, words = b"", []
        self._own += [Told(word) for word in words]
        if not data:
            self._hang_up()

    def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._selector.unregister(client)
            client.close()
            self._own.append(Gone())

    def _send(self, data: bytes) -> None:
        """A client that does not read is no reason to wait: it hears nothing until it comes anew."""
        if self._client is None:
            return
        try:
            if self._client.send(data) != len(data):
                self._hang_up()
        except BlockingIOError:
            self._hang_up()
        except OSError:
            self._hang_up()

    # --- what may hang --------------------------------------------------------------------------------------------------------

    def _aside(self, work: Callable[[Any], Event], effect: Effect) -> None:
        def run() -> None:
            self._inbox.put(work(effect), beyond=True)

        threading.Thread(target=run, name=type(effect).__name__, daemon=True).start()

    def _take(self) -> None:
        self._own += self._inbox.take()

    def _hypervisor(self) -> Hypervisor:
        made: Hypervisor = importlib.import_module(HYPERVISOR).open_hypervisor(
            Site(self._setup.host, hypervisor=self._setup.hypervisor)
        )
        return made

    def _list(self, effect: List) -> Event:
        began = time.monotonic()
        try:
            ours = [one for one in self._hypervisor().domains() if one.ours]
            return Listed(began, tuple(Seen(one.name, plain_name(one.name)) for one in ours))
        except HypervisorError as fault:
            return Listed(began, error=str(fault))
        except Exception as fault:  # noqa: BLE001 - the top of a thread: whatever it was, nothing was listed
            return Listed(began, error=f"{type(fault).__name__}: {fault}")

    def _destroy(self, effect: Destroy) -> Event:
        try:
            self._hypervisor().destroy(effect.name, limit_s=effect.limit_s)
        except NoSuchDomain:
            return Destroyed(effect.name)
        except HypervisorError as fault:
            return Destroyed(effect.name, str(fault))
        except Exception as fault:  # noqa: BLE001 - the top of a thread: it is tried again
            return Destroyed(effect.name, f"{effect.name}: {type(fault).__name__}: {fault}")
        return Destroyed(effect.name)

    def _look(self, effect: Look) -> Event:
        """One whole look. safety: it counts from its beginning, before anything was written or read."""
        began, host, storage = time.monotonic(), self._setup.host, self._setup.storage
        assert storage is not None
        try:
            claim = Claim.decode(read_block(Path(claim_path(storage, host))))
            if claim.host != host:
                raise BlockFault(f"{claim_path(storage, host)} is of {claim.host}")
            if claim.number:  # safety: a beat says that no claim is seen
                return Looked(began, claim.number)
            beat = Path(beat_path(storage, host))
            beat.parent.mkdir(exist_ok=True)  # the claim is there, so the storage is
            write_block(beat, Beat(host, self._setup.boot_id, effect.n).encode())
            claim = Claim.decode(read_block(Path(claim_path(storage, host))))
        except OSError as fault:
            return Looked(began, error=f"{fault.filename or storage}: {fault.strerror}")
        except BlockFault as fault:
            return Looked(began, error=f"{claim_path(storage, host)}: {fault}")
        return Looked(began, claim.number)

    def _write(self) -> None:
        while True:
            effect = self._disk.get()
            try:
                if isinstance(effect, Remember):
                    guard_files.remember(self._setup.state, self._setup.boot_id, effect.until)
                    continue
                kept = guard_files.Kept(tuple(sorted(effect.names)), effect.known, effect.terms)
                guard_files.save(self._setup.state, kept)
                self._inbox.put(Saved(effect.names), beyond=True)
            except OSError as fault:
                if isinstance(effect, Save):
                    self._inbox.put(Saved(effect.names, fault.strerror or str(fault)), beyond=True)

    # --- the log --------------------------------------------------------------------------------------------------------------

    def _note(self, note: Note) -> None:
        with contextlib.suppress(queue.Full):
            self._notes.put_nowait(note)

    def _say_notes(self) -> None:
        while (note := self._notes.get()) is not None:
            _log.log(getattr(logging, note.level.upper()), "%s", note.text)


def hardened() -> list[str]:
    """Memory locked, first in the queue, spared when memory runs out; what is not allowed is said, not needed."""
    failed = []
    if ctypes.CDLL(None, use_errno=True).mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        failed.append(f"its memory may be swapped out ({os.strerror(ctypes.get_errno())})")
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        except OSError as fault:
            failed.append(f"it runs at no higher priority ({fault.strerror})")
    try:
        Path("/proc/self/oom_score_adj").write_text("-1000", encoding="ascii")
    except OSError as fault:
        failed.append(f"it is not spared when memory runs out ({fault.strerror})")
    return failed


def watchdog_of(setup: GuardSetup) -> Watchdog:
    if setup.watchdog != "sim":
        return device_of(setup.watchdog)
    farm = setup.hypervisor.farm
    assert farm is not None  # common/config/build.py
    return SimWatchdog(farm / f"{setup.host}.watchdog", lambda: _start_sim_watchdog(farm, setup.host))


def _start_sim_watchdog(farm: Path, host: str) -> None:
    """It listens when this returns."""
    ready, theirs = os.pipe()
    command = [sys.executable, "-P", "-m", SIM_WATCHDOG, str(farm), host, str(theirs)]
    try:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs], start_new_session=True, cwd="/")
    finally:
        os.close(theirs)
    os.read(ready, 1)
    os.close(ready)


def listening(state: Path) -> socket.socket:
    """In the state folder, which outlives a stop of the service."""
    guard_files.socket_path(state).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with guard_files.short_path(state) as path:
        listener.bind(path)
    os.chmod(guard_files.socket_path(state), 0o600)
    listener.listen(4)
    listener.setblocking(False)
    return listener


def main() -> int:
    setup = GuardSetup.decode(sys.stdin.buffer.read())
    logs.set_up(setup.log, "vmclient-guard")
    threading.stack_size(STACK_BYTES)
    lock = os.open(setup.state / guard_files.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return EXIT_RUNS_ALREADY
    for text in hardened():
        _log.warning("not as safe as it could be: %s", text)
    importlib.import_module(HYPERVISOR)  # now, not when it is needed
    process = GuardProcess(setup, listening(setup.state), watchdog_of(setup))
    signal.signal(signal.SIGTERM, lambda *_: process.asked_to_leave())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
