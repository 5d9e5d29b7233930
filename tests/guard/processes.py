"""The guards and simulated watchdogs of hosts: found, ended. A guard outlives its client, so a test has to end it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from vmclient.guard_files import LOCK

GUARD, WATCHDOG = "vmclient.guard", "plugins.sim_watchdog"


def guard_of(state: Path) -> psutil.Process | None:
    """The process that holds the lock in this state folder."""
    lock = os.path.realpath(state / LOCK)
    for process in _running(GUARD):
        with contextlib.suppress(OSError):
            if any(os.path.realpath(f"/proc/{process.pid}/fd/{fd}") == lock for fd in os.listdir(f"/proc/{process.pid}/fd")):
                return process
    return None


def end_all(states: list[Path], farm: Path) -> None:
    """The guards of these state folders, then the watchdogs of this simulated farm: they would reset what nobody feeds."""
    for state in states:
        if guard := guard_of(state):
            _kill(guard)
    for process in _running(WATCHDOG):
        with contextlib.suppress(psutil.Error):
            if str(farm) in process.cmdline():
                _kill(process)


def _running(module: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if module in process.cmdline():
                yield process


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(signal.SIGKILL)
