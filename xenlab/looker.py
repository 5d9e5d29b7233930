"""A thread that looks at something again and again until it is closed. Knows not at what."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Looker:
    """Calls `look` every `every_s` seconds; what it raises ends the thread."""

    def __init__(self, name: str, look: Callable[[], None], every_s: float) -> None:
        self._look, self._every_s = look, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Also one that was never started."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._look()
