"""Log lines that a hostile client cannot multiply: so many per period, the rest counted. Knows no socket."""

from __future__ import annotations

import logging


class Notices:
    """Passes on at most `lines` log lines per `period_s`; says afterwards how many it kept back."""

    def __init__(self, log: logging.Logger, lines: int, period_s: float) -> None:
        self._log = log
        self._lines = lines
        self._period_s = period_s
        self._until = 0.0
        self._said = 0
        self._kept_back = 0

    @property
    def kept_back(self) -> int:
        """Lines not logged since the last summary."""
        return self._kept_back

    def say(self, now: float, level: int, text: str) -> None:
        self.catch_up(now)
        if self._said < self._lines:
            self._said += 1
            self._log.log(level, "%s", text)
        else:
            self._kept_back += 1

    def catch_up(self, now: float) -> None:
        """Begin a new period if the old one is over, with one line about what was kept back."""
        if now < self._until:
            return
        if self._kept_back:
            self._log.warning("%d more lines like these were left out within %.0f s", self._kept_back, self._period_s)
        self._until, self._said, self._kept_back = now + self._period_s, 0, 0
