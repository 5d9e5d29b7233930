"""The proof for the configured numbers, second by second: what is so at the latest, from the death of a host on. Pure.

docs/design/0040-failover.md holds the argument; these are its sums.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.leases import Terms, lease_over_s, mute_s, stopped_s, storage_over_s

SILENT_BEATS = 3


@dataclass(frozen=True, slots=True)
class Step:
    """`at_s`: seconds after the death, in the worst case. `sum`: how that number comes about."""

    at_s: float
    text: str
    sum: str = ""


def by_time(terms: Terms, watchdog_s: float, *, storage: bool) -> list[Step]:
    """A host that dies, or is cut off, in the moment in which it was granted a lease."""
    d, stop_s = terms.stretch, stopped_s(terms, watchdog_s)
    over_s = lease_over_s(terms)
    kill = max(terms.stop_s, watchdog_s or terms.watchdog_s)
    steps = [
        Step(0.0, "the host hangs, is cut off, or dies; it was granted a lease in this moment"),
        Step(SILENT_BEATS * terms.beat_s, "silent: it has not asked for three beats", f"3 x beat {terms.beat_s:g}"),
    ]
    steps.append(Step(over_s, "lost: its lease is over by any clock", f"lease {terms.lease_s:g} x {d:.4f}"))
    begun_s = over_s
    if storage:
        quiet_s = storage_over_s(terms) + 2 * terms.beat_s
        begun_s = max(over_s, quiet_s) + storage_over_s(terms)
        steps.append(
            Step(
                max(over_s, quiet_s),
                "claimed: its beat on the storage stands still as well, the claim is written",
                f"storage_hold {terms.storage_s:g} x {d:.4f} + a beat of the host and a look",
            )
        )
        steps.append(
            Step(begun_s, "it has seen the claim, or holds by storage no more", f"+ storage_hold {terms.storage_s:g} x {d:.4f}")
        )
    steps.append(
        Step(
            begun_s + stop_s,
            "dead: it has destroyed its protected VMs, or its watchdog has reset it; they start elsewhere",
            f"+ max(stop {terms.stop_s:g}, watchdog {kill:g}) x {d:.4f} + margin {terms.margin_s:g}",
        )
    )
    return steps


def of_the_host(terms: Terms, watchdog_s: float) -> list[Step]:
    """What the host does meanwhile, by its own clock, when it lives and is only cut off."""
    return [
        Step(terms.lease_s, "its lease is over: the guard begins to destroy its protected VMs", f"lease {terms.lease_s:g}"),
        Step(terms.lease_s + terms.stop_s, "they are destroyed", f"+ stop {terms.stop_s:g}"),
        Step(
            terms.lease_s + (watchdog_s or terms.watchdog_s),
            "or, where that hangs, the watchdog has reset the host",
            f"+ watchdog {watchdog_s or terms.watchdog_s:g}",
        ),
    ]


def by_fence(terms: Terms) -> list[Step]:
    silent_s = SILENT_BEATS * terms.beat_s
    return [
        Step(silent_s, "silent: the fence device is told to cut its power", f"3 x beat {terms.beat_s:g}"),
        Step(silent_s, "and as long as the device takes; then its VMs start elsewhere", "+ the device's own time"),
    ]


def of_the_leader(terms: Terms) -> list[Step]:
    """When the leader dies instead."""
    return [
        Step(0.0, "the leader dies; it has asked for words in this moment"),
        Step(terms.authority_s, "its authority is over, by its own clock", f"authority {terms.authority_s:g}"),
        Step(
            mute_s(terms),
            "the others may give their word to another, who counts every host as granted until now",
            f"authority {terms.authority_s:g} x {terms.stretch:.4f}",
        ),
    ]
