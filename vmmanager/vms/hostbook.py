"""What an operator said of a host: maintenance, and the evacuation that empties it or fills it again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from common.protocol import Value

Going = Literal["running", "stopped", "done", "returning", "returned"]
GOINGS: tuple[Going, ...] = ("running", "stopped", "done", "returning", "returned")


@dataclass(slots=True)
class Evacuation:
    """`moved`: the steps taken, in their order, as (VM, from, to); some may have made room elsewhere. `failed`, `stays`: VM ->
    why. `to`: the targets allowed. `total`: steps planned."""

    state: Going = "running"
    by: str = ""
    to: tuple[str, ...] = ()
    total: int = 0
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stays: dict[str, str] = field(default_factory=dict)

    def row(self) -> dict[str, Value]:
        return {
            "state": self.state, "by": self.by, "to": list(self.to), "total": self.total,
            "moved": [list(step) for step in self.moved], "failed": dict(self.failed), "stays": dict(self.stays),
        }  # fmt: skip


@dataclass(slots=True)
class HostRecord:
    """`why`, `who`, `since` of the maintenance; since 0: the host is in service."""

    name: str
    why: str = ""
    who: str = ""
    since: float = 0.0
    evacuation: Evacuation | None = None

    @property
    def in_maintenance(self) -> bool:
        return self.since > 0

    def row(self) -> dict[str, Value]:
        evacuation = self.evacuation.row() if self.evacuation else None
        return {"why": self.why, "who": self.who, "since": self.since, "evacuation": evacuation}


def host_record_of(name: str, row: dict[str, Any]) -> HostRecord:
    """From the store or from the leader; what is not understood is left out."""
    since = row.get("since")
    return HostRecord(
        name,
        str(row.get("why") or ""),
        str(row.get("who") or ""),
        float(since) if isinstance(since, (int, float)) else 0.0,
        _evacuation_of(row.get("evacuation")),
    )


def _evacuation_of(row: Any) -> Evacuation | None:
    if not isinstance(row, dict) or row.get("state") not in GOINGS:
        return None
    total = row.get("total")
    return Evacuation(
        row["state"],
        str(row.get("by") or ""),
        tuple(str(each) for each in row.get("to") or ()),
        total if isinstance(total, int) else 0,
        [(str(step[0]), str(step[1]), str(step[2])) for step in row.get("moved") or () if len(step) == 3],
        *({str(name): str(why) for name, why in (row.get(key) or {}).items()} for key in ("failed", "stays")),
    )
