"""Opens the next session while there is none: a thread, exponential back-off with full jitter, names that are taken.

Knows neither messages nor groups; whom it hands the link to joins them again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final

from common.bus.links import Link, LinkError, NameTaken
from common.bus.names import private_name

log = logging.getLogger("vmherd.bus")

NAMES_TRIED: Final = 8  # in one attempt: the name twice, then variants of it
NAME_FREED_S: Final = 0.1  # our last session may still be ending
ATTEMPTS_COUNTED: Final = 30  # 2 ** 30 is beyond any longest delay


def delay_s(attempt: int, least_s: float, most_s: float, rng: random.Random) -> float:
    """Before attempt 0, 1, ...: anywhere between nothing and a limit that doubles, so that the clients of a daemon that comes
    back do not come all at once (full jitter)."""
    return rng.uniform(0.0, min(most_s, least_s * 2.0 ** min(attempt, ATTEMPTS_COUNTED)))


class Connector:
    """`open_link(name)` opens a session under a private name; `hand_over(link)` says whether it was of use."""

    def __init__(
        self,
        full_name: str,
        open_link: Callable[[str], Link],
        hand_over: Callable[[Link], bool],
        least_s: float,
        most_s: float,
        rng: random.Random,
    ) -> None:
        self._full_name = full_name
        self._open_link = open_link
        self._hand_over = hand_over
        self._least_s = least_s
        self._most_s = most_s
        self._rng = rng
        self._attempt = 0
        self._stopped = threading.Event()

    def start(self, at_once: bool, afresh: bool) -> None:
        """Begin, `at_once` or after a delay; `afresh` when the last session was a good one."""
        if afresh:
            self._attempt = 0
        threading.Thread(target=self._work, args=(at_once,), name="bus-connect", daemon=True).start()

    def stop(self) -> None:
        """Open no more; the thread ends when it comes out of the system call it may be in."""
        self._stopped.set()

    def _work(self, at_once: bool) -> None:
        said = ""
        while not self._stopped.wait(0.0 if at_once else self._next_delay_s()):
            at_once = False
            try:
                link = self._open()
            except LinkError as fault:
                if str(fault) != said:
                    said = str(fault)
                    log.warning("no connection to the bus, trying on: %s", said)
                continue
            if self._hand_over(link):
                return

    def _next_delay_s(self) -> float:
        attempt, self._attempt = self._attempt, self._attempt + 1
        return delay_s(attempt, self._least_s, self._most_s, self._rng)

    def _open(self) -> Link:
        """Under our name, or a variant of it where it is taken."""
        taken = None
        for number in range(NAMES_TRIED):
            try:
                return self._open_link(private_name(self._full_name, max(0, number - 1)))
            except NameTaken as fault:
                taken = fault
            if self._stopped.wait(NAME_FREED_S if number == 0 else 0.0):
                break
        raise LinkError(f"{taken}: {self._full_name} and its variants")
