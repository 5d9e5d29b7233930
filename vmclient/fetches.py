"""FETCHPROP in the client: requests that wait for reads to end. Pure. Fetches of one property share one read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

WAITING_MAX = 1000  # requests at a time


@dataclass(slots=True)
class Fetch:
    """One request. `names` as asked; `complete`: all properties were asked for; `waiting`: those still being read."""

    request: int
    names: tuple[str, ...]
    complete: bool
    deadline: float
    waiting: set[str]
    late: set[str] = field(default_factory=set)


class Fetches:
    """Those that wait."""

    def __init__(self) -> None:
        self._waiting: list[Fetch] = []

    @property
    def full(self) -> bool:
        return len(self._waiting) >= WAITING_MAX

    def add(self, fetch: Fetch) -> None:
        self._waiting.append(fetch)

    def read(self, name: str) -> list[Fetch]:
        """A read of this property has ended: the fetches that need wait no longer."""
        for fetch in self._waiting:
            fetch.waiting.discard(name)
        return self._take(fetch for fetch in self._waiting if not fetch.waiting)

    def expired(self, mono: float) -> list[Fetch]:
        """Those whose time is up; what they still wait for is in `late`."""
        found = self._take(fetch for fetch in self._waiting if fetch.deadline <= mono)
        for fetch in found:
            fetch.late = set(fetch.waiting)
        return found

    def next_due(self) -> float:
        return min((fetch.deadline for fetch in self._waiting), default=float("inf"))

    def _take(self, those: Iterable[Fetch]) -> list[Fetch]:
        found = list(those)
        self._waiting = [fetch for fetch in self._waiting if fetch not in found]
        return found
