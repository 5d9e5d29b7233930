"""`python -m plugins.sim_watchdog FARM HOST READY`: the watchdog of a simulated host; it resets the host, and all domains end.

A process of its own, as a watchdog is a device of its own: it goes on when all others are stopped. It reads the pipe
FARM/HOST.watchdog: `T8` arms it, or gives it 8 s from now; `F` feeds it; `V` disarms it. READY is the number of an inherited
pipe, which is closed when it listens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import time
from pathlib import Path

from common.hypervisor import Unavailable
from plugins.sim_world import SimWorld

IDLE_S = 10.0  # disarmed for so long, or the farm is gone: it ends
LOOK_S = 2.0


def pipe_of(farm: Path, host: str) -> Path:
    return farm / f"{host}.watchdog"


class Dog:
    def __init__(self, farm: Path, host: str) -> None:
        self.farm, self.host = farm, host
        self.timeout_s = 0.0
        self.deadline = float("inf")
        self.idle_since = time.monotonic()

    def told(self, line: str) -> None:
        if line.startswith("T"):
            with contextlib.suppress(ValueError):
                self.timeout_s = float(line[1:])
        if line[:1] in ("T", "F"):
            self.deadline = time.monotonic() + self.timeout_s
        elif line.startswith("V"):
            self._rest()

    def look(self) -> None:
        if time.monotonic() >= self.deadline:
            self._rest()
            with contextlib.suppress(Unavailable), SimWorld(self.farm).changed(self.host) as (host,):
                host.domains.clear()

    @property
    def is_done(self) -> bool:
        idle = self.deadline == float("inf") and time.monotonic() - self.idle_since >= IDLE_S
        return idle or not self.farm.is_dir()

    def wait_s(self) -> float:
        return max(0.0, min(self.deadline - time.monotonic(), LOOK_S))

    def _rest(self) -> None:
        self.deadline, self.idle_since = float("inf"), time.monotonic()


def main(arguments: list[str]) -> int:
    farm, host, ready = Path(arguments[0]), arguments[1], int(arguments[2])
    pipe = pipe_of(farm, host)
    with contextlib.suppress(FileExistsError):
        os.mkfifo(pipe, 0o600)
    file = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # a writing end of our own: it never comes to its end
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0  # there is one already; who starts us finds it
    finally:
        os.close(ready)
    dog, rest = Dog(farm, host), ""
    while not dog.is_done:
        if select.select([file], [], [], dog.wait_s())[0]:
            *lines, rest = (rest + os.read(file, 4096).decode("ascii", "replace")).split("\n")
            for line in lines:
                dog.told(line)
        dog.look()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
