"""Notices that the machine slept: CLOCK_MONOTONIC stood still meanwhile, and what counts by it must be set back."""

from __future__ import annotations

import time

NOISE_S = 0.05  # the two clocks are not read at the same instant


class Sleep:
    def __init__(self) -> None:
        self._offset_s = _offset_s()

    def slept_s(self) -> float:
        """Since the last call, in seconds; 0 where it did not. Linux' CLOCK_BOOTTIME goes on (clock_gettime(2))."""
        before, now = self._offset_s, _offset_s()
        if now - before < NOISE_S:
            return 0.0
        self._offset_s = now
        return now - before


def _offset_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
