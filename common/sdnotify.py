"""Tells the service manager how we are: one datagram on $NOTIFY_SOCKET (sd_notify(3)). Knows no thread and no log."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Speaks to the service manager where there is one, else does nothing. Children do not inherit the variables."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        for_us = pid in ("", str(os.getpid())) and microseconds.isdecimal()
        self.watchdog_s = int(microseconds) / 1e6 if for_us and self._address else 0.0  # 0: no watchdog

    def send(self, *lines: str) -> None:
        """`KEY=value` lines. Raises OSError where the manager does not listen."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        text = "\n".join(line.replace("\n", " ") for line in lines)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(text.encode(errors="replace"), address)
