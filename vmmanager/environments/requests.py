"""Requests for slots: so many of an environment, from when until when, by whom; quotas of groups, approval, the calendar. Pure.

While a request is in force it raises the minimum of its environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from common.protocol import Value

State = Literal["pending", "approved", "cancelled"]
REQUESTS_MAX = 1_000
SPAN_MAX_S = 366 * 86_400.0
KEPT_S = 30 * 86_400.0  # after its end it is shown so long


@dataclass(frozen=True, slots=True)
class Request:
    """Times: wall clock. `who` asked for it, `decided_by` approved or cancelled it."""

    id: str
    environment: str
    slots: int
    begins: float
    ends: float
    who: str = ""
    group: str = ""
    why: str = ""
    state: State = "pending"
    decided_by: str = ""
    made: float = 0.0

    def row(self) -> dict[str, Value]:
        return {
            "environment": self.environment, "slots": self.slots, "begins": self.begins, "ends": self.ends, "who": self.who,
            "group": self.group, "why": self.why, "state": self.state, "decided_by": self.decided_by, "made": self.made,
        }  # fmt: skip

    def phase(self, now: float) -> str:
        """What an operator reads: pending, approved, active, over, cancelled."""
        if self.state == "cancelled" or now >= self.ends:
            return "cancelled" if self.state == "cancelled" else "over"
        return "active" if self.state == "approved" and self.begins <= now else self.state


def request_of(id: str, row: Mapping[str, Any]) -> Request | None:
    def number(key: str) -> float:
        value = row.get(key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0

    def text(key: str) -> str:
        value = row.get(key)
        return value if isinstance(value, str) else ""

    state: Any = row.get("state")
    if state not in get_args(State) or not text("environment") or number("slots") < 1:
        return None
    return Request(
        id, text("environment"), int(number("slots")), number("begins"), number("ends"), text("who"), text("group"),
        text("why"), state, text("decided_by"), number("made"),
    )  # fmt: skip


def raised(requests: Iterable[Request], now: float) -> dict[str, int]:
    """By environment: the slots that are asked for now."""
    sums: dict[str, int] = {}
    for one in requests:
        if one.phase(now) == "active":
            sums[one.environment] = sums.get(one.environment, 0) + one.slots
    return sums


def next_change(requests: Iterable[Request], now: float) -> float:
    """When a request begins or ends the next time."""
    return min(
        (at for one in requests if one.state == "approved" for at in (one.begins, one.ends) if at > now), default=float("inf")
    )


def most(requests: Iterable[Request], begins: float, ends: float) -> int:
    """The most slots that these ask for at one time between the two."""
    among = [one for one in requests if one.state != "cancelled" and one.begins < ends and begins < one.ends]
    times = [begins, *(one.begins for one in among if one.begins > begins)]
    return max((sum(one.slots for one in among if one.begins <= at < one.ends) for at in times), default=0)


def refusal(
    new: Request, others: Iterable[Request], quotas: Mapping[str, int], limit: int | None, slots: int, now: float
) -> str:
    """Why it cannot be granted; empty where it can. `limit`: `max` of the environment, `slots`: all there are for it."""
    others = list(others)
    if new.ends <= max(new.begins, now):
        return "it would be over before it begins"
    if new.ends - max(new.begins, now) > SPAN_MAX_S or new.begins - now > SPAN_MAX_S:
        return f"it reaches further than {SPAN_MAX_S / 86_400:.0f} days"
    if len(others) >= REQUESTS_MAX:
        return f"there are {len(others)} requests already"
    if quotas:
        if new.group not in quotas:
            known = ", ".join(sorted(quotas))
            return f"group {new.group or '(none)'} has no quota (say --group; [[quotas]] of environments.ini has {known})"
        used = most([one for one in others if one.group == new.group], new.begins, new.ends)
        if used + new.slots > quotas[new.group]:
            return f"group {new.group} may ask for {quotas[new.group]} slots at a time, and asks for {used} then already"
    same = most([one for one in others if one.environment == new.environment], new.begins, new.ends)
    if limit is not None and same + new.slots > limit:
        return f"{new.environment} has at most {limit} slots, and {same} are asked for then"
    every = most(others, new.begins, new.ends)
    if slots and every + new.slots > slots:
        return f"there are {slots} slots, and {every} are asked for then"
    return ""


def decided(one: Request, state: State, who: str) -> Request:
    return replace(one, state=state, decided_by=who)
