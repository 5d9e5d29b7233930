"""Who may give its word to a leader: the rule that managers and a witness keep (docs/design/0040). Pure, no clock.

A leader asks by CONTROL `words` (Plea), a voter answers by CLB_CONTROL `word` (Word), or says by the same why it gives none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Self

from common.leases import DRIFT_MAX, Terms, mute_s
from common.leasewords import WORD
from common.protocol import ClbControl, Value, flat

EPOCH_MAX = 2**63 - 1
FORGOT = EPOCH_MAX  # how much a reign has told, for all that a voter knows that was restarted


@dataclass(frozen=True, slots=True)
class Plea:
    """`n` rises with each asking of one reign. `authority_s`, `drift`: by what the leader counts. `told`: so many decisions on
    hosts the reign has told the managers before."""

    epoch: int
    n: int
    authority_s: float
    drift: float
    over: bool = False  # the leader acts no more: its voters are free
    told: int = 0

    def values(self) -> dict[str, Value]:
        return flat(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self | None:
        epoch, n, authority_s, drift = (values.get(key) for key in ("epoch", "n", "authority_s", "drift"))
        told = values.get("told", 0)
        if not all(map(_count, (epoch, n, told))) or not _number(authority_s, 3600.0) or not _number(drift, DRIFT_MAX):
            return None
        over = values.get("over") is True
        return cls(int(epoch), int(n), float(authority_s), float(drift), over, int(told))  # type: ignore[arg-type]

    @property
    def mute_s(self) -> float:
        """So long a voter gives its word to nobody else, by its own clock."""
        return mute_s(Terms(authority_s=self.authority_s, drift=self.drift))


@dataclass(frozen=True, slots=True)
class Word:
    """To the asking `n` of the reign `epoch` of `leader`. `before`: the reign to which the voter gave its word before this one,
    and that decided something; `told`: so much of it the voter knows to have been told. Who has not heard that much does not
    know which hosts are back. With a refusal `before` is the epoch above which the leader must rise, or 0."""

    leader: str
    epoch: int
    n: int
    before: int = 0
    told: int = 0

    def values(self) -> dict[str, Value]:
        return flat(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self | None:
        leader, told = values.get("leader"), values.get("told", 0)
        numbers = [values.get("epoch"), values.get("n"), values.get("before"), told]
        return cls(leader, *numbers) if isinstance(leader, str) and all(_count(each) for each in numbers) else None


class Voter:
    """One manager, or the witness. `mute_s`: by the numbers of its own file, or the last ones told; `started`: its clock at its
    start; `known`: the highest epoch it had known before, and `leader` whose it was; "": it does not know; `told`: how much it
    knows that reign to have told."""

    def __init__(self, started: float, mute_s: float, known: int = 0, leader: str = "", told: int = FORGOT) -> None:
        self.mute_s = mute_s
        self._silent_until = started + mute_s
        self._known = known
        self._told = told if known else 0
        self._before = (known, self._told)
        self._leader = leader
        self._epoch = known
        self._given_until = float("-inf")
        self.rise_above = 0  # the epoch above which the plea that was refused last must rise; 0: that is not what is wrong

    def heard_epoch(self, epoch: int) -> None:
        self._known = max(self._known, epoch)

    def asked(self, leader: str, plea: Plea, now: float) -> Word | str:
        """Its word, or why it gives none."""
        self.rise_above = 0
        if plea.epoch < self._known:  # safety: a reign that is over gets no word
            self.rise_above = self._known
            return f"it knows of epoch {self._known}"
        if plea.epoch == self._epoch and self._leader != leader:  # safety: an epoch has one leader, or late orders pass
            self.rise_above = plea.epoch
            return f"epoch {plea.epoch} is {self._leader}'s" if self._leader else f"whose epoch {plea.epoch} is, it forgot"
        if now < self._silent_until:  # safety: what it said before its start, it does not know
            return f"it started a moment ago, and is silent for {self._silent_until - now:.1f} s"
        if self._leader not in ("", leader) and now < self._given_until:  # safety: no two leaders at a time
            return f"it gave its word to {self._leader} (epoch {self._epoch}), for {self._given_until - now:.1f} s"
        if (self._leader, self._epoch) != (leader, plea.epoch):
            if self._told:  # a reign that has told nothing has decided nothing
                self._before = (self._epoch, self._told)
            self._leader, self._epoch, self._told = leader, plea.epoch, 0
        self._told = plea.told if self._told == FORGOT else max(self._told, plea.told)
        self._known = plea.epoch
        self._given_until = max(self._given_until, now + plea.mute_s)
        return Word(leader, plea.epoch, plea.n, *self._before)

    def freed(self, leader: str, epoch: int) -> None:
        """This leader acts no more, by its own word."""
        if (leader, epoch) == (self._leader, self._epoch):
            self._given_until = float("-inf")


def answer(voter: Voter, leader: str, plea: Plea, now: float) -> ClbControl | None:
    """What a voter says to a plea; None: no answer is due."""
    if plea.over:
        voter.freed(leader, plea.epoch)
        return None
    word = voter.asked(leader, plea, now)
    return (
        refusal(leader, plea, word, voter.rise_above) if isinstance(word, str) else ClbControl(verb=WORD, values=word.values())
    )


def refusal(leader: str, plea: Plea, why: str, rise_above: int = 0) -> ClbControl:
    return ClbControl(verb=WORD, ok=False, reason=why, values=Word(leader, plea.epoch, plea.n, rise_above).values())


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= EPOCH_MAX


def _number(value: Any, most: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and 0 <= value <= most
