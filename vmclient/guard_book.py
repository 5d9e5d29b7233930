"""The book of protected VMs: which may run on this host, as far as anybody can know. Pure.

safety: a name is in the book before its VM can come to life here, and leaves it only when a list of the hypervisor that was
begun after all that could still bring it to life shows no domain of it, and so does another one a little later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

GONE_S = 1.0  # a domain that reboots is not listed for a moment (xl destroys it and creates it anew)


@dataclass(slots=True)
class Entry:
    """`keys`: executions that are bringing it to life. `since`: a list that was begun before says nothing of it.
    `absent_since`: beginning of the first list without it."""

    since: float
    keys: set[str] = field(default_factory=set)
    absent_since: float | None = None


class Book:
    """`known`: VMs that the leader wants protected here, running or not. `everything`: the file was damaged, so every domain of
    ours counts as protected until they have been listed once."""

    def __init__(self, names: Iterable[str], known: Iterable[str], now: float, *, everything: bool = False) -> None:
        self._entries = {name: Entry(now) for name in names}
        self.known = tuple(known)
        self._everything = everything

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._entries)

    @property
    def is_unknown(self) -> bool:
        """Its file was damaged, and nothing has been listed yet. safety: it is not written as if it were empty."""
        return self._everything

    @property
    def sorted(self) -> tuple[str, ...]:
        return tuple(sorted(self._entries))

    def __bool__(self) -> bool:
        return bool(self._entries) or self._everything

    def coming(self, name: str, key: str, now: float) -> None:
        """The execution `key` brings it to life."""
        entry = self._entries.setdefault(name, Entry(now))
        entry.keys.add(key)

    def settled(self, name: str, key: str, now: float) -> None:
        entry = self._entries.get(name)
        if entry is not None and key in entry.keys:
            entry.keys.discard(key)
            entry.since = max(entry.since, now)

    def nobody_acts(self, since: float) -> None:
        """Whoever was bringing them to life is gone; what it had begun has ended by `since`."""
        for entry in self._entries.values():
            if entry.keys:
                entry.keys.clear()
                entry.since = max(entry.since, since)

    def protects(self, vm: str) -> bool:
        return vm in self._entries or vm in self.known or self._everything

    def listed(self, began: float, vms: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(names that came into it, names that left it) because of what the hypervisor listed."""
        there = sorted(set(vms))
        new = tuple(vm for vm in there if vm not in self._entries and self.protects(vm))
        for vm in new:
            self._entries[vm] = Entry(began)
        self._everything = False
        left = tuple(name for name in self.sorted if self._is_gone(self._entries[name], name in there, began))
        for name in left:
            del self._entries[name]
        return new, left

    @property
    def is_doubtful(self) -> bool:
        """Another list would tell more."""
        return any(entry.absent_since is not None for entry in self._entries.values())

    @staticmethod
    def _is_gone(entry: Entry, is_there: bool, began: float) -> bool:
        if is_there or entry.keys or entry.since > began:  # safety: an older list knows nothing of it
            entry.absent_since = None
            return False
        entry.absent_since = began if entry.absent_since is None else entry.absent_since
        return began - entry.absent_since >= GONE_S
