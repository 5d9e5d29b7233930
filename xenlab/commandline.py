"""What the programs of all labs have in common: what they say, and how they end. Knows no lab."""

from __future__ import annotations

import signal
import time
from types import FrameType

STARTED = time.monotonic()
INTERRUPTED = 130
MISSING = 77  # what test programs end with that could not be run


def say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", flush=True)


def interrupted_by_signals() -> None:
    """As by Ctrl-C: what is running is stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)


def _ended(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
