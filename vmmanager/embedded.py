"""`bus engine = embedded`: vmbus as a child of the manager, started again when it dies, taken down with the manager.

The child is tied to us by PR_SET_PDEATHSIG (prctl(2)), so it ends even when we are killed; the signal comes when the *thread*
that started it ends, hence the thread of `run` lives as long as the daemon.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time

from common import logs
from common.config.model import BusConfig

RESTART_MIN_S, RESTART_MAX_S = 0.2, 10.0
CALM_S = 60.0  # a child that lived so long died by accident: start it again at once
STOP_S = 3.0

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


class EmbeddedBus:
    """`run` is the thread; `stop` ends it and the child."""

    def __init__(self, config: BusConfig) -> None:
        self._argv = [sys.executable, "-c", _TIED, str(os.getpid()), *arguments(config)]
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        pause_s = RESTART_MIN_S
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._child = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            except OSError as fault:
                _log.error("vmbus: cannot be started: %s; again in %.1f s", fault.strerror, pause_s)
            else:
                _log.info("vmbus: started as process %d", self._child.pid)
                code = self._await(self._child)
                if self._stopping.is_set():
                    return
                pause_s = RESTART_MIN_S if time.monotonic() - started > CALM_S else pause_s
                _log.error("vmbus: ended with code %d; started again in %.1f s", code, pause_s)
            self._stopping.wait(pause_s)
            pause_s = min(pause_s * 2, RESTART_MAX_S)

    def _await(self, child: subprocess.Popen[bytes]) -> int:
        while not self._stopping.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(0.2)
        child.terminate()
        try:
            return child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def stop(self) -> None:
        self._stopping.set()
