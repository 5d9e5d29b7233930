"""A fence agent for the lab: takes the power from an emulated host by killing its QEMU. Called as all of fence-agents are.

Options on stdin, `key=value`: `sockets` (the lab's folder of them, by which a QEMU is known), `plug` (the host), `action` (off,
status, monitor).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

ON, FAILED, OFF = 0, 1, 2  # what `status` ends with, as the agents of fence-agents do
WAIT_S = 15.0


def main() -> int:
    options = dict(line.strip().split("=", 1) for line in sys.stdin if "=" in line)
    monitor = f"{options.get('sockets', '')}/{options.get('plug', '')}.monitor"
    action = options.get("action", "off")
    if action in ("status", "monitor"):
        return ON if _running(monitor) else OFF
    if action != "off":
        return FAILED
    end = time.monotonic() + WAIT_S
    while found := _running(monitor):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return FAILED
        time.sleep(0.1)
    return ON


def _running(monitor: str) -> list[int]:
    """QEMUs with this monitor; one that has ended and is not waited for by its parent has no command line any more."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                words = (path / "cmdline").read_bytes().split(b"\0")
                if Path(os.fsdecode(words[0])).name.startswith("qemu") and any(monitor in os.fsdecode(one) for one in words):
                    found.append(int(path.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
