"""Who runs, as domains themselves say it: each prints a beat a second on its console, its host logs that in the lab's folder.

It goes through no network, so a host that is cut off is seen as well. A file that grows on two hosts by turns is a domain that
runs twice.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

from xenlab.looker import Looker

LOOK_S = 0.2
TURN_S = 8.0  # a domain that was started anew on the same host needs longer than this, in emulation
PREFIX, SUFFIX = "guest-", ".log"


class Beats:
    """Of `folder`/HOST/console/guest-VM.log. `looker`: the thread that watches these."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[tuple[str, str], int] = {}
        self._heard: dict[str, deque[tuple[str, float]]] = {}
        self.began: dict[str, tuple[str, float]] = {}  # VM -> where it lives, and since when (monotonic)
        self._last: dict[str, tuple[str, float]] = {}
        self.twice: list[str] = []
        self.looks = 0
        self.looker = Looker("Beats", self._look, LOOK_S)

    def _look(self) -> None:
        sizes = {}
        for path in self._folder.glob(f"*/console/{PREFIX}*{SUFFIX}"):
            sizes[path.name.removeprefix(PREFIX).removesuffix(SUFFIX), path.parent.parent.name] = path.stat().st_size
        self.look(sizes, time.monotonic())

    def look(self, sizes: dict[tuple[str, str], int], now: float) -> None:
        """`sizes`: (VM, host) -> bytes."""
        for (vm, host), size in sorted(sizes.items()):
            if size > self._sizes.get((vm, host), 0):
                self._beat(vm, host, now)
        self._sizes = sizes
        self.looks += 1

    def _beat(self, vm: str, host: str, now: float) -> None:
        heard = self._heard.setdefault(vm, deque())
        while heard and now - heard[0][1] > TURN_S:
            heard.popleft()
        hosts = [where for where, _ in heard]
        if host in hosts and hosts[-1] != host:
            self.twice.append(f"{vm} runs on {host} and on {hosts[-1]}")
        if not heard or hosts[-1] != host:
            self.began[vm] = host, now
        heard.append((host, now))
        self._last[vm] = host, now

    def where(self, vm: str) -> str:
        """The host on which it was heard last; empty where nowhere in the last seconds."""
        host, at = self._last.get(vm, ("", 0.0))
        return host if time.monotonic() - at <= TURN_S else ""
