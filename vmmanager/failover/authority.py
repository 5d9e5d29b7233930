"""The leader's own lease: a leader acts only while a majority of managers (and the witness) has given its word. Pure.

It holds until (when it asked) + `authority_s`, for what a majority, itself included, has answered; the rule by which words are
given is common/words.py. safety: a leader without authority grants, orders, fires, claims and fences nothing.
"""

from __future__ import annotations

from common.leases import Terms, mute_s
from common.words import Plea, Voter, Word

ASKED_KEPT_MAX = 100  # askings without an answer that are remembered
PER_AUTHORITY = 4  # askings in the time of one authority


class Authority:
    """`voters`: all configured managers, and the witness; one, or none: this manager is its own majority."""

    def __init__(self, name: str, voters: tuple[str, ...], terms: Terms, now: float, known: int = 0) -> None:
        self._name = name
        self.voters = voters
        self._terms = terms
        self.voter = Voter(now, mute_s(terms), known)
        self.epoch = 0  # of the reign that asks; 0: this manager does not lead
        self._n = 0
        self._sent: dict[int, float] = {}  # asking -> when
        self._given: dict[str, float] = {}  # voter -> when that was asked which it answered last
        self.refusals: dict[str, str] = {}  # voter -> why it gave no word
        self.told = 0  # so many decisions on hosts we have told in this reign
        self.before = (0, 0)  # the reign before ours, and how much it told, as far as those know who gave their word
        self._next_at = float("inf")

    @property
    def alone(self) -> bool:
        return len(self.voters) < 2

    @property
    def needed(self) -> int:
        return len(self.voters) // 2 + 1

    def until(self) -> float:
        """Monotonic: so long this manager may act. Minus infinity: it may not."""
        if not self.epoch:
            return float("-inf")
        if self.alone:
            return float("inf")
        asked = sorted(self._given.values(), reverse=True)
        if len(asked) < self.needed:
            return float("-inf")
        return asked[self.needed - 1] + self._terms.authority_s  # safety: from the asking, not from the answer

    def since(self, moment: float) -> bool:
        """Has a majority answered what was asked after this moment?"""
        return self.until() - self._terms.authority_s >= moment

    def held(self, now: float) -> bool:
        return now < self.until()

    def begin(self, epoch: int, now: float) -> None:
        """This manager leads, under a new epoch."""
        if epoch == self.epoch:
            return
        self.epoch, self.told, self.before = epoch, 0, (0, 0)
        self._sent.clear()
        self._given.clear()  # safety: a word is for one reign
        self.refusals.clear()
        self._next_at = now if not self.alone else float("inf")

    def end(self) -> Plea | None:
        """It leads no longer. What to tell the voters, so that the next leader need not wait."""
        epoch, self.epoch = self.epoch, 0
        self._sent.clear()
        self._given.clear()
        self._next_at = float("inf")
        return self._plea(epoch, over=True) if epoch and not self.alone else None

    def ask(self, now: float) -> Plea | None:
        """What to send now; None: nothing yet. Our own word is given, or not, at once."""
        if not self.epoch or self.alone or now < self._next_at:
            return None
        self._next_at = now + self._terms.authority_s / PER_AUTHORITY
        self._n += 1
        self._sent[self._n] = now
        while len(self._sent) > ASKED_KEPT_MAX:
            del self._sent[min(self._sent)]
        plea = self._plea(self.epoch)
        self.answered(self._name, self.voter.asked(self._name, plea, now))
        return plea

    def _plea(self, epoch: int, *, over: bool = False) -> Plea:
        return Plea(epoch, self._n, self._terms.authority_s, self._terms.drift, over, self.told)

    def answered(self, voter: str, word: Word | str) -> None:
        """Of a voter: its word, or why not."""
        if voter not in self.voters:  # safety: only those count that the majority is counted of
            return
        if isinstance(word, str):
            self.refusals[voter] = word
            return
        asked_at = self._sent.get(word.n)
        if word.epoch != self.epoch or asked_at is None:
            return
        self.refusals.pop(voter, None)
        self._given[voter] = max(asked_at, self._given.get(voter, float("-inf")))
        self.before = max(self.before, (word.before, word.told))

    def next_wake(self) -> float:
        return self._next_at

    def why_not(self, now: float) -> str:
        """A sentence, where it may not act; empty where it may."""
        if self.held(now):
            return ""
        if not self.epoch:
            return "this manager does not lead"
        fresh = [voter for voter in self.voters if self._given.get(voter, float("-inf")) + self._terms.authority_s > now]
        missing = [self._missing(voter) for voter in self.voters if voter not in fresh]
        counted = f"{len(fresh)} of {len(self.voters)} have given their word, {self.needed} are needed"
        return f"it has no authority: {counted} ({'; '.join(missing)})"

    def _missing(self, voter: str) -> str:
        return f"{voter}: {self.refusals.get(voter, 'no answer')}"
