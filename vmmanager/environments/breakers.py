"""What fails too often is paused, and tried once more when the pause is over: slots, hosts, environments. Pure.

A slot that fails by itself is paused alone. Where several slots of one host, or of one environment, fail in a row, it is the
host, or the image, that is paused: the others go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SOME = 2  # different slots (or environments, on a host) must have failed before it is their host's, or their image's, fault
MEMBERS_MAX = 100


@dataclass(slots=True)
class Breaker:
    """`until`: wall clock; 0: it is not paused. `trial`: what is tried after the pause."""

    failures: int = 0  # in a row
    members: set[str] = field(default_factory=set)
    until: float = 0.0
    pause_s: float = 0.0
    why: str = ""
    trial: str = ""

    def row(self) -> dict[str, Any]:
        return {
            "failures": self.failures, "members": sorted(self.members), "until": self.until, "pause_s": self.pause_s,
            "why": self.why,
        }  # fmt: skip


def breaker_of(row: dict[str, Any]) -> Breaker:
    def number(key: str) -> float:
        value = row.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0

    members = row.get("members")
    return Breaker(
        int(number("failures")),
        {str(each) for each in (members if isinstance(members, list) else [])[:MEMBERS_MAX]},
        number("until"),
        number("pause_s"),
        str(row.get("why") or ""),
    )


@dataclass(slots=True)
class Breakers:
    """By subject: `slot S`, `host H`, `environment E`."""

    failures_max: int = 3
    pause_s: float = 600.0
    pause_max_s: float = 21_600.0
    by_subject: dict[str, Breaker] = field(default_factory=dict)

    def failed(self, subject: str, member: str, why: str, now: float) -> str:
        """A start failed. A sentence where it is paused now."""
        one = self.by_subject.setdefault(subject, Breaker())
        one.failures += 1
        if len(one.members) < MEMBERS_MAX:
            one.members.add(member)
        again = one.trial == member or bool(one.until and now >= one.until)
        if not again and (one.failures < self.failures_max or len(one.members) < SOME or one.until):
            return ""
        return self.pause(subject, why, now)

    def pause(self, subject: str, why: str, now: float) -> str:
        """Longer each time, until something succeeds."""
        one = self.by_subject.setdefault(subject, Breaker())
        one.pause_s = min(self.pause_max_s, one.pause_s * 2 if one.pause_s else self.pause_s)
        one.until, one.why, one.trial = now + one.pause_s, why, ""
        return f"{subject} is paused for {one.pause_s:.0f} s: {why}"

    def succeeded(self, subject: str) -> bool:
        """Was it paused, or had failed?"""
        return self.by_subject.pop(subject, None) is not None

    def why_not(self, subject: str, member: str, now: float) -> str:
        """Why `member` must wait because of it; empty where it may start. After the pause one at a time may."""
        one = self.by_subject.get(subject)
        if one is None or not one.until:
            return ""
        if now < one.until:
            return f"{subject} is paused for {one.until - now:.0f} s more: {one.why}"
        if one.trial in ("", member):
            one.trial = member
            return ""
        return f"{subject} is tried with {one.trial} first: {one.why}"

    def closed(self, subject: str) -> bool:
        one = self.by_subject.get(subject)
        return one is None or not one.until

    def until(self, subject: str) -> float:
        one = self.by_subject.get(subject)
        return one.until if one else 0.0

    def let_go(self, subject: str, member: str) -> None:
        """The trial is off: it was wanted elsewhere meanwhile."""
        one = self.by_subject.get(subject)
        if one is not None and one.trial == member:
            one.trial = ""

    def clock_set(self, by_s: float) -> None:
        for one in self.by_subject.values():
            one.until += by_s if one.until else 0.0
