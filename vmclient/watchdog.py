"""The watchdog of this host: a device of the kernel, the one of a simulated host, or none. Decides nothing; no thread.

Facts: Linux, Documentation/watchdog/watchdog-api.rst and include/uapi/linux/watchdog.h. Opening the device arms it; a `V`
written before it is closed disarms it (magic close), unless the driver was loaded with nowayout.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vmclient.guard_events import Watched

KEEPALIVE, SETTIMEOUT, GETTIMEOUT = 0x80045705, 0xC0045706, 0x80045707
DEVICE = Path("/dev/watchdog")
CLASS = Path("/sys/class/watchdog")
HURRY_S = 1  # it was fed too late: so much time the host has left, and no more
Ioctl = Callable[[int, int, bytes], bytes]


class Watchdog(Protocol):
    """Each method says how it stands afterwards; none raises and none waits."""

    def probe(self, timeout_s: float) -> Watched: ...

    def arm(self, timeout_s: float) -> Watched: ...

    def feed(self, until: float) -> Watched | None:
        """None: as before. Not after `until`, on CLOCK_MONOTONIC."""

    def release(self) -> Watched: ...


class NoWatchdog:
    """There is none, and why."""

    def __init__(self, why: str) -> None:
        self._answer = Watched(why, 0.0, armed=False)

    def probe(self, timeout_s: float) -> Watched:
        return self._answer

    arm = probe

    def feed(self, until: float) -> Watched | None:
        return None

    def release(self) -> Watched:
        return self._answer


class Device:
    """A device of the kernel. `ioctl`, `clock`: of this machine, but in tests."""

    def __init__(self, path: Path, ioctl: Ioctl = fcntl.ioctl, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._ioctl = ioctl
        self._clock = clock
        self._file = -1
        self._timeout_s = 0.0

    def probe(self, timeout_s: float) -> Watched:
        """It is armed for a moment: the kernel tells its time in no other way on every version."""
        if _nowayout(self._path):
            return self._unusable("its driver was loaded with nowayout, it could never be released")
        told = self.arm(timeout_s)
        return self.release() if told.armed else told

    def arm(self, timeout_s: float) -> Watched:
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            with contextlib.suppress(OSError):  # it may have a time of its own, which it tells below
                self._number(SETTIMEOUT, max(1, math.ceil(timeout_s)))
            self._timeout_s = float(self._number(GETTIMEOUT, 0))
            self._number(KEEPALIVE, 0)
        except OSError as fault:
            self._close()
            return self._unusable(fault.strerror or str(fault))
        return Watched(str(self._path), self._timeout_s, armed=True)

    def feed(self, until: float) -> Watched | None:
        try:
            self._number(KEEPALIVE, 0)
            if self._clock() <= until:
                return None
            self._timeout_s = float(self._number(SETTIMEOUT, HURRY_S))  # safety: we were held up, and it was fed too late
            return Watched(str(self._path), self._timeout_s, armed=True)
        except OSError as fault:
            self._close()
            return self._unusable(fault.strerror or str(fault))

    def release(self) -> Watched:
        try:
            os.write(self._file, b"V")
        except OSError as fault:
            return self._unusable(fault.strerror or str(fault))
        finally:
            self._close()
        return Watched(str(self._path), self._timeout_s, armed=False)

    def _number(self, request: int, value: int) -> int:
        return int(struct.unpack("i", self._ioctl(self._file, request, struct.pack("i", value)))[0])

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):
                os.close(file)

    def _unusable(self, why: str) -> Watched:
        return Watched(f"{self._path}: {why}", 0.0, armed=False)


class SimWatchdog:
    """The watchdog of a simulated host: a process of its own (plugins/sim_watchdog.py) that reads `pipe`. `start` starts it."""

    def __init__(self, pipe: Path, start: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._pipe = pipe
        self._start = start
        self._clock = clock
        self._file = -1
        self._timeout_s = 0.0

    def probe(self, timeout_s: float) -> Watched:
        return Watched("simulated", timeout_s, armed=False)

    def arm(self, timeout_s: float) -> Watched:
        try:
            if self._file < 0:
                self._start()
                self._file = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as fault:
            return Watched(f"simulated: {fault.strerror or fault}", 0.0, armed=False)
        self._timeout_s = timeout_s
        return self._say(f"T{timeout_s}\n") or Watched("simulated", timeout_s, armed=True)

    def feed(self, until: float) -> Watched | None:
        told = self._say("F\n")
        if told or self._clock() <= until:
            return told
        return self._say(f"T{HURRY_S}\n") or Watched("simulated", float(HURRY_S), armed=True)

    def release(self) -> Watched:
        told = self._say("V\n")
        self._close()
        return told or Watched("simulated", self._timeout_s, armed=False)

    def _say(self, text: str) -> Watched | None:
        try:
            os.write(self._file, text.encode())
        except OSError as fault:
            self._close()
            return Watched(f"simulated: {fault.strerror or fault}", 0.0, armed=False)
        return None

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def device_of(engine: str) -> Device | NoWatchdog:
    """`auto`, `none` or the path of a device."""
    if engine == "none":
        return NoWatchdog("watchdog of [failover] is none")
    if engine == "auto" and not DEVICE.exists():
        return NoWatchdog(f"there is no {DEVICE} (load xen_wdt, softdog or the driver of the board)")
    return Device(DEVICE if engine == "auto" else Path(engine))


def _nowayout(path: Path) -> bool:
    """As sysfs says it, of the device whose number this is."""
    try:
        number = path.stat().st_rdev
        for entry in CLASS.iterdir():
            major, minor = (entry / "dev").read_text(encoding="ascii").split(":")
            first = path.name == "watchdog" and entry.name == "watchdog0"  # the old node has a number of its own
            if first or os.makedev(int(major), int(minor)) == number:
                return (entry / "nowayout").read_text(encoding="ascii").strip() == "1"
    except (OSError, ValueError):
        return False
    return False
