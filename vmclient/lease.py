"""The client's side of leases (docs/design/0040): it asks, is granted, tells its guard, and says what may come to life. Pure.

The guard alone stops VMs and feeds the watchdog; what this module decides is only what begins.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from common.config.model import GuardConfig, PropertyConfig, Where
from common.leases import Terms, mute_s
from common.leasewords import LEASE, Ask, Grant
from common.protocol import ClbControl, Execute, Value
from common.words import Plea, Voter, answer, refusal
from vmclient.events import Effect, GuardCame, GuardFailed, GuardGone, Moment, Note, Send, StartGuard, ToGuard
from vmclient.guardwords import Lease, Status

NEVER = float("inf")
SENT_MAX = 64  # askings remembered
GUARD_BEATS = 2  # a guard that has said nothing for so many is suspect, and hangs when it says nothing for
GUARD_S = 1.0  # so long after that: if it was the client that slept, it hears it now. A new one is in time for the watchdog
RISKY = ("vm-start", "vm-restore", "vm-unpause", "vm-migrate", "vm-save", "vm-reboot")
"""What brings a VM to life, or may: after a migration or a save that fails it runs on, a reboot takes it away for a moment."""
PROTECT = "protect"  # a parameter of these, besides that of a definition: for us, the command does not know it
PROPERTY = PropertyConfig("lease", "lease", Where("built in"), ticks=10.0, push="on_change")


@dataclass(frozen=True, slots=True)
class Sent:
    """One asking. `storage`: of the Status that it was made of."""

    n: int
    at: float
    storage: int


class Leases:
    """`terms`, `book`, `known`: what the guard's file says, which the last leader told and which outlives a restart."""

    def __init__(
        self,
        name: str,
        boot_id: str,
        now: Moment,
        terms: Terms | None,
        book: tuple[str, ...] = (),
        known: tuple[str, ...] | None = None,
    ) -> None:
        self._name = name
        self._boot_id = boot_id
        self.terms = terms
        self.until = 0.0
        self._n = int(now.wall * 1000)  # higher than all of the client before us; the guard knows if it is not
        self._granted_n = 0
        self._storage = 0  # of the asking that was granted
        self._sent: deque[Sent] = deque(maxlen=SENT_MAX)
        self._ask_at = now.mono
        self._known = known
        self._kept_book = book
        self.guard: Status | None = None
        self._heard_at = NEVER  # of the guard
        self._suspect_at = NEVER  # since when it is
        self._guard_started = False
        self._guard_fault = ""
        self._had_storage = False
        self._over_noted = True

    # --- what is so -----------------------------------------------------------------------------------------------------------

    def protects(self, execute: Execute) -> str:
        """The VM that this brings to life, where it is protected; else empty."""
        vm = execute.parameters.get("vm")
        if execute.command not in RISKY or not isinstance(vm, str):
            return ""
        definition = execute.parameters.get("definition")
        said = isinstance(definition, dict) and definition.get("protect") is True
        said = said or execute.parameters.get(PROTECT) is True
        return vm if said or vm in self.book or vm in (self._known or ()) else ""

    @property
    def book(self) -> tuple[str, ...]:
        return self.guard.book if self.guard is not None else self._kept_book

    def why_not(self, now: float) -> str:
        """Why no protected VM may come to life here now; empty: it may. safety"""
        if self.terms is None:
            return "no manager has told this host the numbers of fail-over"
        if now >= self.until - self.terms.beat_s:  # safety: it lasts longer than a beat
            return "this host holds no lease that lasts"
        if self.guard is None:  # safety: nobody would stop it
            return f"the guard of this host is not there{': ' if self._guard_fault else ''}{self._guard_fault}"
        return ""

    def shown(self, now: float) -> dict[str, Value]:
        """The property `lease`."""
        if self.terms is None:
            return {"state": "none", "why": self.why_not(now)}
        status = self.guard or Status()
        state = "lease" if now < self.until else status.holds or "none"
        return {
            "state": state,
            "left_s": round(max(0.0, self.until - now), 1),
            "guard": "there" if self.guard is not None else self._guard_fault or "not there",
            "watchdog": status.watchdog,
            "watchdog_s": status.watchdog_s,
            "armed": status.armed,
            "storage": bool(status.storage),
            "claim": status.claim,
            "protected": list(self.book),
        }

    # --- the leader -----------------------------------------------------------------------------------------------------------

    def granted(self, grant: Grant, now: float) -> list[Effect]:
        """The epoch is checked by who calls."""
        first = self.terms is None
        self.terms = grant.terms
        n = grant.hosts.get(self._name, 0)
        sent = next((each for each in self._sent if each.n == n), None)
        if sent is not None and n > self._granted_n:  # safety: the latest asking alone counts, and from when it was sent
            self._granted_n, self.until = n, sent.at + grant.terms.lease_s
            self._storage = sent.storage if self._no_gap_since(sent) else 0
            self._known = grant.protected.get(self._name, ())
        self._ask_at = min(self._ask_at, now + grant.terms.beat_s)
        effects: list[Effect] = []
        if first:
            effects.append(
                Note(
                    f"leases: told by a manager, {grant.terms.lease_s:g} s, a beat each {grant.terms.beat_s:g} s", part="lease"
                )
            )
            self._ask_at = now
        if now < self.until and self._over_noted:
            self._over_noted = False
            effects.append(Note("leases: this host holds one", part="lease"))
        return [*effects, *self.start_guard(), *self._tell_guard()]

    def _no_gap_since(self, sent: Sent) -> bool:
        """safety: an asking without storage that was sent later may have reached the leader already."""
        return all(each.storage == sent.storage for each in self._sent if each.n >= sent.n)

    def due(self, now: float, connected: bool) -> list[Effect]:
        """The asking, where its time has come; a sentence when the lease is over."""
        if self.terms is None:
            return []
        effects = self.start_guard()
        effects += self._suspect(now, self.terms.beat_s)
        if now >= self.until and not self._over_noted:
            self._over_noted = True
            effects.append(Note("leases: this host's lease is over", "warning", "lease"))
        if now < self._ask_at:
            return effects
        self._ask_at = now + self.terms.beat_s
        if connected and (self.guard is not None or self._guard_fault):  # safety: it alone knows of the storage
            effects.append(Send(ClbControl(verb=LEASE, values=self._ask(now).values()), ttl_s=self.terms.lease_s))
        return effects

    def _suspect(self, now: float, beat_s: float) -> list[Effect]:
        """A guard that hangs: whether the client itself was held up shows when it has looked again."""
        if now - self._heard_at < GUARD_BEATS * beat_s:
            return []
        if not self._suspect_at <= now <= self._suspect_at + 2 * GUARD_S:
            self._suspect_at = now
        if now - self._suspect_at < GUARD_S:
            return []
        self._heard_at = self._suspect_at = NEVER
        return [Note("the guard is silent: it is killed, and another one started", "error", "lease"), StartGuard(anew=True)]

    def _ask(self, now: float) -> Ask:
        status = self.guard or Status()
        self._n += 1
        self._sent.append(Sent(self._n, now, status.storage))
        storage = bool(status.storage) if self.guard is not None else self._had_storage
        return Ask(self._n, self._boot_id, tuple(self.book), status.watchdog_s, status.armed, storage, status.stopped)

    def slept(self, seconds: float) -> list[Effect]:
        """safety: what was asked before is not counted from the right moment any more."""
        self.until -= seconds
        self._sent.clear()
        return []

    def is_over(self, now: float) -> bool:
        return now >= self.until

    def next_due(self) -> float:
        if self.terms is None:
            return NEVER
        silent_at = self._heard_at + GUARD_BEATS * self.terms.beat_s
        silent_at = self._suspect_at + GUARD_S if self._suspect_at < NEVER else silent_at
        return min(self._ask_at, silent_at, NEVER if self._over_noted else self.until)

    # --- the guard ------------------------------------------------------------------------------------------------------------

    def start_guard(self) -> list[Effect]:
        if self._guard_started or self.terms is None:
            return []
        self._guard_started = True
        return [StartGuard()]

    def _tell_guard(self) -> list[Effect]:
        if self.terms is None:
            return []
        return [ToGuard(Lease(self._granted_n, self.until, self.terms, self._known, self._storage))]

    def came(self, event: GuardCame) -> list[Effect]:
        self._guard_fault = ""
        return self._tell_guard()

    def gone(self, event: GuardGone) -> list[Effect]:
        was, self.guard = self.guard, None
        self._heard_at = self._suspect_at = NEVER
        if was is None:
            return []
        self._kept_book = was.book
        return [Note("the guard is gone, another one is started", "error", "lease")]

    def failed(self, event: GuardFailed) -> list[Effect]:
        before, self._guard_fault = self._guard_fault, event.why
        return [Note(f"no guard can be started: {event.why}", "error", "lease")] if event.why != before else []

    def said(self, status: Status, now: float) -> list[Effect]:
        if self.guard is None:
            self._ask_at = now
        self._heard_at, self._suspect_at = now, NEVER
        self.guard, self._kept_book = status, status.book
        if status.n > self._n:  # the clock was set back
            self._n = status.n
        self._had_storage = self._had_storage or bool(status.storage)
        return []


class Witness:
    """Gives its word to a leader, where the client's file says so. `epoch`: the highest known before."""

    def __init__(self, config: GuardConfig, now: float, epoch: int) -> None:
        self._config = config
        self._started = now
        self._before = self._epoch = epoch
        self._voter: Voter | None = None

    def heard_epoch(self, epoch: int) -> None:
        self._epoch = max(self._epoch, epoch)
        if self._voter is not None:
            self._voter.heard_epoch(epoch)

    def configure(self, config: GuardConfig) -> None:
        self._config = config

    def asked(self, leader: str, plea: Plea, now: float) -> ClbControl | None:
        """The answer; None: none is due."""
        if not self._config.witness:
            return refusal(leader, plea, "this client is no witness (witness of [failover])")
        if self._voter is None:
            self._voter = Voter(self._started, max(plea.mute_s, mute_s(Terms())), self._before)
            self._voter.heard_epoch(self._epoch)
        return answer(self._voter, leader, plea, now)
