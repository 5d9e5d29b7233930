"""What counts as proof that nothing protected runs on a host: by time, from numbers alone. Pure.

The other proofs are words: of the host itself (`stopped` in its asking), of a fence device, of an operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.leases import Terms, stopped_s, storage_over_s
from vmmanager.failover.hosts import Host


@dataclass(frozen=True, slots=True)
class ByTime:
    """`at`: monotonic, when it is proved; infinite where time alone proves nothing now, and `why` says what is missing."""

    at: float
    why: str


NEVER = float("inf")


def by_time(host: Host, terms: Terms, *, may_have: bool, trust: bool) -> ByTime:
    """`may_have`: a protected VM may run there. `trust`: a host without a watchdog is believed to stop in time."""
    if host.doubted:  # safety: it may have got a storage, or a slower watchdog, while this leader was away
        return ByTime(NEVER, "this leader was away, and it has not said since what storage and watchdog it has")
    if may_have and not trust and (why := _unwatched(host)):  # safety: a client that hangs cannot stop anything
        return ByTime(NEVER, why)
    stop_s = stopped_s(terms, host.watchdog_s)
    without_lease = host.over_at + stop_s
    if not host.storage:
        return ByTime(without_lease, "lease, stop and watchdog have passed")
    if not host.claim or host.claim_at == NEVER:  # safety: it may run on by its storage
        return ByTime(NEVER, "it may run on by its storage, where no claim of ours lies")
    seen_s = storage_over_s(terms)
    if host.claim_seen_at < host.claim_at + seen_s:  # safety: somebody may have overwritten it before the host saw it
        return ByTime(NEVER, f"the claim has not lain there for {seen_s:.1f} s yet")
    if host.claim_seen_at < host.beat_at + seen_s + stop_s:  # safety: who beats sees no claim; what it reads there may be old
        return ByTime(NEVER, f"its beat has not stood still for {seen_s + stop_s:.1f} s yet, and beats where it sees no claim")
    without_storage = host.claim_at + seen_s + stop_s
    return ByTime(max(without_lease, without_storage), "lease, claim, stop and watchdog have passed")


def _unwatched(host: Host) -> str:
    """Why nobody resets it when it hangs; empty where a watchdog does."""
    if not host.watchdog_s:
        return "it has no watchdog, and a client that hangs stops nothing"
    return "" if host.guard_s else "its watchdog was not armed"


Kind = Literal["protected", "all"]


def covers(proof: str) -> Kind:
    """Which of its VMs are proved not to run: power that is off stops all, a lease only what needs one."""
    return "all" if proof in ("fence", "operator") else "protected"
