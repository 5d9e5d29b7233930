"""The states of a host towards fail-over, as one table, changed by one method that says old -> new and why. Pure.

`vmctl ha status` shows them; docs/failover.md has the diagram, made from the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from common.leasewords import Ask
from common.protocol import Value

State = Literal["unknown", "online", "silent", "lost", "claimed", "fencing", "dead", "returned"]
Proof = Literal["", "time", "said", "fence", "operator"]

STATES: dict[State, str] = {
    "unknown": "has not asked this leader for a lease yet: it may run whatever the records say, and more",
    "online": "holds a lease, as far as we know",
    "silent": "has not asked for three beats",
    "lost": "its lease has run out by our clock: it may be stopping its VMs, or run on by its storage",
    "claimed": "its storage is silent too, and our claim lies there",
    "fencing": "a fence device is at work",
    "dead": "proved: nothing protected runs there",
    "returned": "asks again after it was dead: it gets a lease when it has nothing left from before",
}

_CUT = "a fence device is told to cut its power"
_NEW = "another leader"

MOVES: dict[State, dict[State, str]] = {
    "unknown": {
        "online": "it asks",
        "lost": "it has not asked in time",
        "fencing": _CUT,
        "dead": "operator, or it is heard of",
    },
    "online": {"silent": "no asking for three beats", "fencing": _CUT, "dead": "operator", "unknown": _NEW},
    "silent": {
        "online": "it asks again",
        "lost": "its lease has run out",
        "fencing": _CUT,
        "dead": "operator",
        "unknown": _NEW,
    },
    "lost": {
        "online": "it asks again",
        "claimed": "its storage is silent, the claim is written",
        "fencing": _CUT,
        "dead": "proof by time, or operator",
        "unknown": _NEW,
    },
    "claimed": {
        "online": "it asks again",
        "lost": "the claim does not lie there any more",
        "fencing": _CUT,
        "dead": "proof by time, or it said that it has stopped all, or operator",
        "unknown": _NEW,
    },
    "fencing": {
        "dead": "power is off, or proof by time, or operator",
        "silent": "all devices failed",
        "unknown": _NEW,
    },
    "dead": {"returned": "it is heard again", "unknown": "another leader that cannot know whether it returned"},
    "returned": {
        "online": "it has nothing left from before",
        "dead": "silent again, or a fence device, or operator",
        "unknown": _NEW,
    },
}
"""State -> what it may become, and by what."""

UP: tuple[State, ...] = ("online", "returned")
PROVED: tuple[State, ...] = ("dead", "returned")
SUSPECT: tuple[State, ...] = ("silent", "lost", "claimed", "fencing")


@dataclass(slots=True)
class Host:
    """One host that asks for leases, or of which an operator spoke. Times are monotonic, minus infinity: never.

    `ask`: its last asking. `over_at`: from then its lease is over by any clock. `claim`: the number of our claim, 0: none;
    `claim_at`: since when it has been on the storage, `claim_seen_at`: beginning of the last look that saw it there.
    `beat_at`: end of the look that saw its last beat first."""

    name: str
    state: State = "unknown"
    why: str = ""
    since: float = 0.0
    ask: Ask | None = None
    asked_at: float = float("-inf")
    answer: int = 0  # the asking to be answered, 0: none
    over_at: float = float("inf")
    lasts_until: float = float("-inf")  # about so long it holds what we granted last, as it counts
    lapsed: bool = True  # it held none when that was granted
    leased: bool = False  # has ever asked for a lease: it is one of those that can keep one
    doubted: bool = False  # it may have got a storage or another watchdog that this leader was not told of
    watchdog_s: float = 0.0
    storage: bool = False
    proof: Proof = ""
    proved_by: str = ""  # a sentence
    epoch: int = 0  # of the reign in which that was proved
    claim: int = 0
    claim_last: int = 0  # the highest there ever was on it
    claim_at: float = float("inf")
    claim_seen_at: float = float("-inf")
    beat_at: float = float("-inf")
    fence_at: float = float("-inf")  # no fence device is tried before
    noting: str = ""  # the token of its row on its way to the disk: no lease before
    noted_at: float = float("-inf")
    told: str = ""  # why nothing is done though it is lost; said once

    @property
    def book(self) -> frozenset[str]:
        """The protected VMs that may run there by its own word."""
        return frozenset(self.ask.protected) if self.ask else frozenset()

    @property
    def guard_s(self) -> float:
        """What is to be counted on of its watchdog; 0 where it was not armed though a protected VM ran."""
        return 0.0 if self.ask and self.ask.protected and not self.ask.armed else self.watchdog_s

    def become(self, new: State, why: str, now: float) -> str:
        """The only way to change the state. The sentence for the log."""
        old, self.state = self.state, new
        assert new in MOVES[old], f"{self.name}: {old} -> {new}"
        self.why, self.since, self.told = why, now, ""
        return f"host {self.name}: {old} -> {new} ({why})"

    def row(self) -> dict[str, Value]:
        """What stays, and what a new leader must know."""
        dead = self.state in PROVED
        return {
            "state": self.state if dead else "unknown", "watchdog_s": self.guard_s, "storage": self.storage,
            "proof": self.proof if dead else "", "proved_by": self.proved_by if dead else "", "epoch": self.epoch,
            "claim": self.claim_last, "leased": self.leased, "doubted": self.doubted,
        }  # fmt: skip


def host_of(name: str, row: dict[str, Any]) -> Host:
    """From the store or from the leader; what is not understood is left out."""
    host = Host(name)
    watchdog_s, epoch, claim, proof = (row.get(key) for key in ("watchdog_s", "epoch", "claim", "proof"))
    host.watchdog_s = float(watchdog_s) if isinstance(watchdog_s, (int, float)) and watchdog_s > 0 else 0.0
    host.storage = row.get("storage") is True
    host.leased = row.get("leased") is True
    host.doubted = row.get("doubted") is True
    host.epoch = epoch if isinstance(epoch, int) else 0
    host.claim_last = claim if isinstance(claim, int) else 0
    if row.get("state") in PROVED and proof in ("time", "said", "fence", "operator"):
        host.state, host.proof, host.proved_by = "dead", proof, str(row.get("proved_by") or "")
        host.why = host.proved_by
    return host
