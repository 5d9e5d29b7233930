"""Runs in an emulated host: does what the lab says over a virtio channel, whatever the network does. The lab's alone.

A line in: {"id", "command" (for /bin/sh), "limit_s"}. A line out: {"id", "status", "output"}; status 124: stopped at its limit.
Only the standard library: it is copied into the host as it is.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 1024 * 1024
OUTPUT_BYTES_MAX = 512 * 1024
RUNNING_MAX = 16
NOBODY_S = 0.1  # between two looks whether somebody is connected
STOPPED = 124


def port(name: str) -> Path:
    """The channel of this name; there is no udev that would make /dev/virtio-ports."""
    for entry in Path("/sys/class/virtio-ports").glob("*/name"):
        if entry.read_text().strip() == name:
            return Path("/dev") / entry.parent.name
    raise SystemExit(f"no virtio channel {name}")


class Agent:
    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.writing = threading.Lock()
        self.room = threading.BoundedSemaphore(RUNNING_MAX)

    def serve(self) -> None:
        held = b""
        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        while True:
            events = poller.poll()[0][1]
            data = os.read(self.fd, 65536) if events & select.POLLIN else b""
            if not data:
                held = b""
                time.sleep(NOBODY_S)
                continue
            *lines, held = (held + data).split(b"\n")
            if len(held) > LINE_BYTES_MAX:
                held = b""
            for line in lines:
                self.room.acquire()
                threading.Thread(target=self.run, args=(line,), daemon=True).start()

    def run(self, line: bytes) -> None:
        try:
            order: dict[str, Any] = json.loads(line)
            status, text = execute(order["command"], order["limit_s"])
            answer = {"id": order["id"], "status": status, "output": text}
            with self.writing:
                write(self.fd, json.dumps(answer).encode() + b"\n")
        except (ValueError, KeyError, TypeError, OSError) as fault:
            print(f"an order could not be carried out: {fault}", file=sys.stderr)  # noqa: T201
        finally:
            self.room.release()


def execute(command: str, limit_s: float) -> tuple[int, str]:
    """In a group of its own. Its output goes through a file: what it leaves running must not hold the answer back."""
    with Path("/tmp/agent.output").with_suffix(f".{threading.get_ident()}").open("w+b") as file:
        Path(file.name).unlink()
        process = subprocess.Popen(
            ["/bin/bash", "-c", command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, process_group=0
        )
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            status = STOPPED
        file.seek(0)
        return status, file.read(OUTPUT_BYTES_MAX).decode("utf-8", "replace")


def write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    Agent(os.open(port(sys.argv[1]), os.O_RDWR)).serve()
