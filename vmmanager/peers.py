"""The managers among themselves: names and addresses, what a newcomer is told, decisions in one order. Pure.

Every changing decision is a CONTROL to the group `managers`, sent by the leader, and applied by every manager when its own copy
arrives: so all apply the same in the same order. A manager that joins says hello; the leader marks that place in the order
(CONTROL `sync`), and when its own copy of the mark arrives, tells its rows as they are then (CONTROL `state`, in parts). The
newcomer keeps back all decisions after the mark until it has the rows. See docs/design/0005-standbys.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common import VERSION
from common.bus.contract import View
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, ClbControl, Control, Value
from vmmanager.context import Context

ROWS_PER_PART = 500
ROWS_MAX = 200_000  # told by a leader
KEPT_BACK_MAX = 10_000  # decisions between the mark and the rows; with more we ask again

Row = tuple[str, str, dict[str, Value]]


@dataclass(slots=True)
class _Sync:
    mark: int
    leader: str
    rows: list[Row] = field(default_factory=list)
    kept_back: list[tuple[str, str, dict[str, Value]]] = field(default_factory=list)  # sender, verb, arguments


class Peers:
    """`rows` gives what a newcomer must know; `decided` applies one decision; `told` takes the leader's rows."""

    def __init__(
        self,
        context: Context,
        key: str,
        rows: Callable[[], list[Row]],
        told: Callable[[list[Row]], None],
        decided: Callable[[str, str, dict[str, Value]], None],
    ) -> None:
        self._c = context
        self._key = key
        self._rows, self._told, self._decided = rows, told, decided
        self.names: dict[str, str] = {}  # private address -> full name, ourselves included
        self._members: tuple[str, ...] = ()
        self._sync: _Sync | None = None
        self._marks: set[int] = set()  # set by us, and not come back yet
        self.highest: Callable[[], int] = int  # the highest epoch known; set by the owner

    # --- who is who -----------------------------------------------------------------------------------------------------

    def own_hello(self, answer: bool = False) -> ClbControl:
        values: dict[str, Value] = {
            "role": "manager", "key": self._key, "version": VERSION, "epoch": self.highest(), "answer": answer,
            "address": self._c.address,
        }  # fmt: skip
        return ClbControl(verb="hello", values=values)

    def greet(self) -> None:
        """We are on the bus: tell managers and clients who we are; both answer with their hello."""
        groups = (GROUP_MANAGERS, GROUP_CLIENTS)
        self._c.send(self.own_hello(), groups, groups)

    def greet_managers(self) -> None:
        """We trust another manager only now, and may not have taken its hello before: it answers this one."""
        if self._c.address:
            self._c.send(self.own_hello(), (GROUP_MANAGERS,), (GROUP_MANAGERS,))

    def viewed(self, view: View) -> None:
        """A view of the group `managers`."""
        self._members = view.members
        self.names = {address: name for address, name in self.names.items() if address in view.members}
        self.names[self._c.address] = self._c.name
        self._tell_farm()
        if self._sync and self._sync.leader not in self._c.farm.managers:
            self.give_up_sync()

    def disconnected(self) -> None:
        self._members, self.names = (), {}
        self._marks.clear()
        self.give_up_sync()
        self._tell_farm()

    def introduced(self, name: str, address: str, answer: bool) -> bool:
        """A manager said hello. Is it new to us, so that the leader must tell it the state?"""
        if name == self._c.name:
            return False
        is_new = not answer or self.names.get(address) != name
        if address in self._members:
            self.names[address] = name
            self._tell_farm()
        if not answer:
            self._c.send(self.own_hello(answer=True), (name,), (address,))
        return is_new

    def _tell_farm(self) -> None:
        managers = tuple(self.names[address] for address in self._members if address in self.names)
        if managers != self._c.farm.managers:
            self._c.farm.managers = managers
            self._c.farm.changed.add(("view",))

    # --- the leader's side ----------------------------------------------------------------------------------------------

    def tell(self, verb: str, arguments: dict[str, Value]) -> int:
        """A decision of the leader, to all managers, ourselves included. Returns the envelope's id."""
        return self._c.send(Control(verb=verb, arguments=arguments), (GROUP_MANAGERS,), (GROUP_MANAGERS,))

    def mark(self, newcomer: str) -> None:
        """Begin to tell the state to `newcomer`; empty: to all."""
        if len(self._members) > 1:
            mark = self._c.next_id()
            self._marks.add(mark)
            self.tell("sync", {"mark": mark, "for": newcomer})

    def _tell_rows(self, mark: int, newcomer: str) -> None:
        rows: list[Any] = [list(row) for row in self._rows()]
        for start in range(0, max(1, len(rows)), ROWS_PER_PART):
            last = start + ROWS_PER_PART >= len(rows)
            part: dict[str, Value] = {"mark": mark, "for": newcomer, "rows": rows[start : start + ROWS_PER_PART], "last": last}
            self.tell("state", part)

    # --- the newcomer's side --------------------------------------------------------------------------------------------

    def heard(self, sender: str, verb: str, arguments: dict[str, Value]) -> None:
        """A CONTROL to the group `managers`, in the bus's order."""
        mark = arguments.get("mark")
        concerns_us = arguments.get("for") in ("", self._c.name) and sender != self._c.name
        if verb == "sync":
            if isinstance(mark, int) and mark in self._marks:
                self._marks.discard(mark)
                self._tell_rows(mark, str(arguments.get("for")))
            elif concerns_us and isinstance(mark, int):
                self.give_up_sync()
                self._sync = _Sync(mark, sender)
        elif verb == "state":
            if concerns_us and self._sync and self._sync.mark == mark:
                self._take_rows(self._sync, arguments)
        elif self._sync:
            self._keep_back(self._sync, sender, verb, arguments)
        else:
            self._decided(sender, verb, arguments)

    def _take_rows(self, sync: _Sync, arguments: dict[str, Value]) -> None:
        rows = arguments.get("rows")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, list) and len(row) == 3 and isinstance(row[2], dict) and len(sync.rows) < ROWS_MAX:
                sync.rows.append((str(row[0]), str(row[1]), row[2]))
        if arguments.get("last"):
            self._sync = None
            self._told(sync.rows)
            for sender, verb, kept in sync.kept_back:
                self._decided(sender, verb, kept)

    def _keep_back(self, sync: _Sync, sender: str, verb: str, arguments: dict[str, Value]) -> None:
        sync.kept_back.append((sender, verb, arguments))
        if len(sync.kept_back) > KEPT_BACK_MAX:
            self.give_up_sync()
            self.greet()

    def give_up_sync(self) -> None:
        """The leader died, or we lead, before it had told all: what came after the mark holds all the same."""
        sync, self._sync = self._sync, None
        if sync:
            for sender, verb, arguments in sync.kept_back:
                self._decided(sender, verb, arguments)
