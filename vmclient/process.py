"""One worker process seen from the client: start, say, hear, what it printed, kill, and how it ended. Decides nothing.

Everything is non-blocking; the owner waits with a selector on `files()`. The end of the process is told by its pidfd where the
kernel has one (Linux 5.3), because a process that a plugin left behind may hold the socket open. The worker holds the reading
end of a pipe whose other end only we have: when we are gone, however, the kernel ends it (common/program.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

from vmclient.frames import Frames, FromWorker, ToWorker, frame
from vmclient.hearing import heard

READ_BYTES = 65_536
OUTPUT_KEPT_BYTES = 60_000  # of one job; the protocol's texts take 65,536
OUTPUT_BYTES_MAX = 4 * 1024 * 1024  # printed by one job: more is a flood, and its process is killed
ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "TZ")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

KillGroup = Callable[[int, int], None]


class Process:
    """A worker. `printed_bytes` counts what its plugins printed since `begin_job`."""

    def __init__(self, environment: Mapping[str, str], kill_group: KillGroup = os.killpg) -> None:
        """Raises OSError when no process can be started."""
        ours, theirs = socket.socketpair()
        life, self._life = os.pipe()
        try:
            with theirs:
                self._popen = subprocess.Popen(
                    [sys.executable, "-P", "-m", "vmclient.worker", str(theirs.fileno()), str(life)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[theirs.fileno(), life],
                    start_new_session=True,
                    cwd="/",
                    env=worker_environment(environment),
                    bufsize=0,
                )
        except BaseException:
            ours.close()
            os.close(self._life)
            raise
        finally:
            os.close(life)
        ours.setblocking(False)
        self._channel = ours
        assert self._popen.stdout is not None
        self._output = self._popen.stdout.fileno()
        os.set_blocking(self._output, False)
        self._pidfd = _pidfd(self._popen.pid)
        self._kill_group = kill_group
        self._frames = Frames()
        self._unsent = bytearray()
        self._kept = bytearray()
        self.printed_bytes = 0
        self.closed = False

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def files(self) -> dict[str, int]:
        """What to wait for: `channel` and `output` for reading, `end` (the pidfd) where there is one."""
        return {"channel": self._channel.fileno(), "output": self._output} | ({"end": self._pidfd} if self._pidfd >= 0 else {})

    @property
    def has_pidfd(self) -> bool:
        return self._pidfd >= 0

    def say(self, what: ToWorker) -> None:
        """Queues and sends what the socket takes now; call `push` when it can take more. Raises what `frame` raises."""
        self._unsent += frame(what)
        self.push()

    def push(self) -> None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._unsent:
                del self._unsent[: self._channel.send(self._unsent)]

    def hear(self) -> tuple[list[FromWorker], bool]:
        """What it said, and whether its end of the socket is closed. Raises FrameFault."""
        said: list[FromWorker] = []
        try:
            data = self._channel.recv(READ_BYTES)
        except BlockingIOError:
            return said, False
        except ConnectionResetError:
            data = b""
        said += [heard(body) for body in self._frames.feed(data)]
        return said, not data

    def collect(self) -> bool:
        """Takes what was printed, keeps its beginning; False when nobody can print any more."""
        try:
            data = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return True
        self.printed_bytes += len(data)
        self._kept += data[: max(0, OUTPUT_KEPT_BYTES - len(self._kept))]
        return bool(data)

    def begin_job(self) -> None:
        while self.printed_bytes <= OUTPUT_BYTES_MAX and self._pending_output():
            pass
        self.printed_bytes = 0
        self._kept.clear()

    def printed(self) -> str:
        """What was printed since begin_job, cut, with everything that has arrived by now."""
        while self.printed_bytes <= OUTPUT_BYTES_MAX and self._pending_output():
            pass
        text = self._kept.decode("utf-8", "replace")
        return text if self.printed_bytes <= OUTPUT_KEPT_BYTES else f"{text}\n(cut, {self.printed_bytes} bytes were printed)"

    def _pending_output(self) -> bool:
        before = self.printed_bytes
        return self.collect() and self.printed_bytes > before

    def kill(self) -> None:
        """The worker's process group at once, and whatever else is left of its session (programs have a group of their own)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._kill_group(self._popen.pid, signal.SIGKILL)
        for pid in in_session(self._popen.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def ended(self) -> str | None:
        """How it ended, in words, or None while it lives. From then on its number may be another's."""
        status = self._popen.poll()
        if status is None:
            return None
        return f"killed by {_signal_name(-status)}" if status < 0 else f"ended with status {status}"

    def no_more(self) -> None:
        """Nothing more will be said: it ends when it has done what it was told."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Closes our ends. Idempotent; files() is not valid any more."""
        if self.closed:
            return
        self.closed = True
        self._channel.close()
        os.close(self._life)
        assert self._popen.stdout is not None
        self._popen.stdout.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)


def worker_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What programs started by plugins see: no secrets, no watchdog, texts in plain English."""
    return {"PATH": PATH, "LC_ALL": "C.UTF-8"} | {name: ours[name] for name in ENVIRONMENT if name in ours}


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: D is uninterruptible sleep, which no signal ends. Empty: no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def in_session(session: int) -> list[int]:
    """Processes of this session but for its leader; proc(5), field 6 of stat."""
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in numbers if pid != session and _session_of(pid) == session]


def _session_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[3])
    except (OSError, IndexError, ValueError):
        return 0


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
