"""Who leads: in this form the manager that is longest in the group `managers`. Pure. To be replaced by majority and leases.

Views list members by name, so the first of a view may be one that has just come and knows nothing; and one that is restarted
must not take over from one that leads. The bus's order tells everybody who came after whom: a manager leads when all who were
there before it are gone. Where a healed network joins two that lead, the higher epoch stays, of equal ones the first name.

Anybody on the bus may join the group, so only sessions that proved by a signed hello to be a manager's are waited for; one
that does not within PROVE_S stands for nobody.

The rest of the core asks only `leading`, `since`, `leader`, and hears `Change`. An epoch is on disk before it is used, and
higher than every epoch known to us, to other managers, or to any client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from common.bus.contract import Cause, View
from common.protocol import GROUP_MANAGERS, ClbControl, Control, Value
from vmmanager.context import Context
from vmmanager.events import Persist, Stored

RETRY_S = 2.0  # an epoch that could not be written is tried again
RISE_EVERY_S = 10.0  # above epochs that others tell of; each time costs a write to disk and a message
PROVE_S = 5.0  # a member that was there before us has so long to answer our hello
EPOCH_JUMP_MAX = 1_000_000  # a client that tells of a higher one than this above ours lies or is broken

Change = Literal["", "won", "lost", "other"]


class Leadership:
    """`leader` is a full name, empty while unknown. `since` is monotonic, None for a standby."""

    def __init__(self, context: Context) -> None:
        self._c = context
        self.highest = 0  # epoch known, ours or not
        self.leader = ""
        self.since: float | None = None
        self.view: View | None = None
        self.outvotes: Callable[[], bool] = lambda: False  # is a majority of the voters on the bus with us? Set by the owner
        self.proved: Callable[[str], bool] = lambda address: True  # is it a manager's session? Set by the owner
        self._seniors: dict[str, float] | None = None  # who was there before us -> until when we wait for its proof
        self._token = ""  # of the epoch being written
        self._claimed = 0  # the epoch being written
        self._retry_at = float("inf")
        self._not_before = float("-inf")
        self._rise_at = float("-inf")  # not before
        self._store_failed = False
        self.ready = False  # the store is read: we know our highest epoch

    @property
    def leading(self) -> bool:
        return self.since is not None

    def loaded(self, epoch: int) -> None:
        """The store is open."""
        self.highest = max(self.highest, epoch)
        self.ready = True
        self._campaign()

    def viewed(self, view: View) -> Change:
        """A view of group `managers`."""
        own, members = self._c.address, set(view.members)
        self.view = view
        if own not in members or not self._may_lead(view):
            return self.resign("the network is cut, and this side is not the primary one")
        if self._seniors is None:
            self._seniors = dict.fromkeys(sorted(members - {own}), self._c.now.mono + PROVE_S)
        self._seniors = {address: until for address, until in self._seniors.items() if address in members}
        if self.leading and view.cause is Cause.NETWORK:
            self.tell((GROUP_MANAGERS,), (GROUP_MANAGERS,))  # somebody may lead on the other side
        self._campaign()
        return ""

    def _may_lead(self, view: View) -> bool:
        """The bus's opinion of who is the primary part; but where a majority of those who give their word is, somebody may lead
        whatever the bus thinks."""
        return view.primary or self.outvotes()

    def silent(self, addresses: Iterable[str], why: str) -> None:
        """Who leads, or should, gives no sign of it, though it is on the bus: it is waited for no longer. What it has granted
        runs out, and who acts is for the words of the managers to say."""
        quiet = sorted(set(addresses) & (self._seniors or {}).keys())
        if self.leading or self._seniors is None or not quiet:
            return
        for address in quiet:
            del self._seniors[address]
        self._c.note(f"manager {self.leader or 'of the bus'}: not waited for ({why})", "warning")
        self._campaign()

    def outbid(self, epoch: int) -> None:
        """A voter has given its word to another for this epoch, or knows of it."""
        if self.leading and self._c.epoch <= epoch <= self._c.epoch + EPOCH_JUMP_MAX:
            self.highest = max(self.highest, epoch, self._c.epoch + 1)
            self._rise()

    def yielded(self, address: str) -> None:
        """A manager cannot lead, because of its disk: it comes after all others, as if it had joined just now."""
        if address == self._c.address and self.view:
            self._seniors = dict.fromkeys(sorted(set(self.view.members) - {address}), self._c.now.mono + PROVE_S)
        elif self._seniors is not None:
            self._seniors.pop(address, None)
            self._campaign()

    def resign(self, why: str) -> Change:
        """We are not the leader, whatever we were."""
        self._token, self._retry_at = "", float("inf")
        if not self.leading:
            return ""
        self.since = None
        self.leader = ""
        self._say(f"manager {self._c.name}: leader -> standby ({why})")
        return "lost"

    def disconnected(self) -> Change:
        self.view = self._seniors = None
        self.leader = ""
        return self.resign("the bus is down")

    def _campaign(self) -> None:
        may = self.ready and self._seniors is not None and self.view is not None and self._may_lead(self.view)
        if not may or self.leading or self._token:
            return
        self._doubt()
        if self._seniors:
            unproved = [until for address, until in self._seniors.items() if not self.proved(address)]
            self._retry_at = min(unproved, default=float("inf"))
        elif self._c.now.mono < self._not_before:  # our disk failed a moment ago
            self._retry_at = self._not_before
        else:
            self._claim(self.highest + 1)

    def _doubt(self) -> None:
        """safety: who has not proved to be a manager is not waited for: any stranger could keep the farm leaderless."""
        seniors = self._seniors or {}
        strangers = [a for a, until in seniors.items() if self._c.now.mono >= until and not self.proved(a)]
        for address in strangers:
            del seniors[address]
        if strangers:
            named = ", ".join(strangers[:5]) + (f" and {len(strangers) - 5} more" if len(strangers) > 5 else "")
            self._c.note(f"{named} in the group of managers: no manager that is trusted here, not waited for", "warning")

    def _claim(self, epoch: int) -> None:
        self._claimed, self._token, self._retry_at = epoch, f"epoch:{epoch}", float("inf")
        self._c.out.append(Persist("fact", "epoch", {"epoch": epoch, "leader": self._c.name}, self._token))

    def stored(self, stored: Stored) -> Change:
        """Our epoch is on disk, or could not be written."""
        if not self._token or stored.token != self._token:
            return ""
        self._token = ""
        if stored.error:
            if not self._store_failed:
                self._c.note(f"cannot lead: epoch {self._claimed} is not on disk: {stored.error}; trying again", "error")
            self._store_failed = True
            if self.view and len(self.view.members) > 1:
                self._c.send(ClbControl(verb="yield", ok=False, reason=stored.error), (GROUP_MANAGERS,), (GROUP_MANAGERS,))
            self._retry_at = self._not_before = self._c.now.mono + RETRY_S
            return ""
        self._store_failed = False
        if self.highest >= self._claimed:  # we heard of a higher one meanwhile
            self._claim(self.highest + 1)
            return ""
        self.highest = self._c.epoch = self._claimed
        self.tell((GROUP_MANAGERS,), (GROUP_MANAGERS,))
        if self.leading:
            return ""  # it led before, and goes on under a higher epoch
        self.since, self.leader = self._c.now.mono, self._c.name
        self._say(f"manager {self._c.name}: standby -> leader (epoch {self._c.epoch})")
        return "won"

    def tell(self, to: tuple[str, ...], addresses: tuple[str, ...]) -> None:
        """Says that we lead."""
        self._c.send(Control(verb="lead", arguments={"epoch": self._c.epoch}), to, addresses)

    def heard_lead(self, name: str, address: str, arguments: dict[str, Value]) -> Change:
        """CONTROL `lead` of any manager, ours included. Its envelope's epoch is the newest: the Opener saw to that."""
        epoch = arguments.get("epoch")
        if not isinstance(epoch, int) or epoch < self._c.epoch or name == self._c.name:
            return ""
        if self.leading and epoch == self._c.epoch and name > self._c.name:
            self.tell((GROUP_MANAGERS,), (GROUP_MANAGERS,))  # it has to give way
            return ""
        if self._seniors is not None and self.view is not None and address in self.view.members:
            self._seniors[address] = self._c.now.mono + PROVE_S
        self.highest = max(self.highest, epoch)
        self._c.epoch = epoch
        change = self.resign(f"{name} leads with epoch {epoch}")
        whose = name if epoch == self.highest else ""
        self._c.out.append(Persist("fact", "epoch", {"epoch": self.highest, "leader": whose}))
        if self.leader != name:
            self.leader = name
            self._say(f"manager {name}: leads now (epoch {epoch})")
        return change or "other"

    def heard_epoch(self, epoch: int) -> None:
        """A client or manager knows this reign. One above ours while we lead: our store is older than the farm."""
        if not self.highest < epoch <= self.highest + EPOCH_JUMP_MAX:
            return
        self.highest = epoch
        self._rise()

    def _rise(self) -> None:
        if not self.leading or self._token or self.highest <= self._c.epoch:
            return
        if self._c.now.mono < self._rise_at:
            self._retry_at = self._rise_at
            return
        self._rise_at = self._c.now.mono + RISE_EVERY_S
        self._c.note(f"epoch {self.highest} is known on the farm, ours is {self._c.epoch}: rising above it", "warning")
        self._claim(self.highest + 1)

    def tick(self) -> None:
        if self.view is not None and not self.view.primary and not self.leading:
            self._campaign()  # who is on this side is known only by their hellos
        if self._c.now.mono >= self._retry_at:
            self._retry_at = float("inf")
            self._rise()
            self._campaign()

    def next_wake(self) -> float:
        return self._retry_at

    def _say(self, text: str) -> None:
        self._c.note(text)
        self._c.record("manager", self._c.name, text)
