"""The numbers of fail-over and what follows from them: the last moment a host can run, the first another may. Pure, no clock.

docs/design/0040-failover.md holds the argument. Times are seconds of a monotonic clock, each daemon's own.
"""

from __future__ import annotations

from dataclasses import dataclass

DRIFT_MAX = 0.1  # clocks that differ by more than a tenth are broken


@dataclass(frozen=True, slots=True)
class Terms:
    """What leader and hosts hold each other to. `[failover]` of vmmanager.ini; each grant carries them."""

    lease_s: float = 8.0  # a host may run protected VMs so long from when it asked
    beat_s: float = 2.0  # it asks, and writes its beat, so often
    stop_s: float = 5.0  # without a lease it has destroyed its protected VMs by then
    watchdog_s: float = 8.0  # its watchdog resets it so long after it was last fed
    storage_s: float = 8.0  # without the bus it keeps its VMs so long from the beginning of its last whole look at the storage
    authority_s: float = 4.0  # a leader may act so long from when it asked for words
    drift: float = 0.005  # the rate of a clock is wrong by at most this share
    margin_s: float = 1.0  # for what has no number of its own

    @property
    def stretch(self) -> float:
        """What one clock counts as 1 s, another counts as at most so much: both may be wrong, in opposite directions."""
        return (1 + self.drift) / (1 - self.drift)


def lease_over_s(terms: Terms) -> float:
    """From the leader's last grant, by its clock: then the host's lease is over by any clock. safety"""
    return terms.lease_s * terms.stretch  # safety


def storage_over_s(terms: Terms) -> float:
    """From a claim that is on the storage, or from the host's last beat, by the leader's clock: then the host has seen the
    claim, or holds by storage no more. safety"""
    return terms.storage_s * terms.stretch  # safety


def stopped_s(terms: Terms, watchdog_s: float) -> float:
    """From the end of lease or storage: then the host's protected VMs are gone, or it is reset. `watchdog_s`: the host's own
    number, 0 without a watchdog. safety"""
    return max(terms.stop_s, terms.watchdog_s if watchdog_s else 0.0, watchdog_s) * terms.stretch + terms.margin_s  # safety


def mute_s(terms: Terms) -> float:
    """A manager that gave its word, or has just started, gives none to another for so long. safety"""
    return terms.authority_s * terms.stretch  # safety


def restart_after_grant_s(terms: Terms, watchdog_s: float) -> float:
    """The earliest restart elsewhere by time alone, from the last grant, of a host without storage."""
    return lease_over_s(terms) + stopped_s(terms, watchdog_s)


def restart_after_claim_s(terms: Terms, watchdog_s: float) -> float:
    """The same from the claim, of a host with storage."""
    return storage_over_s(terms) + stopped_s(terms, watchdog_s)


def faults(terms: Terms) -> list[tuple[str, str]]:
    """(key, why) of every number that breaks the argument; empty: the set is safe."""
    found = []
    if not 0 <= terms.drift <= DRIFT_MAX:
        found.append(("drift", f"{terms.drift:g} is not within 0 and {DRIFT_MAX:g}"))
        return found
    for key in ("lease_s", "beat_s", "stop_s", "watchdog_s", "storage_s", "authority_s"):
        if getattr(terms, key) <= 0:
            found.append((key.removesuffix("_s"), f"{getattr(terms, key):g} s is no time"))
    if terms.margin_s < 0:
        found.append(("margin", f"{terms.margin_s:g} s is no time"))
    if terms.lease_s < 3 * terms.beat_s:
        found.append(
            ("lease", f"{terms.lease_s:g} s is less than three beats of {terms.beat_s:g} s: one lost message stops VMs")
        )
    if terms.storage_s < 3 * terms.beat_s:
        found.append(
            ("storage", f"{terms.storage_s:g} s is less than three beats of {terms.beat_s:g} s: one slow read stops VMs")
        )
    if terms.watchdog_s < terms.stop_s + 1:
        found.append(
            (
                "watchdog",
                f"{terms.watchdog_s:g} s does not leave the host the {terms.stop_s:g} s that a stop may take, and one more",
            )
        )
    return found
