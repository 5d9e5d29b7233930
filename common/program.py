"""Runs one program without a shell: a time limit, an output limit, and its whole process group killed at the end of the time.

For plugins, in their worker process, and for fence agents. Standard input is empty, or what is given. `detached`: what the
program starts may outlive it (a service), so it gets a session of its own; otherwise its process group ends with it, and it
dies with the worker. Output is UTF-8, what is not is replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

FLOOD_BYTES = 64 * 1024 * 1024  # a program that writes more is killed
AFTER_END_S = 0.2  # a child of an ended program may hold its output open; nothing is waited for longer than that
POLL_S = 0.05  # only on kernels without pidfd (before Linux 5.3)


lifeline = -1  # a pipe whose other end the client holds; set in a worker. What we start ends when the client does


class NotStarted(Exception):
    """The program could not be started; the text names it and why."""


@dataclass(frozen=True, slots=True)
class Finished:
    """`status`: exit status, or minus the signal that ended it; None: killed at its limit, and `why`."""

    status: int | None
    output: str
    errors: str
    why: str = ""
    cut: bool = False  # output or errors were longer than the limit


def run_program(
    argv: Sequence[str],
    *,
    timeout_s: float,
    output_bytes_max: int = 65_536,
    detached: bool = False,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Finished:
    """Raises NotStarted. Never takes much longer than `timeout_s`."""
    with contextlib.ExitStack() as stack:
        given = stack.enter_context(_nameless_file()) if stdin else None
        if given is not None:
            given.write(stdin)
            given.seek(0)
        files = [stack.enter_context(_nameless_file()) for _ in range(2)] if detached else []
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=given if given is not None else subprocess.DEVNULL,
                stdout=files[0] if detached else subprocess.PIPE,
                stderr=files[1] if detached else subprocess.PIPE,
                start_new_session=detached,
                process_group=None if detached else 0,
                preexec_fn=_limits_back if _limited() else None,  # a worker has one thread, so this is safe
                env=dict(environment) if environment is not None else None,
                bufsize=0,
            )
        except (OSError, ValueError) as fault:
            raise NotStarted(f"{argv[0]}: {getattr(fault, 'strerror', None) or fault}") from None
        stack.enter_context(process)
        if lifeline >= 0 and not detached:
            stack.enter_context(_dies_with_client(process.pid))
        reading = _Reading(process, output_bytes_max)
        try:
            why = reading.wait(time.monotonic() + timeout_s, timeout_s)
        finally:
            if process.poll() is None or not detached:
                _kill(process)
        output, errors = (_head(file, output_bytes_max) for file in files) if detached else reading.texts()
        cut = max(len(output), len(errors)) > output_bytes_max
        status = None if why else process.returncode
        return Finished(status, _text(output, output_bytes_max), _text(errors, output_bytes_max), why, cut)


class _Reading:
    """Waits for the end of a process and keeps the beginning of what it writes."""

    def __init__(self, process: subprocess.Popen[bytes], bytes_max: int) -> None:
        self._process = process
        self._bytes_max = bytes_max
        self._kept: dict[int, bytearray] = {}
        self._order = [file.fileno() for file in (process.stdout, process.stderr) if file is not None]
        self._total = 0
        self._selector = selectors.DefaultSelector()
        for number in self._order:
            self._kept[number] = bytearray()
            self._selector.register(number, selectors.EVENT_READ)

    def wait(self, deadline: float, timeout_s: float) -> str:
        """Why it was killed, or empty when it ended by itself."""
        with self._selector, _ended_file(self._process.pid) as ended:
            if ended >= 0:
                self._selector.register(ended, selectors.EVENT_READ)
            why = ""
            while self._process.poll() is None and not why:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    why = f"no end within {timeout_s:g} s"
                elif self._total > FLOOD_BYTES:
                    why = f"it wrote more than {FLOOD_BYTES} bytes"
                else:
                    self._take(left_s if ended >= 0 else min(left_s, POLL_S), ended)
            if why:
                _kill(self._process)
            if ended >= 0:
                self._selector.unregister(ended)
            self._rest(time.monotonic() + AFTER_END_S)
            return why

    def texts(self) -> tuple[bytes, bytes]:
        first, second = (bytes(self._kept[number]) for number in self._order)
        return first, second

    def _take(self, timeout_s: float, ended: int) -> bool:
        ready = [key.fd for key, _ in self._selector.select(timeout_s) if key.fd != ended]
        for number in ready:
            data = os.read(number, 65_536)
            self._total += len(data)
            self._kept[number] += data[: self._bytes_max + 1 - len(self._kept[number])]
            if not data:
                self._selector.unregister(number)
        return bool(ready)

    def _rest(self, until: float) -> None:
        while self._selector.get_map() and time.monotonic() < until and self._total <= FLOOD_BYTES:
            if not self._take(max(0.0, until - time.monotonic()), -1):
                return


@contextlib.contextmanager
def _ended_file(pid: int) -> Iterator[int]:
    try:
        number = os.pidfd_open(pid)
    except (OSError, AttributeError):
        number = -1
    try:
        yield number
    finally:
        if number >= 0:
            os.close(number)


def live_no_longer_than(pipe: int, owner: int, number: int) -> bool:
    """The kernel sends `number` to process `owner` (a group: its negative) when the last writer of `pipe` is gone; fcntl(2),
    F_SETOWN and O_ASYNC. False: it is gone already.

    safety: a command must not go on when its client was killed, for the next client would start another beside it. A signal by
    the kernel also ends what hangs in C code, where a thread that watches could not run."""
    fcntl.fcntl(pipe, fcntl.F_SETOWN, owner)
    fcntl.fcntl(pipe, fcntl.F_SETSIG, number)
    fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    try:
        return os.read(pipe, 1) != b""
    except BlockingIOError:
        return True


@contextlib.contextmanager
def _dies_with_client(group: int) -> Iterator[None]:
    own = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # an owner is per open file
    try:
        with contextlib.suppress(OSError):  # it has ended already
            if not live_no_longer_than(own, -group, signal.SIGKILL):
                os.killpg(group, signal.SIGKILL)
        yield
    finally:
        os.close(own)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)


def _nameless_file() -> IO[bytes]:
    """Gone when the last one closes it. What a service writes there after its start is lost, but does not end it."""
    try:
        number = os.open("/tmp", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        number = os.memfd_create("output")  # a file system without O_TMPFILE
    return open(number, "w+b", buffering=0)


def _text(data: bytes, bytes_max: int) -> str:
    return data[:bytes_max].decode("utf-8", "replace")


def _head(file: IO[bytes], bytes_max: int) -> bytes:
    file.seek(0)
    return file.read(bytes_max + 1)


def _limited() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    return soft != hard


def _limits_back() -> None:
    """The worker's own limit on memory is for Python plugins; a program may take what the machine gives."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
