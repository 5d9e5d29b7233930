"""True time: what is to happen, in its order. Knows nothing of what happens."""

from __future__ import annotations

import heapq
from collections.abc import Callable

MOMENTS_MAX = 2_000_000  # of one farm: more is an endless loop
Do = Callable[[], None]


class Timeline:
    """`now`: seconds of true time, which no daemon knows."""

    def __init__(self) -> None:
        self.now = 0.0
        self.moments = 0
        self._heap: list[tuple[float, int, Do]] = []
        self._number = 0

    def at(self, when: float, do: Do) -> None:
        """What is due at the same time happens in the order in which it was asked for."""
        self._number += 1
        heapq.heappush(self._heap, (when if when > self.now else self.now, self._number, do))

    def after(self, seconds: float, do: Do) -> None:
        self.at(self.now + seconds, do)

    def run_until(self, end: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, do = heapq.heappop(heap)
            self.moments += 1
            if self.moments > MOMENTS_MAX:
                raise RuntimeError(f"{MOMENTS_MAX} moments: the farm does not come to rest")
            do()
        self.now = end
