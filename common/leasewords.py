"""What hosts and managers say to each other of leases and authority: values of CONTROL and CLB_CONTROL <-> dataclasses. Pure.

Verbs: `lease` (a host asks by CLB_CONTROL, the leader grants by CONTROL), `words` / `word` (the leader asks, managers answer).
What is not understood gives None: a message that is half understood grants nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Self

from common.leases import Terms, faults
from common.protocol import Value, flat, valid_name

LEASE, WORDS, WORD = "lease", "words", "word"
NAMES_MAX = 1_000  # protected VMs of one host
HOSTS_MAX = 10_000  # in one grant


@dataclass(frozen=True, slots=True)
class Ask:
    """A host asks for its lease. `n` rises with each asking of this boot of the client."""

    n: int
    boot_id: str = ""
    protected: tuple[str, ...] = ()  # that its book holds: they may run there
    watchdog_s: float = 0.0  # of its device; 0: it has none
    armed: bool = False  # the watchdog resets it when nobody feeds it
    storage: bool = False  # it keeps a beat on the storage and reads claims
    stopped: int = 0  # the claim that it has obeyed: all that was protected is destroyed

    def values(self) -> dict[str, Value]:
        return {**flat(self), "protected": list(self.protected)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self | None:
        n, boot_id, names = values.get("n"), values.get("boot_id"), _names(values.get("protected"))
        watchdog_s, stopped = _seconds(values.get("watchdog_s")), values.get("stopped")
        if not _count(n) or not _count(stopped) or not isinstance(boot_id, str) or names is None or watchdog_s is None:
            return None
        return cls(n, boot_id, names, watchdog_s, values.get("armed") is True, values.get("storage") is True, stopped)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Grant:
    """The leader grants: to each host the asking `n` that it answers, and which VMs it is to hold as protected."""

    terms: Terms
    hosts: dict[str, int] = field(default_factory=dict)
    protected: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def values(self) -> dict[str, Value]:
        protected: dict[str, Value] = {host: list(names) for host, names in self.protected.items()}
        return {"terms": flat(self.terms), "grants": dict(self.hosts), "protected": protected}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self | None:
        terms, hosts, protected = terms_of(values.get("terms")), values.get("grants"), values.get("protected")
        if terms is None or not isinstance(hosts, dict) or not isinstance(protected, dict) or len(hosts) > HOSTS_MAX:
            return None
        if not all(isinstance(host, str) and _count(n) for host, n in hosts.items()):
            return None
        names = {host: _names(each) for host, each in protected.items()}
        if any(each is None for each in names.values()):
            return None
        return cls(terms, dict(hosts), {host: each for host, each in names.items() if each is not None})


def terms_of(values: Any) -> Terms | None:
    """safety: numbers that break the argument are none."""
    if not isinstance(values, dict):
        return None
    numbers = {name: _seconds(values.get(name)) for name in Terms.__slots__}
    if any(number is None for number in numbers.values()):
        return None
    terms = Terms(**numbers)  # type: ignore[arg-type]
    return None if faults(terms) else terms


def _names(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) > NAMES_MAX:
        return None
    return tuple(value) if all(isinstance(each, str) and valid_name(each) for each in value) else None


def _seconds(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and 0 <= value <= 1e6
    return float(value) if number else None


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
