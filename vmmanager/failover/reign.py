"""The words among managers: asks for them while this manager leads, gives its own, says when authority comes and goes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.config.model import ManagerConfig
from common.leases import mute_s
from common.leasewords import WORDS
from common.protocol import GROUP_MANAGERS, ClbControl, Control
from common.words import FORGOT, Plea, Voter, Word, answer
from vmmanager.context import Context
from vmmanager.failover.authority import Authority

SAID_AFTER = 1.5  # times as long as a voter may have to keep silent


def voters_of(config: ManagerConfig) -> tuple[str, ...]:
    """A manager alone is its own majority, whatever witness there is."""
    if len(config.managers) < 2:
        return (config.name,)
    return (*config.managers, *((config.failover.witness,) if config.failover.witness else ()))


class Reign:
    """`acting`: this manager leads and has authority, as of the last look."""

    def __init__(self, context: Context) -> None:
        self._c = context
        config = context.config
        self.authority = Authority(config.name, voters_of(config), config.failover.terms, context.now.mono)
        self.acting = False
        self._started = context.now.mono
        self._strangers: set[str] = set()
        self.pleaded_at = context.now.mono  # when another manager asked last, or began to lead
        self.outbid: Callable[[int], None] = lambda epoch: None  # told an epoch above which we must rise; set by the owner
        self._silent_until = float("inf")  # a reign that has no authority by then says so, once

    def loaded(self, epoch: int, leader: str, heard: tuple[int, int]) -> None:
        """The highest epoch on our disk, and whose it is: to that reign we may have given our word. `heard`: the last reign
        whose decisions are on our disk, and how many; one of our own of which there is none there has decided nothing."""
        told = heard[1] if heard[0] == epoch else 0 if leader == self._c.name else FORGOT
        self.authority.voter = Voter(self._started, mute_s(self._c.config.failover.terms), epoch, leader, told)

    def look(self, epoch: int | None) -> None:
        """`epoch`: of the reign that this manager leads; None: it does not lead. Asks for words, and sees what came of it."""
        now = self._c.now.mono
        self.strangers()
        if epoch is None:
            if self.authority.epoch and (plea := self.authority.end()):
                self._say(plea)
        else:
            if epoch != self.authority.epoch and not self.authority.alone:
                self._silent_until = now + SAID_AFTER * self.authority.voter.mute_s
            self.authority.begin(epoch, now)
            if plea := self.authority.ask(now):
                self._say(plea)
        held = self.authority.held(now)
        if held != self.acting or (epoch is not None and not held and now >= self._silent_until):
            self.acting = held
            self._silent_until = float("inf")
            self._note(epoch)

    def _note(self, epoch: int | None) -> None:
        if self.authority.alone or epoch is None:
            return  # the change of leadership was said
        if self.acting:
            self._c.note(f"manager {self._c.name}: has authority (epoch {epoch})")
        else:
            self._c.note(f"manager {self._c.name}: {self.authority.why_not(self._c.now.mono)}; it does nothing", "warning")

    def _say(self, plea: Plea) -> None:
        to, addresses = [GROUP_MANAGERS], [GROUP_MANAGERS]
        witness = self._c.farm.clients.get(self._c.config.failover.witness)
        if witness is not None and witness.address and witness.name in self.authority.voters:
            to.append(witness.name)
            addresses.append(witness.address)
        self._c.send(Control(verb=WORDS, arguments=plea.values()), tuple(to), tuple(addresses))

    def asked(self, leader: str, address: str, arguments: dict[str, Any]) -> None:
        """A leader asks for our word."""
        plea = Plea.of(arguments)
        if plea is None or leader == self._c.name:
            return
        self.pleaded_at = self._c.now.mono
        if said := answer(self.authority.voter, leader, plea, self._c.now.mono):
            self._c.send(said, (leader,), (address,))

    def answered(self, voter: str, said: ClbControl) -> None:
        word = Word.of(said.values)
        if word is None or word.leader != self._c.name:  # safety: two may ask under the same epoch, and all hear a witness
            return
        if said.ok:
            self.authority.answered(voter, word)
            return
        self.authority.answered(voter, said.reason or "it gave none")
        if word.epoch == self.authority.epoch <= word.before and voter in self.authority.voters:
            self.outbid(word.before)

    def quiet(self) -> float:
        """So many times as long as a voter keeps its word nobody has asked for ours."""
        return 0.0 if self.authority.alone else (self._c.now.mono - self.pleaded_at) / self.authority.voter.mute_s

    def strangers(self) -> list[str]:
        """Managers that were on the bus since we started, and that the majority is not counted of. Cut off from us such a one
        acts as well."""
        self._strangers |= set(self._c.farm.managers) - set(self.authority.voters)
        return sorted(self._strangers)

    def why_not_alone(self) -> str:
        """safety: the majority must be one of all managers."""
        strangers = self.strangers()
        return f"manager {strangers[0]} was on the bus, and `managers` of {self._c.name} does not name it" if strangers else ""

    def next_wake(self) -> float:
        return min(self.authority.next_wake(), self.authority.until() if self.acting else float("inf"))
