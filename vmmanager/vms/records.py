"""What has been ordered of a VM, and what came of it: the row that is on disk and with the standbys. Pure.

The record does not say where the VM is: that is the hypervisors' to say (sightings.py). It says where it *may* be, so that
nobody starts it a second time while a host is silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from common.protocol import Value

Op = Literal["start", "stop", "destroy", "reboot", "pause", "unpause", "save", "restore", "migrate", "memory"]
Wanted = Literal["", "running", "stopped"]
OPS: tuple[Op, ...] = get_args(Op)
RESTARTS_KEPT = 1_000
PLACES_MAX = 100


@dataclass(frozen=True, slots=True)
class Order:
    """An order that went out, or is about to: enough to send it again under its execution id. `at`: wall clock."""

    id: str
    op: Op
    host: str
    target: str = ""
    by: str = ""
    at: float = 0.0
    limit_s: float = 60.0
    parameters: dict[str, Value] = field(default_factory=dict)

    def row(self) -> dict[str, Value]:
        return {
            "id": self.id, "op": self.op, "host": self.host, "target": self.target, "by": self.by, "at": self.at,
            "limit_s": self.limit_s, "parameters": self.parameters,
        }  # fmt: skip


@dataclass(slots=True)
class Record:
    """`wanted`: the operator's last word, empty: as the definition says. `places`: hosts where it may be. `expected`: it was
    running at our last look, so if it is gone somebody has stopped it. Times: wall clock."""

    name: str
    wanted: Wanted = ""
    wanted_by: str = ""
    wanted_at: float = 0.0
    places: tuple[str, ...] = ()
    expected: bool = False
    boot_id: str = ""  # of the host it was last seen on
    image: str = ""
    held: str = ""  # why it is not started though it is wanted running: somebody else stopped it
    failed: str = ""  # why it is not tried any more
    saved: str = ""  # the host where its memory is saved
    restarts: tuple[float, ...] = ()  # by ourselves, since an operator last started it
    order: Order | None = None
    tried: tuple[str, ...] = ()  # hosts where the last attempts to start it by ourselves failed: others are tried first
    noted_on: str = ""  # the host that had it in its book of protected VMs before it could run there
    moved_at: float = 0.0  # when it was last on its way to another host by a migration: what a host said before tells nothing
    protected: bool = False  # the host that has it knows that it needs a lease for it
    rescued: str = ""  # the host that died with it, until it runs again
    rescued_at: float = 0.0
    rescues: tuple[float, ...] = ()  # attempts since then
    home: str = ""  # where it ran before it was restarted elsewhere

    def row(self) -> dict[str, Value]:
        return {
            "wanted": self.wanted, "wanted_by": self.wanted_by, "wanted_at": self.wanted_at, "places": list(self.places),
            "expected": self.expected, "boot_id": self.boot_id, "image": self.image, "held": self.held, "failed": self.failed,
            "saved": self.saved, "restarts": list(self.restarts), "order": self.order.row() if self.order else None,
            "tried": list(self.tried), "noted_on": self.noted_on, "moved_at": self.moved_at, "protected": self.protected,
            "rescued": self.rescued, "rescued_at": self.rescued_at,
            "rescues": list(self.rescues), "home": self.home,
        }  # fmt: skip


def record_of(name: str, row: dict[str, Any]) -> Record:
    """From the store or from the leader. What is not understood is left out; a place never is."""
    wanted = row.get("wanted")
    return Record(
        name=name,
        wanted=wanted if wanted in ("running", "stopped") else "",
        wanted_by=_text(row.get("wanted_by")),
        wanted_at=_number(row.get("wanted_at")),
        places=tuple(_texts(row.get("places"))[:PLACES_MAX]),
        expected=row.get("expected") is True,
        boot_id=_text(row.get("boot_id")),
        image=_text(row.get("image")),
        held=_text(row.get("held")),
        failed=_text(row.get("failed")),
        saved=_text(row.get("saved")),
        restarts=tuple(_number(each) for each in _list(row.get("restarts")))[-RESTARTS_KEPT:],
        order=order_of(row.get("order")),
        tried=tuple(_texts(row.get("tried"))[:PLACES_MAX]),
        noted_on=_text(row.get("noted_on")),
        moved_at=_number(row.get("moved_at")),
        protected=row.get("protected") is True,
        rescued=_text(row.get("rescued")),
        rescued_at=_number(row.get("rescued_at")),
        rescues=tuple(_number(each) for each in _list(row.get("rescues")))[-RESTARTS_KEPT:],
        home=_text(row.get("home")),
    )


def order_of(row: Any) -> Order | None:
    if not isinstance(row, dict) or row.get("op") not in OPS or not row.get("id") or not row.get("host"):
        return None
    parameters = row.get("parameters")
    return Order(
        _text(row["id"]),
        row["op"],
        _text(row["host"]),
        _text(row.get("target")),
        _text(row.get("by")),
        _number(row.get("at")),
        _number(row.get("limit_s")) or 60.0,
        parameters if isinstance(parameters, dict) else {},
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [each for each in _list(value) if isinstance(each, str)]
