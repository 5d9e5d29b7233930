"""`bus engine = embedded`: vmbus as a child of the manager, started again when it dies, taken down with the manager.

The child is tied to us by PR_SET_PDEATHSIG (prctl(2)), so it ends even when we are killed; the signal comes when the *thread*
that started it ends, hence the thread of `run` lives as long as the daemon.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time

from common import logs
from common.config.model import BusConfig

RESTART_MIN_S, RESTART_MAX_S = 0.2, 10.0
CALM_S = 60.0  # a child that lived so long died by accident: start it again at once
STOP_S = 3.0
CANNOT_START = 2  # vmbus's exit code when it cannot listen: perhaps another daemon serves there, and we simply use that one
_LINE = re.compile(r"\S+ \S+ (debug|info|warning|error|critical) \S+: (.*)")

# Runs in the fresh interpreter: SIGTERM when the parent ends; gone already: end now.
_TIED = (
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,15);"
    "os.getppid()==int(sys.argv[1]) or sys.exit(0);"
    "sys.argv[:]=['vmbus',*sys.argv[2:]];"
    "from common.bus.vmbus.__main__ import main;"
    "sys.exit(main())"
)
_log = logs.part("bus")


def arguments(config: BusConfig) -> list[str]:
    """vmbus's own, for `daemon = PORT@HOST`, or PORT alone for the unix socket as Spread has it."""
    port, at, host = config.daemon.partition("@")
    return ["--listen", f"{host}:{port}"] if at else ["--listen", f"127.0.0.1:{port}", "--unix", f"/tmp/{port}"]


def _environment() -> dict[str, str]:
    """The child is ours: the service manager hears from us alone."""
    return {key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM")}


class EmbeddedBus:
    """`run` is the thread; `stop` ends it and the child."""

    def __init__(self, config: BusConfig) -> None:
        self._argv = [sys.executable, "-c", _TIED, str(os.getpid()), *arguments(config)]
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._said = ""

    def run(self) -> None:
        pause_s = RESTART_MIN_S
        while not self._stopping.is_set():
            started = time.monotonic()
            code = self._live()
            if self._stopping.is_set():
                return
            pause_s = RESTART_MIN_S if time.monotonic() - started > CALM_S else pause_s
            if code != CANNOT_START:  # that it has said itself, and says only once
                _log.error("vmbus: ended with code %d; started again in %.1f s", code, pause_s)
            self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, RESTART_MAX_S)

    def _live(self) -> int:
        """One life of the child; its exit code."""
        try:
            self._child = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment()
            )
        except OSError as fault:
            self._say(logging.ERROR, f"cannot be started: {fault.strerror}")
            return CANNOT_START
        assert self._child.stderr is not None
        with self._child.stderr as lines:
            for line in lines:
                self._hear(line.decode(errors="replace").rstrip())
        if self._stopping.is_set():
            return self._end(self._child)
        return self._child.wait()

    def _hear(self, line: str) -> None:
        """A line of its log (common/logs.py) becomes one of ours; anything else on its stderr is an error."""
        found = _LINE.match(line)
        if found:
            self._say(logging.getLevelNamesMapping()[found[1].upper()], found[2])
        else:
            self._say(logging.ERROR, line.removeprefix("vmbus:").strip())

    def _say(self, level: int, text: str) -> None:
        if text != self._said:
            _log.log(level, "vmbus: %s", text)
        self._said = text

    def _end(self, child: subprocess.Popen[bytes]) -> int:
        try:
            return child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def stop(self) -> None:
        """The child ends in good order, then the thread."""
        self._stopping.set()
        if self._child is not None:
            self._child.terminate()
