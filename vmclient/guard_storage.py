"""What the guard saw on the shared storage: whether it holds by it, and which claim it has seen. Pure (docs/design/0040)."""

from __future__ import annotations

from common.leases import Terms
from vmclient.guard_events import Effect, Looked, Note

NEVER = float("inf")


class Storage:
    """`n`: rises with each gap in the looks. `promised`: the `n` of which the leader knows, by the asking that it answered.
    `claim`: seen, and neither obeyed nor taken back yet; `stopped`: the last obeyed."""

    def __init__(self, now: float, *, there: bool) -> None:
        self.there = there
        self.n = int(now * 1000)
        self.promised = -1
        self.claim = 0
        self.claim_at = -NEVER
        self.stopped = 0
        self.has_looked = False  # a whole look that is not too old
        self._began = -NEVER  # of the last whole look that found no claim: it holds from there
        self._looked_at = -NEVER  # of the last whole look
        self._error = ""

    @property
    def is_known(self) -> bool:
        """There is none, or it has been looked at."""
        return not self.there or self._looked_at > -NEVER

    def holds_until(self, terms: Terms) -> float:
        if self.claim:  # safety: who has seen a claim does not hold by storage, from then on
            return -NEVER
        if self.promised != self.n:  # safety: the leader waits for a claim only where it knows of a storage
            return -NEVER
        return self._began + terms.storage_s

    def passed(self, now: float, terms: Terms) -> None:
        """Time went on. safety: after a gap, in which the host may have said that it has none, the leader must know anew."""
        if self.has_looked and now >= self._looked_at + terms.storage_s:
            self.has_looked = False
            self.n += 1

    def slept(self, seconds: float) -> None:
        self._began -= seconds
        self._looked_at -= seconds

    def looked(self, event: Looked, now: float, terms: Terms, leased_at: float) -> list[Effect]:
        """`leased_at`: when the lease that holds was asked for; minus infinity: none holds."""
        before, self._error = self._error, event.error
        if event.error:
            return [Note(f"storage: unknown ({event.error})", "warning")] if event.error != before else []
        notes: list[Effect] = [Note("storage: known again")] if before else []
        self._looked_at, self.has_looked = event.began, now < event.began + terms.storage_s
        if event.claim and event.claim != self.stopped:
            if event.claim != self.claim:
                self.claim, self.claim_at = event.claim, now
                notes.append(Note(f"storage: the leader claims this host (claim {event.claim})", "warning"))
        elif not event.claim and (not self.claim or leased_at >= self.claim_at):  # safety: it stands until a later lease
            self.claim, self._began = 0, event.began
        return notes

    def obeyed(self) -> list[Effect]:
        """Nothing protected runs here any more."""
        self.stopped, self.claim, self._began = self.claim, 0, -NEVER
        return [Note(f"claim {self.stopped} of the leader is obeyed: nothing protected runs here")]
