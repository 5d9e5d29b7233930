"""Spread's membership messages as views. Values in, values out; no socket, no clock.

Spread does not say which side of a cut is the primary one. Here it is the side that keeps more than half of the members of the
last primary view (of exactly half: the side with its first member). On a single daemon, vmbus, a view is always primary. Over
several daemons this is the bus's opinion only, and a member that is new in a cut-off part takes that part for the whole: who
must be alone (fencing, fail-over) counts the configured managers and holds leases.
"""

from __future__ import annotations

from typing import Final

from common.bus.contract import Cause, View

CAUSED_BY_JOIN, CAUSED_BY_LEAVE, CAUSED_BY_DISCONNECT, CAUSED_BY_NETWORK = 0x100, 0x200, 0x400, 0x800
_CAUSES: Final = {
    CAUSED_BY_JOIN: Cause.JOIN,
    CAUSED_BY_LEAVE: Cause.LEAVE,
    CAUSED_BY_DISCONNECT: Cause.DISCONNECT,
    CAUSED_BY_NETWORK: Cause.NETWORK,
}


class Views:
    """The last view of each group, for one session."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, ...]] = {}
        self._last_primary: dict[str, tuple[str, ...]] = {}

    def changed(self, group: str, reason: int, members: tuple[str, ...], extra: tuple[str, ...]) -> View | None:
        """The view of a regular membership message; `extra` as in SpreadModule. None for a reason that Spread does not know."""
        cause = _CAUSES.get(reason)
        if cause is None:
            return None
        before = self._last.get(group, ())
        self._last[group] = members
        changed = extra
        if cause is Cause.NETWORK:
            changed = tuple(sorted(set(before) ^ set(members)) if before else sorted(set(members) - set(extra)))
        return View(group, members, cause, changed, self._is_primary(group, cause, before, members))

    def left(self, group: str, name: str) -> View:
        """We left `group`: the last view of it, without members."""
        self._last.pop(group, None)
        self._last_primary.pop(group, None)
        return View(group, (), Cause.LEAVE, (name,))

    def _is_primary(self, group: str, cause: Cause, before: tuple[str, ...], members: tuple[str, ...]) -> bool:
        reference = self._last_primary.get(group)
        if reference is None:
            primary = True
        elif cause is not Cause.NETWORK:
            primary = reference == before
        else:
            primary = holds_majority(members, reference)
        if primary:
            self._last_primary[group] = members
        return primary


def holds_majority(members: tuple[str, ...], reference: tuple[str, ...]) -> bool:
    """Do `members` hold more than half of `reference`, or half of it and its first?"""
    kept = 2 * len(set(members) & set(reference))
    return kept > len(reference) or (kept == len(reference) > 0 and reference[0] in members)
