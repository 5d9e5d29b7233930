"""A guard on a pretend clock: a hypervisor, a watchdog, a disk, a storage and a leader's grants around its core."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.leases import Terms
from vmclient import guard_events as ev
from vmclient.guard_book import Book
from vmclient.guard_core import Guard
from vmclient.guardwords import FromGuard, Lease, Protect, Protected, Settled, Status

TERMS = Terms(lease_s=8.0, beat_s=2.0, stop_s=5.0, watchdog_s=8.0, storage_s=8.0)
MAIL = "mail1"


class World:
    """`domains`: of ours, as the hypervisor has them. `frozen`: effects of these kinds are taken and never answered.
    `slow`: the edge may take its time, and what must be so in the end is checked at every step."""

    def __init__(
        self,
        *,
        book: Iterable[str] = (),
        known: Iterable[str] = (),
        until: float = 0.0,
        storage: bool = False,
        watchdog_s: float = 8.0,
        everything: bool = False,
        latency_s: float = 0.0,
        slow: bool = False,
    ) -> None:
        self.now = 1000.0
        self.domains: set[str] = set()
        self.watchdog_s = watchdog_s
        self.latency_s = latency_s
        self.slow = slow or latency_s > 0
        self.armed_until = float("inf")
        self.was_reset = False
        self.claim = 0
        self.storage_error = ""
        self.disk_error = ""
        self.frozen: set[type] = set()
        self.notes: list[str] = []
        self.effects: list[ev.Effect] = []
        self.said: list[FromGuard] = []
        self.on_disk: frozenset[str] = frozenset(book)
        self.ended = False
        self.n = 0
        self.over_since = float("inf")  # neither lease nor storage holds
        self._later: list[tuple[float, ev.Event | Callable[[], ev.Event]]] = []
        self.core = Guard(Book(book, known, self.now, everything=everything), TERMS, self.now, until=until, storage=storage)
        self.wake = self.now
        self.step(ev.Tick())

    # --- what a test does -----------------------------------------------------------------------------------------------------

    def grant(self, *, asked: float | None = None, known: tuple[str, ...] | None = (), storage: bool = True) -> None:
        """The client tells of a lease; asked now, unless it is said when."""
        self.n += 1
        gap = self.core.status(self.now).storage if storage else 0
        self.step(ev.Told(Lease(self.n, (self.now if asked is None else asked) + TERMS.lease_s, TERMS, known, gap)))

    def start(self, vm: str = MAIL, key: str = "e1") -> Protected:
        """An execution brings it to life, if it may."""
        self.step(ev.Told(Protect(vm, key)))
        self.after(1.3 if self.slow else 0.0)
        answer = [word for word in self.said if isinstance(word, Protected) and word.key == key][-1]
        if not answer.error:
            self.domains.add(vm)
            self.step(ev.Told(Settled(vm, key)))
        return answer

    def after(self, seconds: float, *, granted: bool = False) -> None:
        """Time passes, and all that is due happens. `granted`: a lease comes each beat."""
        end = self.now + seconds
        beat = self.now
        while True:
            times = [at for at, _ in self._later] + [self.wake, self.armed_until] + ([beat] if granted else [])
            at = min(times)
            if at > end:
                break
            self.now = max(self.now, at)
            if granted and beat <= self.now:
                beat += TERMS.beat_s
                self.grant(known=None)
            if self.armed_until <= self.now:
                self.was_reset, self.armed_until = True, float("inf")
                self.domains.clear()
            due = [one for one in self._later if one[0] <= self.now]
            self._later = [one for one in self._later if one[0] > self.now]
            for _, event in due:
                self.step(event() if callable(event) else event)
            if self.wake <= self.now:
                self.step(ev.Tick())
            if self.slow:
                self.check()
        self.now = end

    def check(self) -> None:
        """No protected VM outlives lease and storage by more than stop_s."""
        late = self.now > self.over_since + TERMS.stop_s
        assert not late or not [name for name in self.domains if not name.startswith("plain")], "protected VMs run on"

    def found(self, kind: type) -> list[ev.Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def status(self) -> Status:
        return self.core.status(self.now)

    # --- the edge -------------------------------------------------------------------------------------------------------------

    def step(self, event: ev.Event) -> None:
        effects = self.core.step(event, self.now)
        wake = effects.pop()
        assert isinstance(wake, ev.WakeAt)
        assert wake.mono > self.now
        self.wake = wake.mono
        self.over_since = float("inf") if self.core.holds(self.now) else min(self.over_since, self.now)
        for effect in effects:
            assert not isinstance(effect, ev.Feed) or self.core.holds(self.now), "it is fed though nothing holds"
            self.effects.append(effect)
            if type(effect) not in self.frozen:
                self._perform(effect)

    def _perform(self, effect: ev.Effect) -> None:
        if isinstance(effect, ev.Note):
            self.notes.append(effect.text)
        elif isinstance(effect, ev.Say):
            self.said.append(effect.word)
        elif isinstance(effect, ev.Save):
            self._saved(effect)
        elif isinstance(effect, (ev.Probe, ev.Arm, ev.Release, ev.Feed)):
            self._watch(effect)
        elif isinstance(effect, ev.List):
            began = self.now
            self._answer(lambda: ev.Listed(began, tuple(ev.Seen(name, name) for name in sorted(self.domains))))
        elif isinstance(effect, ev.Destroy):
            self._answer(lambda: self._destroyed(effect.name))
        elif isinstance(effect, ev.Look):
            began, claim, error = self.now, self.claim, self.storage_error
            self._answer(lambda: ev.Looked(began, claim, error))
        elif isinstance(effect, ev.End):
            self.ended = True

    def _answer(self, event: Callable[[], ev.Event]) -> None:
        self._later.append((self.now + self.latency_s, event))

    def _destroyed(self, name: str) -> ev.Event:
        self.domains.discard(name)
        return ev.Destroyed(name)

    def _saved(self, effect: ev.Save) -> None:
        if not self.disk_error:
            self.on_disk = effect.names
        event = ev.Saved(effect.names, self.disk_error)
        self._answer(lambda: event)

    def _watch(self, effect: ev.Effect) -> None:
        if isinstance(effect, ev.Feed):
            self.armed_until = self.now + self.watchdog_s
            return
        armed = isinstance(effect, ev.Arm) and self.watchdog_s > 0
        self.armed_until = self.now + min(self.watchdog_s, effect.timeout_s) if armed else float("inf")  # type: ignore[union-attr]
        told = ev.Watched("test", self.watchdog_s, armed=armed)
        self._later.append((self.now, told))
