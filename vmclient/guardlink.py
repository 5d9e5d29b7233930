"""The client's connection with its guard: finds it or starts it, and carries words to and fro. A thread; decides nothing.

A guard of another setup (an upgrade, another configuration) is killed and followed by a new one at once: it finds the book, the
end of the lease and the watchdog as they are, and the VMs notice nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from vmclient import guard_files
from vmclient.events import Event, GuardCame, GuardFailed, GuardGone, GuardSaid
from vmclient.guard_setup import GuardSetup
from vmclient.guardwords import FromClient, Here, Lines, WordsFault, from_guard, line
from vmclient.process import worker_environment

READ_BYTES = 65_536
START_S = 10.0  # from its start to its first word
AGAIN_S = 2.0  # between two attempts
HERE_S = 5.0  # from the connection to the first word of a guard that was there already; else it hangs, and is replaced
POLL_S = 0.02
_log = logging.getLogger("vmherd.lease")


class Inbox(Protocol):
    def put(self, event: Event) -> None: ...


class GuardLink:
    def __init__(self, setup: GuardSetup, environment: Mapping[str, str], inbox: Inbox) -> None:
        self._setup = setup
        self._environment = worker_environment(environment) | {
            key: environment[key] for key in ("JOURNAL_STREAM",) if key in environment
        }
        self._inbox = inbox
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._guarding = threading.Lock()  # of the two below
        self._connected: socket.socket | None = None
        self._channel: socket.socket | None = None  # the same, once it is known to be our guard's
        self._process: subprocess.Popen[bytes] | None = None

    def want(self, *, anew: bool = False) -> None:
        """From now on there is to be a guard; `anew`: another one than there is."""
        self._wanted.set()
        with self._guarding:
            if anew and self._connected is not None:
                _kill(self._connected)

    def reconfigure(self, setup: GuardSetup) -> None:
        """A guard with this setup is to follow the one that there is, where that has another."""
        if setup != self._setup:
            self._setup = setup
            if self._wanted.is_set():
                self.want(anew=True)

    def put(self, word: FromClient) -> None:
        """Any thread. Dropped where there is no connection; one that takes nothing is closed, and opened anew."""
        with self._guarding:
            channel = self._channel
            if channel is None:
                return
            data = line(word)
            try:
                sent = channel.send(data, socket.MSG_DONTWAIT)
            except OSError:
                sent = 0
            if sent != len(data):
                with contextlib.suppress(OSError):
                    channel.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Ends the thread; the guard stays."""
        self._closing.set()
        self._wanted.set()
        with self._guarding, contextlib.suppress(OSError):
            if self._connected is not None:
                self._connected.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """The body of the thread."""
        self._wanted.wait()
        while not self._closing.is_set():
            why = self._one_guard()
            if why and not self._closing.is_set():
                self._inbox.put(GuardFailed(why))
                self._closing.wait(AGAIN_S)

    def _one_guard(self) -> str:
        """From the connection to its end; why there was none."""
        try:
            channel = self._connect() or self._start()
        except OSError as fault:
            return fault.strerror or str(fault)
        if channel is None:
            return "it was started and does not answer" if not self._closing.is_set() else ""
        with self._guarding:
            self._connected = channel
        with channel:
            try:
                came = False if self._closing.is_set() else self._serve(channel)
            finally:
                with self._guarding:
                    self._channel = self._connected = None
        if came:
            self._inbox.put(GuardGone())
        return ""

    def _serve(self, channel: socket.socket) -> bool:
        """Until it is closed; was this our guard?"""
        lines, came = Lines(), False
        while True:
            try:
                data = channel.recv(READ_BYTES)
                words = [from_guard(each) for each in lines.take(data)]
            except TimeoutError:
                _log.error("the guard does not answer: it is killed, and another one started")
                _kill(channel)
                return came
            except (OSError, WordsFault):
                return came
            for word in words:
                if not isinstance(word, Here):
                    if came:
                        self._inbox.put(GuardSaid(word))
                elif word.setup == self._setup.digest:
                    came = True
                    channel.settimeout(None)
                    with self._guarding:
                        self._channel = channel
                    self._inbox.put(GuardCame())
                else:
                    self._replace(channel)
            if not data or self._closing.is_set():
                return came

    @staticmethod
    def _replace(channel: socket.socket) -> None:
        _log.info("the guard was started with another setup: a new one takes over")
        _kill(channel)

    def _connect(self) -> socket.socket | None:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(HERE_S)
        try:
            with guard_files.short_path(self._setup.state) as path:
                channel.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            channel.close()
            return None
        return channel

    def _start(self) -> socket.socket | None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vmclient.guard"],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env=self._environment,
        )
        assert self._process.stdin is not None
        with self._process.stdin as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(self._setup.encode())
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and not self._closing.wait(POLL_S):
            self._process.poll()  # so that it does not stay as a zombie
            if (channel := self._connect()) is not None:
                return channel
        return None


def _kill(channel: socket.socket) -> None:
    """The process at the other end. Its successor finds all that it knew."""
    pid = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
