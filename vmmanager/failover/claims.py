"""The storage as the leader sees it: which hosts still write their beat, which claims lie there. Pure.

A look is evidence only for what it read; one that failed or hangs is none. Times are monotonic. What a look read may be as
young as its end and as old as its beginning: a beat counts from the end of the look that saw it first, to the beginning of the
last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.leases import Terms, storage_over_s

LOOK_AGE_BEATS = 3  # older than so many beats, the last look says nothing of now


@dataclass(slots=True)
class Beat:
    """`mark`: what the beat file held; `changed_at`: end of the look that first saw that."""

    mark: str
    changed_at: float


@dataclass(slots=True)
class Claims:
    """`looked_at`: when the last look began. `error`: why it gave nothing. `lying`: host -> number of the claim that it saw, 0:
    none."""

    terms: Terms
    looked_at: float = float("-inf")
    error: str = "it has not been looked at yet"
    beats: dict[str, Beat] = field(default_factory=dict)
    lying: dict[str, int] = field(default_factory=dict)

    def looked(self, began: float, ended: float, beats: Mapping[str, str], claims: Mapping[str, int], error: str) -> None:
        self.error = error
        if error:
            return
        self.looked_at = began
        self.lying = dict(claims)
        for host, mark in beats.items():
            known = self.beats.get(host)
            if known is None or known.mark != mark:
                self.beats[host] = Beat(mark, ended)  # safety: a look that hung saw what was written long after it began

    def readable(self, now: float) -> bool:
        return not self.error and now - self.looked_at <= LOOK_AGE_BEATS * self.terms.beat_s + self.terms.margin_s

    def beat_at(self, host: str) -> float:
        """Its last beat is no younger; minus infinity: none was ever seen."""
        beat = self.beats.get(host)
        return beat.changed_at if beat else float("-inf")

    def silent_for_s(self, host: str, now: float) -> float:
        """Since when its beat has not changed, as far as we could see. 0 where nothing can be said."""
        beat = self.beats.get(host)
        if beat is None or not self.readable(now):
            return 0.0
        return max(0.0, self.looked_at - beat.changed_at)

    def is_silent(self, host: str, now: float) -> bool:
        """Its beat has stood still for so long that it cannot hold its VMs by storage, were it not for a look in between."""
        return self.silent_for_s(host, now) >= storage_over_s(self.terms)

    def why(self, host: str, now: float) -> str:
        """Why the storage does not count as silent."""
        if not self.readable(now):
            return f"the storage cannot be read here ({self.error or 'no look has ended for too long'})"
        if host not in self.beats:
            return "its beat is not on the storage"
        return f"its beat on the storage moved {self.silent_for_s(host, now):.1f} s ago"
