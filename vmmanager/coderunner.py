"""Processes of the manager: a forked child for each run of a trigger's code, and the site's notify program. One thread watches.

A child sees the farm of the instant of its fork, hands its result back over a pipe as msgpack, and is killed with its process
group when its budget is over. Every child is reaped, nothing is unpickled. Knows no trigger: what to run comes as a function.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from common import logs
from vmmanager.mailbox import Mailbox

RESULT_BYTES_MAX = 16 * 1024 * 1024
CHILDREN_MAX = 8  # code that runs at the same time; more is refused, and the trigger fires again by its rules
NOTIFY_S_MAX = 30.0
LAST_WORDS_S = 3.0  # of the 10 s that a stop may take
NOTIFY_MAX = 16  # notify programs at the same time; more messages wait
NOTIFY_WAITING_MAX = 1_000
READ_BYTES = 1 << 16
KIN_ROUNDS_MAX = 100  # a fork bomb may be faster than we are
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
GRACE_S = 0.05  # beyond the budget, for fork and pipe

T = TypeVar("T")
_log = logs.part("triggers")


@dataclass(slots=True)
class Outcome:
    """How a child ended: its result, or why there is none."""

    result: bytes = b""
    error: str = ""
    over_budget: bool = False
    elapsed_s: float = 0.0


@dataclass(slots=True)
class _Child:
    pid: int
    pipe: int
    started: float
    deadline: float
    done: Callable[[Outcome], None]
    read: bytearray = field(default_factory=bytearray)


class CodeRunner:
    """`fork` is called by the thread that owns the farm; `run` is the thread that watches."""

    def __init__(self) -> None:
        wakeup, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup = wakeup
        self._started: Mailbox[_Child] = Mailbox("code", CHILDREN_MAX, on_put=self._wake)
        self.notices: Mailbox[tuple[tuple[str, ...], bytes]] = Mailbox("notify", NOTIFY_WAITING_MAX, on_put=self._wake)
        self._children: dict[int, _Child] = {}  # by pipe
        self._programs: dict[subprocess.Popen[bytes], float] = {}  # -> deadline
        self._running = 0
        self._stopping = False

    def __len__(self) -> int:
        return self._running

    def fork(self, code: Callable[[], bytes], budget_s: float, done: Callable[[Outcome], None]) -> None:
        """Runs `code` in a child; `done` is called in the watching thread, exactly once."""
        if self._running >= CHILDREN_MAX:
            done(Outcome(error=f"{CHILDREN_MAX} pieces of trigger code run already"))
            return
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        started = time.monotonic()
        try:
            pid = os.fork()
        except OSError as fault:
            os.close(read_end)
            os.close(write_end)
            done(Outcome(error=f"no process could be made for it: {fault.strerror}"))
            return
        if pid == 0:
            _be_child(code, write_end, budget_s)
        os.close(write_end)
        with contextlib.suppress(OSError):  # the child does the same; whoever is first
            os.setpgid(pid, pid)
        os.set_blocking(read_end, False)
        self._running += 1
        self._started.put_anyhow(_Child(pid, read_end, started, started + budget_s + GRACE_S, done))

    def stop(self) -> None:
        """Ends the thread; children that still run are killed, notify programs have LAST_WORDS_S."""
        self._stopping = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._waker, b"w")

    # --- the watching thread ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wakeup, selectors.EVENT_READ)
            while not self._stopping:
                for key, _ in selector.select(self._patience_s()):
                    if key.fd == self._wakeup:
                        with contextlib.suppress(BlockingIOError):
                            os.read(self._wakeup, READ_BYTES)
                    else:
                        self._read(selector, self._children[key.fd])
                for child in self._started.take(0.0):
                    self._children[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                self._kill_late(selector)
                self._care_for_programs()
            for child in [*self._children.values(), *self._started.take(0.0)]:
                self._children[child.pipe] = child
                self._end(selector, child, Outcome(error="the manager stops"), registered=False)
        self._last_words()

    def _last_words(self) -> None:
        """What was to be told is still told; a program that takes longer goes on without us."""
        end = time.monotonic() + LAST_WORDS_S
        self._care_for_programs()
        while self._programs and time.monotonic() < end:
            time.sleep(0.02)
            self._care_for_programs()

    def _patience_s(self) -> float | None:
        if self._programs:
            return 0.1  # their ends are polled
        deadlines = [child.deadline for child in self._children.values()]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _read(self, selector: selectors.BaseSelector, child: _Child) -> None:
        try:
            data = os.read(child.pipe, READ_BYTES)
        except BlockingIOError:
            return
        child.read += data
        if len(child.read) > RESULT_BYTES_MAX:
            self._end(selector, child, Outcome(error=f"what it wished for and printed is over {RESULT_BYTES_MAX >> 20} MiB"))
        elif not data:
            self._end(selector, child, Outcome(bytes(child.read)))

    def _kill_late(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for child in [child for child in self._children.values() if now >= child.deadline]:
            self._end(selector, child, Outcome(over_budget=True))

    def _end(self, selector: selectors.BaseSelector, child: _Child, outcome: Outcome, *, registered: bool = True) -> None:
        if registered:
            selector.unregister(child.pipe)
        del self._children[child.pipe]
        os.close(child.pipe)
        if outcome.over_budget:
            _kill_kin(child.pid)
        for kill in (os.killpg, os.kill):  # also what it left behind; also if it has left its group
            with contextlib.suppress(ProcessLookupError):
                kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        self._running -= 1
        outcome.elapsed_s = time.monotonic() - child.started
        if not outcome.result and not outcome.error and not outcome.over_budget:
            outcome.error = f"its process died ({_ending(status)})"
        child.done(outcome)

    # --- notify -----------------------------------------------------------------------------------------------------------

    def _care_for_programs(self) -> None:
        now = time.monotonic()
        for program, deadline in list(self._programs.items()):
            code = program.poll()
            if code is None and now < deadline:
                continue
            if code is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(program.pid, signal.SIGKILL)
                program.wait()
                _log.error("notify: %s was killed after %.0f s", program.args, NOTIFY_S_MAX)
            elif code:
                _log.error("notify: %s ended with code %d", program.args, code)
            del self._programs[program]
        for argv, text in self.notices.take(0.0, max(0, NOTIFY_MAX - len(self._programs))):
            self._start_program(argv, text)

    def _start_program(self, argv: tuple[str, ...], text: bytes) -> None:
        """The text goes over a file in memory, not a pipe: a program that does not read hinders nobody."""
        descriptor = os.memfd_create("notify")
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(text)
            os.lseek(descriptor, 0, os.SEEK_SET)
            program = subprocess.Popen(
                argv, stdin=descriptor, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            self._programs[program] = time.monotonic() + NOTIFY_S_MAX
        except OSError as fault:
            _log.error("notify: %s cannot be run: %s", argv, fault.strerror)
        finally:
            os.close(descriptor)


def _be_child(code: Callable[[], bytes], pipe: int, budget_s: float) -> None:
    """Never returns. The other threads do not exist here; what they held is not touched: no log, no lock, no exit handler."""
    status = 1
    try:
        os.setpgid(0, 0)
        _adopt_orphans()
        _leave_descriptors(pipe)
        limit = int(budget_s) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        result = memoryview(code())
        while result:
            result = result[os.write(pipe, result) :]
        status = 0
    except BaseException as fault:  # noqa: BLE001 - the top of a process; the parent says that it died
        with contextlib.suppress(OSError):
            os.write(2, f"a trigger's process failed: {fault!r}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _adopt_orphans() -> None:
    """What the code starts stays below its process, also a daemon that forks twice; see _kill_kin."""
    with contextlib.suppress(AttributeError, OSError):  # a C library without prctl
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_kin(pid: int) -> None:
    """Everything that this process has started, also in sessions of its own. It is stopped first, so that nothing comes after.

    Only for code that did not come to its end: what a firing that ended well has put into a session of its own may live."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    for _ in range(KIN_ROUNDS_MAX):
        kin = _kin(pid)
        for one in kin:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        if not kin:
            return


def _kin(pid: int) -> list[int]:
    """Living processes below this one; proc(5), state and ppid of stat."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if name.isdigit():
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    state, parent = file.read().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(name)] = int(parent)
    below = {pid}
    while more := {one for one, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(below - {pid})


def _leave_descriptors(pipe: int) -> None:
    """The operator's code gets neither our bus nor our store nor our sockets."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    high = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    high = 1 << 20 if high == resource.RLIM_INFINITY else high
    os.closerange(3, pipe)
    os.closerange(pipe + 1, high)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def encoded(value: Any) -> bytes:
    """For the pipe."""
    return msgspec.msgpack.encode(value)


def decoded(data: bytes, kind: type[T]) -> T:
    """Raises ValueError when a child sent something else."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError) as fault:
        raise ValueError(f"its result is not readable: {fault}") from None
