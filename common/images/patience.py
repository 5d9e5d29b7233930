"""Work on a share that may never answer: done in a thread of its own, and given up when it shows no life. Knows no image.

A read from a dead NFS server blocks in the kernel and cannot be interrupted (nfs(5), `hard`). So the caller waits for the
thread, not for the read. A thread that was given up ends at its next sign of life; until then it holds one file and nothing
else: whoever calls takes back what the work had begun. It is a daemon thread, so it keeps no process alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

SILENT_S = 10.0  # a share that gives nothing for so long is gone; a server's restart takes longer, a busy one answers sooner
LIMIT_S = 600.0  # and the whole work, where the caller has no shorter limit
CLEAN_S = 2.0  # for the work to take back what it had begun, when the caller was interrupted

T = TypeVar("T")
Sign = Callable[[str], None]
"""Called by the work whenever it has got something; the text is its progress. Raises GivenUp when nobody waits any more."""


class GivenUp(Exception):
    """In the work: nobody waits for it any more."""


class Silent(Exception):
    """To the caller: the work showed no life for too long, or took too long in all. The text says which, and how long."""


def patiently(
    work: Callable[[Sign], T],
    progress: Callable[[str], None] = lambda text: None,
    *,
    silent_s: float = SILENT_S,
    limit_s: float = LIMIT_S,
) -> T:
    """The result of `work`, or what it raised. `progress` is called in the caller's thread. Raises Silent."""
    watched = _Watched(work)
    try:
        return watched.wait(progress, silent_s, limit_s)
    finally:
        watched.give_up()


class _Watched(Generic[T]):
    """One piece of work and its thread."""

    def __init__(self, work: Callable[[Sign], T]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._signs = 0
        self._text = ""
        self._given_up = False
        self._ended = False
        self._result: list[T] = []
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="share", daemon=True)
        self._thread.start()

    def wait(self, progress: Callable[[str], None], silent_s: float, limit_s: float) -> T:
        end_at = time.monotonic() + limit_s
        signs, text = -1, ""
        while True:
            with self._changed:
                if not self._ended and signs == self._signs:
                    self._changed.wait(max(0.0, min(silent_s, end_at - time.monotonic())))
                alive, ended = signs != self._signs, self._ended
                signs, told, text = self._signs, text, self._text
            if ended:
                break
            if time.monotonic() >= end_at:
                raise Silent(f"was not done within {limit_s:g} s")
            if not alive:
                raise Silent(f"gave nothing for {silent_s:g} s")
            if text != told:
                progress(text)
        if self._fault is not None:
            raise self._fault
        return self._result[0]

    def give_up(self) -> None:
        """Interrupted, or too long silent: the work gets a moment to end, where it can."""
        with self._changed:
            self._given_up = True
            if not self._ended:
                self._changed.wait_for(lambda: self._ended, CLEAN_S)

    def _sign(self, text: str) -> None:
        with self._changed:
            if self._given_up:
                raise GivenUp
            self._signs += 1
            self._text = text
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._result.append(self._work(self._sign))
        except Exception as fault:  # noqa: BLE001 - the top of a thread; the caller raises it
            self._fault = fault
        with self._changed:
            self._ended = True
            self._changed.notify_all()
