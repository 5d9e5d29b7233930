"""What becomes of each VM of one operation: pieces of the control socket in, counts and running lines out. Knows no clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
OPEN = ("queued", "running")
ENDED = ("done", "failed")


@dataclass(frozen=True, slots=True)
class Line:
    """One VM that something is being done to. `where`: its host, or `-> xen2` for what moves; `share`: 0 to 1, None unknown;
    `began`: on the clock of whoever calls `take`."""

    vm: str
    where: str
    share: float | None
    text: str
    began: float


@dataclass(frozen=True, slots=True)
class Shown:
    """How it stands, for a thread that draws: nothing in it changes any more."""

    total: int = 0
    done: int = 0
    failed: int = 0
    running: tuple[Line, ...] = ()

    @property
    def queued(self) -> int:
        return self.total - self.done - self.failed - len(self.running)


class Board:
    """`pieces`: the last one of each VM, an empty one for those that are only named yet."""

    def __init__(self) -> None:
        self.pieces: dict[str, Row] = {}
        self._named = False
        self._states: Counter[str] = Counter()
        self._running: dict[str, Line] = {}

    def expect(self, names: list[str]) -> None:
        """Who is meant, whether or not anything was said of them."""
        self._named = True
        for name in names:
            self.pieces.setdefault(name, {})

    def take(self, piece: Row, at: float) -> bool:
        """One piece that was said at this time; whether the state of its VM is another now."""
        vm, state = str(piece.get("vm")), str(piece.get("state"))
        was = self.pieces.get(vm, {}).get("state")
        changed = was != piece.get("state")
        if changed:
            self._states.subtract([str(was)])
            self._states.update([state])
        self.pieces[vm] = piece
        self._running.pop(vm, None)
        if state == "running":
            where = f"-> {piece['target']}" if piece.get("target") else str(piece.get("host") or "")
            self._running[vm] = Line(vm, where, _share(piece), str(piece.get("text") or ""), at - _elapsed(piece))
        return changed

    def shown(self) -> Shown:
        return Shown(len(self.pieces), self._states["done"], self._states["failed"], tuple(self._running.values()))

    @property
    def accepted(self) -> bool:
        """Is it known of all that are meant whether their task was taken? Where nobody was named, the first word is enough."""
        return bool(self.pieces) and (not self._named or all(self.pieces.values()))

    def names(self, *states: str) -> list[str]:
        """The VMs in one of these states; what was only named is queued."""
        return [vm for vm, piece in self.pieces.items() if piece.get("state", "queued") in states]


def where_text(piece: Row) -> str:
    """`xen1`, or `xen1 -> xen2` for what moves."""
    ends = [str(piece[key]) for key in ("host", "target") if piece.get(key)]
    return " -> ".join(dict.fromkeys(ends))


def _share(piece: Row) -> float | None:
    share = piece.get("share")
    return share if isinstance(share, (int, float)) and not isinstance(share, bool) and 0 <= share <= 1 else None


def _elapsed(piece: Row) -> float:
    elapsed = piece.get("elapsed")
    return elapsed if isinstance(elapsed, (int, float)) and not isinstance(elapsed, bool) else 0.0
