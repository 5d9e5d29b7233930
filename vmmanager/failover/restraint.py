"""When nothing is done though a host is gone: start-up grace, disarm, maintenance, and too many silent at once. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from common.protocol import Value

# a host that asked longer ago than this counts as silent for the storm guard: those that are cut off together asked within one
# beat of each other, so when the first has been silent for three, the others have been for two
LATE_BEATS = 1.75
STORM_LEAST = 2  # hosts: a single one is never a storm


@dataclass(slots=True)
class Restraint:
    """What an operator said of the whole farm; `confirmed`: hosts whose silence an operator calls real."""

    disarmed_by: str = ""
    disarmed_why: str = ""
    disarmed_at: float = 0.0  # wall clock; 0: armed
    confirmed: frozenset[str] = frozenset()
    storm: frozenset[str] = field(default=frozenset())  # hosts that are silent at once now, while it is a storm

    @property
    def disarmed(self) -> bool:
        return self.disarmed_at > 0

    def row(self) -> dict[str, Value]:
        return {
            "disarmed_by": self.disarmed_by, "disarmed_why": self.disarmed_why, "disarmed_at": self.disarmed_at,
            "confirmed": sorted(self.confirmed),
        }  # fmt: skip

    def restore(self, row: dict[str, Any]) -> None:
        at, confirmed = row.get("disarmed_at"), row.get("confirmed")
        self.disarmed_by, self.disarmed_why = str(row.get("disarmed_by") or ""), str(row.get("disarmed_why") or "")
        self.disarmed_at = float(at) if isinstance(at, (int, float)) else 0.0
        self.confirmed = frozenset(str(each) for each in confirmed) if isinstance(confirmed, list) else frozenset()

    def watch(self, late: Collection[str], all_hosts: Iterable[str], share: float) -> bool:
        """Who is silent at once, of all that are not proved dead. Is the storm another than before?"""
        among = [host for host in all_hosts if host not in self.confirmed]
        silent = frozenset(host for host in among if host in late)
        is_storm = len(silent) >= STORM_LEAST and len(silent) > share * len(among)
        new = silent if is_storm else frozenset()
        changed = bool(new) != bool(self.storm)
        self.storm = new
        return changed

    def why_not(self, *, now: float, grace_until: float, maintenance: str) -> str:
        """Why nothing is done about a host; empty where something may be."""
        if maintenance:
            return f"it is in maintenance ({maintenance})"
        if self.disarmed:
            return f"fail-over is disarmed by {self.disarmed_by}" + (f" ({self.disarmed_why})" if self.disarmed_why else "")
        if now < grace_until:
            return f"this manager has just started, and declares nobody dead yet ({grace_until - now:.0f} s more)"
        if self.storm:
            return (
                f"{len(self.storm)} hosts are silent at once, which is hardly their fault: "
                "nothing is done until they are back, or `vmctl ha confirm`"
            )
        return ""
