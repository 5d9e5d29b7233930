"""How often: says the first of many equal things, then counts; lets so many a second pass. No clock, no log: `now` comes in."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

KEYS_MAX = 1000  # different things counted at a time; beyond that the oldest is summed up early


@dataclass(slots=True)
class _Count:
    since: float
    what: str
    more: int = 0


class RateLimit:
    """One sentence for the first event of a key, then one for all further events of each `every_s` seconds.

    >>> limit = RateLimit(every_s=60.0)
    >>> limit.note("k", "dropped an expired message from xen3", "dropped {} more expired messages from xen3", 0.0)
    ['dropped an expired message from xen3']
    """

    def __init__(self, every_s: float = 60.0, keys_max: int = KEYS_MAX) -> None:
        self._every_s = every_s
        self._keys_max = keys_max
        self._counts: dict[Hashable, _Count] = {}  # in the order of `since`

    def note(self, key: Hashable, first: str, more: str, now: float) -> list[str]:
        """What to say now. `more` holds {} where the count goes; it is no format string otherwise."""
        said = self.due(now)
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= self._keys_max:
                said += self._sum_up(next(iter(self._counts)), now)
            self._counts[key] = _Count(now, more)
            return [*said, first]
        count.more += 1
        count.what = more
        return said

    def due(self, now: float) -> list[str]:
        """Sums of the periods that are over. Call it now and then, else the last sum waits for the next event."""
        over = []
        for key, count in self._counts.items():
            if now - count.since < self._every_s:
                break
            over.append(key)
        return [sentence for key in over for sentence in self._sum_up(key, now)]

    def _sum_up(self, key: Hashable, now: float) -> list[str]:
        count = self._counts.pop(key)
        if not count.more:
            return []
        if len(self._counts) < self._keys_max and now - count.since >= self._every_s:
            self._counts[key] = _Count(now, count.what)  # goes on counting: a steady flood gives one line a period
        return [f"{count.what.replace('{}', str(count.more))} in {now - count.since:.0f} s"]


class Bucket:
    """Lets `rate_per_s` pass in the long run and `burst` at once: costly work that strangers can cause."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """One more? `now` is monotonic, in seconds."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate_per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
