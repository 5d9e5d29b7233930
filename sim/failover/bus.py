"""The bus: one total order, views, private addresses; links that stall, networks that are cut, its death and restart.

What a session sends travels to the bus, is put in order there, and travels to each receiver. A link that is cut holds up what
is on it, as TCP does: when it heals in time all arrives late, when the bus or the daemon has given the session up it is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from common.bus.contract import Cause, Closed, Delivery, Opened, View
from common.bus.views import holds_majority
from common.envelope import Envelope
from sim.failover.timeline import Timeline

HOP_S = 0.001
RECONNECT_S = 0.3
NOTICE_S = 3.0
Item = Opened | Closed | View | Delivery


@dataclass(slots=True)
class Letter:
    """A delivery whose payload is a value: no signature is made or checked here."""

    sender: str
    groups: tuple[str, ...]
    envelope: Envelope


@dataclass(slots=True, eq=False)
class Link:
    """The way of one daemon to the bus. `up_s`, `down_s`: what each hop takes. `out`, `in_`: not cut."""

    name: str
    hear: Callable[[Item | Letter], None]
    groups: tuple[str, ...]
    watches: bool
    up_s: float = HOP_S
    down_s: float = HOP_S
    out: bool = True
    in_: bool = True
    side: int = 0
    wants: bool = False  # its process lives: it connects whenever it can
    gone: bool = False  # its machine is: nobody answers for a process that has ended
    address: str = ""  # of its session as the bus knows it
    believed: str = ""  # as the daemon knows it
    number: int = 0
    cuts: int = 0  # rises when it is cut: who has waited for an earlier one to heal gives nothing up
    up_due: float = 0.0
    down_due: float = 0.0
    held_up: list[tuple[tuple[str, ...], Envelope]] = field(default_factory=list)
    held_down: list[Item | Letter] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return self.out and self.in_


class Bus:
    """`notice_s`: it gives up a session whose link is cut for so long; the daemon does after twice that."""

    def __init__(self, timeline: Timeline, notice_s: float = NOTICE_S) -> None:
        self._timeline = timeline
        self._notice_s = notice_s
        self.links: dict[str, Link] = {}
        self.running = True
        self._sessions: dict[str, Link] = {}  # address -> link
        self._members: dict[str, list[str]] = {}
        self._primary: dict[str, tuple[str, ...]] = {}
        self._number = 0
        self._sides = 1

    # --- daemons come and go --------------------------------------------------------------------------------------------

    def attach(self, link: Link) -> None:
        self.links[link.name] = link

    def connect(self, link: Link) -> None:
        """Its process lives."""
        link.wants, link.gone = True, False
        self._connect(link)

    def disconnect(self, link: Link) -> None:
        """Its process is dead: the kernel closes the connection, if the network lets it."""
        link.wants, link.believed = False, ""
        link.number += 1
        link.held_up.clear()
        if link.address and link.whole:
            self._drop(link)
        elif link.address:
            self._give_up_later(link)

    def vanish(self, link: Link) -> None:
        """Its machine is gone: nobody closes anything."""
        link.wants, link.gone, link.believed = False, True, ""
        link.number += 1
        link.held_up.clear()
        number = link.number
        self._timeline.after(self._notice_s, lambda: self._drop(link) if link.address and link.number == number else None)

    def _connect(self, link: Link) -> None:
        if not link.wants or link.believed or not self.running or not link.whole:
            return
        if link.address:
            self._drop(link)
        self._number += 1
        link.number += 1
        link.address = link.believed = f"#p{self._number}#bus"
        link.up_due = link.down_due = self._timeline.now
        self._sessions[link.address] = link
        self._post(link, Opened(link.address))
        for group in link.groups:
            self._members.setdefault(group, []).append(link.address)
            self._show(group, link.side, Cause.JOIN, (link.address,))

    def _connect_later(self, link: Link, seconds: float = RECONNECT_S) -> None:
        self._timeline.after(seconds, lambda: self._connect(link))

    def _drop(self, link: Link) -> None:
        """The bus gives the session up."""
        address, link.address = link.address, ""
        self._sessions.pop(address, None)
        link.held_down.clear()
        for group in link.groups:
            members = self._members.get(group, [])
            if address in members:
                members.remove(address)
                self._show(group, link.side, Cause.DISCONNECT, (address,))

    def _closed(self, link: Link, reason: str) -> None:
        """The daemon learns that its session is gone."""
        if link.believed:
            link.believed = ""
            link.held_up.clear()
            link.hear(Closed(reason))
            self._connect_later(link)

    # --- the network ----------------------------------------------------------------------------------------------------

    def cut(self, name: str, *, out: bool = True, in_: bool = True) -> None:
        link = self.links[name]
        link.cuts += link.whole
        link.out, link.in_ = link.out and not out, link.in_ and not in_
        self._give_up_later(link)

    def _give_up_later(self, link: Link) -> None:
        number, cuts = link.number, link.cuts

        def bus_side() -> None:
            if not link.whole and (link.number, link.cuts) == (number, cuts) and link.address:
                self._drop(link)

        def daemon_side() -> None:
            if not link.whole and (link.number, link.cuts) == (number, cuts):
                self._closed(link, "nothing is heard of the bus")

        self._timeline.after(self._notice_s, bus_side)
        self._timeline.after(2 * self._notice_s, daemon_side)

    def heal(self, name: str) -> None:
        link = self.links[name]
        link.out = link.in_ = True
        held_up, link.held_up = link.held_up, []
        held_down, link.held_down = link.held_down, []
        if link.address and not link.believed and not link.gone:  # its process has ended: now the bus hears of it
            self._drop(link)
        if not link.address:
            self._timeline.after(HOP_S, lambda: self._closed(link, "the bus has given us up"))
            self._connect_later(link)
            return
        for targets, envelope in held_up:
            self._up(link, targets, envelope)
        for item in held_down:
            self._post(link, item)

    def split(self, parts: list[Collection[str]]) -> None:
        """Its daemons hear each other no more: each part goes on for itself."""
        sides: dict[str, int] = {}
        for part in parts:
            self._sides += 1
            sides |= dict.fromkeys(part, self._sides)
        self._regroup(sides)

    def join(self) -> None:
        self._regroup({})

    def _regroup(self, sides: dict[str, int]) -> None:
        before = {group: self._by_side(group) for group in self._members}
        for link in self.links.values():
            link.side = sides.get(link.name, 0)
        for group in sorted(self._members):
            old = {address: mates for mates in before[group].values() for address in mates}
            after = self._by_side(group)
            reference = self._primary.get(group, ())
            for _, members in sorted(after.items()):
                if all(old[address] == members for address in members):
                    continue
                primary = len(after) == 1 or holds_majority(members, reference)
                if primary:
                    self._primary[group] = members
                for address in members:
                    changed = tuple(sorted(set(old[address]) ^ set(members)))
                    self._view(address, View(group, members, Cause.NETWORK, changed, primary))

    def _by_side(self, group: str) -> dict[int, tuple[str, ...]]:
        sides: dict[int, tuple[str, ...]] = {}
        for address in sorted(self._members.get(group, ())):
            side = self._sessions[address].side
            sides[side] = (*sides.get(side, ()), address)
        return sides

    def kill(self) -> None:
        """Its daemons die: everybody is cut off, what is under way is lost."""
        self.running = False
        sessions, self._sessions = list(self._sessions.values()), {}
        self._members.clear()
        self._primary.clear()
        for link in sessions:
            link.address = ""
            link.held_down.clear()
            if link.whole:
                self._timeline.after(HOP_S, lambda link=link: self._closed(link, "connection reset"))  # type: ignore[misc]

    def start(self) -> None:
        self.running = True
        for number, link in enumerate(self.links.values()):
            self._connect_later(link, RECONNECT_S + 0.1 * number)

    # --- messages and views ---------------------------------------------------------------------------------------------

    def send(self, link: Link, targets: tuple[str, ...], envelope: Envelope) -> bool:
        """False: this daemon is not connected."""
        if not link.believed:
            return False
        if link.out:
            self._up(link, targets, envelope)
        else:
            link.held_up.append((targets, envelope))
        return True

    def _up(self, link: Link, targets: tuple[str, ...], envelope: Envelope) -> None:
        link.up_due = max(link.up_due, self._timeline.now + link.up_s)
        address = link.believed
        self._timeline.at(link.up_due, lambda: self._order(link, address, targets, envelope))

    def _order(self, link: Link, address: str, targets: tuple[str, ...], envelope: Envelope) -> None:
        """Here is its place in the one order."""
        if link.address != address or not address:
            return  # the session is gone, or the bus
        receivers: dict[str, None] = {}
        for target in targets:
            if target in self._sessions:
                receivers[target] = None
            else:
                receivers.update(dict.fromkeys(self._members.get(target, ())))
        letter = Letter(address, targets, envelope)
        for receiver in receivers:
            other = self._sessions[receiver]
            if other.side == link.side:
                self._post(other, letter)

    def _post(self, link: Link, item: Item | Letter) -> None:
        if not link.in_:
            link.held_down.append(item)
            return
        link.down_due = max(link.down_due, self._timeline.now + link.down_s)
        address = link.address
        self._timeline.at(link.down_due, lambda: self._arrive(link, address, item))

    def _arrive(self, link: Link, address: str, item: Item | Letter) -> None:
        if link.believed != address:
            return
        if not link.in_:
            if link.address == address:
                link.held_down.append(item)
            return
        link.hear(item)

    def _show(self, group: str, side: int, cause: Cause, changed: tuple[str, ...]) -> None:
        """A member came or went."""
        sides = self._by_side(group)
        members = sides.get(side, ())
        reference = self._primary.get(group)
        primary = len(sides) <= 1 or reference is None or set(members) ^ set(changed) == set(reference)
        if primary:
            self._primary[group] = members
        view = View(group, members, cause, changed, primary)
        for address in members:
            self._view(address, view)

    def _view(self, address: str, view: View) -> None:
        link = self._sessions[address]
        if link.watches:
            self._post(link, view)
