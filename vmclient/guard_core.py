"""The guard's core: step(event, now) -> effects. Protected VMs run on this host only while its lease or its storage holds.

No clock, thread, file or process; `now` is monotonic. docs/design/0040 holds the argument. What it needs to be right it sees by
itself: it lists the domains, so it does not matter what became of the client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.leases import Terms
from vmclient.guard_book import GONE_S, Book
from vmclient.guard_events import (
    Arm,
    Came,
    Destroy,
    Destroyed,
    Effect,
    End,
    Event,
    Feed,
    Gone,
    Leave,
    List,
    Listed,
    Look,
    Looked,
    Note,
    Probe,
    Release,
    Remember,
    Save,
    Saved,
    Say,
    Seen,
    Slept,
    Tick,
    Told,
    WakeAt,
    Watched,
)
from vmclient.guard_storage import Storage
from vmclient.guardwords import Lease, Protect, Protected, Settled, Status

NEVER = float("inf")
ATTEMPT_SHARE = 0.5  # of stop_s: a list or a destruction may take so long before it is tried again
DESTROY_MAX = 64  # domains at the same time, each by a process of xl; the next list shows what is left
LIST_AGAIN_S = 0.2  # while domains are to be destroyed
LIST_BEATS = 5  # otherwise a list so often
FIRST_LOOK_S = 1.0  # a guard that has just started waits so long for its first look at the storage before it destroys anything
WORKERS_GONE_S = 2.0  # the client is gone: its workers, which the kernel ends, are gone then, too
LINGER_S = 15.0  # without a client and without a protected VM; a client that restarts is back before
RETRY_S = 10.0  # a watchdog that could not be opened, a book that could not be written
FEED_S_MAX = 1.0
FEED_SHARE = 0.25  # of the watchdog's time


class Guard:
    """`until`: the end of the lease as a guard before this one in the same boot knew it. `storage`: there is one to look at."""

    def __init__(self, book: Book, terms: Terms | None, now: float, *, until: float = 0.0, storage: bool = False) -> None:
        self.book = book
        self.terms = terms or Terms()
        self.n = 0
        self.until = until
        self._started = now
        self._has_client = False
        self._alone_since = now
        self._on_disk: Save | None = None if book.is_unknown else Save(book.names, book.known, terms)
        self._saving = False
        self._save_error = ""
        self._save_again = NEVER
        self._asked: dict[str, str] = {}  # execution that waits for Protected -> VM
        self._watchdog = Watched("it has not been tried yet", 0.0, armed=False)
        self._watch_pending = False
        self._short = False  # it was armed for less than its whole time
        self._watch_at = now
        self._feed_at = now
        self.storage = Storage(now, there=storage)
        self._look_at = now
        self._looking = False
        self._look_n = 0
        self._listing = False
        self._list_at = now
        self._list_error = ""
        self._destroying: set[str] = set()
        self._stopping = False
        self._destroy_error = ""
        self._told = Status()
        self._tell_at = now
        self._leaving = False
        self._ended = False

    # --- what holds -----------------------------------------------------------------------------------------------------------

    def holds_until(self) -> float:
        """The end of lease or storage, whichever is later."""
        return max(self.until, self.storage.holds_until(self.terms))

    def holds(self, now: float) -> str:
        """By what protected VMs may run here now; empty: they may not."""
        if now < self.until:
            return "lease"
        return "storage" if now < self.holds_until() else ""

    def status(self, now: float) -> Status:
        return Status(
            self.n,
            self.until,
            self.book.sorted,
            self._watchdog.text,
            self._watchdog.timeout_s,
            self._watchdog.armed,
            self.storage.n if self.storage.has_looked else 0,
            self.holds(now),
            self.storage.claim,
            self.storage.stopped,
        )

    # --- events ---------------------------------------------------------------------------------------------------------------

    def step(self, event: Event, now: float) -> list[Effect]:
        """All that is to be done because of this event, in order; the last is a WakeAt."""
        self.storage.passed(now, self.terms)
        effects = _handlers[type(event)](self, event, now)
        effects += self._watch(now)
        effects += self._stop(now)
        effects += self._save(now)
        effects += self._answer(now)
        effects += self._list(now)
        effects += self._look(now)
        effects += self._tell(now)
        effects += self._end(now)
        return [*effects, WakeAt(self._wake(now))]

    def _tick(self, event: Tick, now: float) -> list[Effect]:
        return []

    def _came(self, event: Came, now: float) -> list[Effect]:
        self._has_client, self._told = True, Status()
        return []

    def _gone(self, event: Gone, now: float) -> list[Effect]:
        self._has_client, self._alone_since = False, now
        self._asked.clear()
        self.book.nobody_acts(now + WORKERS_GONE_S)
        self._list_at = min(self._list_at, now + WORKERS_GONE_S)
        if not self.book:
            return []
        left = f"the lease lasts {self.until - now:.1f} s" if now < self.until else "there is no lease"
        return [Note(f"the client is gone, {left}; protected VMs that run on: {_names(self.book.sorted)}", "warning")]

    def _leave(self, event: Leave, now: float) -> list[Effect]:
        self._leaving = True
        self._list_at = now
        stays = f"it is asked to end, and stays for the protected VMs: {_names(self.book.sorted)}"
        return [Note(stays, "warning")] if self.book else []

    def _slept(self, event: Slept, now: float) -> list[Effect]:
        """safety: the leader's clock went on."""
        self.until -= event.seconds
        self.storage.slept(event.seconds)
        return [
            Note(f"this machine slept for {event.seconds:.1f} s, which the lease has lost", "warning"),
            Remember(self.until),
        ]

    def _told_by_client(self, event: Told, now: float) -> list[Effect]:
        word = event.word
        if isinstance(word, Lease):
            return self._leased(word, now)
        if isinstance(word, Protect):
            self.book.coming(word.name, word.key, now)
            self._asked[word.key] = word.name
            return []
        assert isinstance(word, Settled)
        self.book.settled(word.name, word.key, now)
        self._list_at = now
        return []

    def _leased(self, word: Lease, now: float) -> list[Effect]:
        if word.terms != self.terms:
            self.terms = word.terms
            self._watch_at = self._look_at = self._tell_at = now
        if word.known is not None:
            self.book.known = word.known
        if word.n <= self.n:  # a client that has restarted knows less than we do
            return []
        self.n, self.until = word.n, word.until
        self.storage.promised = word.storage or -1
        return [Remember(self.until)]

    def _saved(self, event: Saved, now: float) -> list[Effect]:
        self._saving = False
        before, self._save_error = self._save_error, event.error
        if event.error:
            self._on_disk, self._save_again = None, now + RETRY_S
            text = f"the book of protected VMs cannot be written, none is started: {event.error}"
            return [Note(text, "error")] if event.error != before else []
        return []

    def _watched(self, event: Watched, now: float) -> list[Effect]:
        before, self._watchdog = self._watchdog, event
        self._short = event.armed and (self._short or not self._watch_pending)
        self._watch_pending = False
        self._watch_at = NEVER if event.timeout_s else now + RETRY_S
        if event.text == before.text and event.armed == before.armed:
            return []
        if not event.timeout_s:
            return [Note(f"watchdog: none ({event.text}): nobody resets this host when it hangs", "warning")]
        if event.armed != before.armed or not before.timeout_s:
            what = "armed" if event.armed else "released" if before.armed else "ready"
            return [Note(f"watchdog: {what} ({event.text}, {event.timeout_s:g} s)")]
        return []

    def _listed(self, event: Listed, now: float) -> list[Effect]:
        self._listing = False
        if event.error:
            self._list_at = now + (LIST_AGAIN_S if self._stopping else self.terms.beat_s)
            before, self._list_error = self._list_error, event.error
            return [Note(f"the domains cannot be listed: {event.error}", "warning")] if event.error != before else []
        self._list_error = ""
        new, left = self.book.listed(event.began, [each.vm for each in event.domains])
        notes: list[Effect] = [Note(f"{vm} runs here and is to be protected") for vm in new]
        if left and self._stopping:
            notes.append(Note(f"destroyed: {_names(left)}"))
        if self._stopping:
            notes += [each for domain in event.domains for each in self._destroy(domain, now)]
        if self.storage.claim and not self.book and event.began >= self.storage.claim_at:  # safety: seen, not believed
            notes += self.storage.obeyed()
        self._list_at = now + self._list_every_s()
        return notes

    def _list_every_s(self) -> float:
        if self._stopping and self.book:
            return LIST_AGAIN_S
        if self.book.is_doubtful:
            return GONE_S
        return self.terms.beat_s * (1 if self._stopping else LIST_BEATS)

    def _destroy(self, domain: Seen, now: float) -> list[Effect]:
        if not self.book.protects(domain.vm) or domain.name in self._destroying or len(self._destroying) >= DESTROY_MAX:
            return []
        self._destroying.add(domain.name)
        return [Destroy(domain.name, self.terms.stop_s * ATTEMPT_SHARE)]

    def _destroyed(self, event: Destroyed, now: float) -> list[Effect]:
        self._destroying.discard(event.name)
        self._list_at = min(self._list_at, now) if not self._destroying else self._list_at
        if event.error and event.error != self._destroy_error:
            self._destroy_error = event.error
            return [Note(f"cannot destroy {event.error}", "error")]
        return []

    def _looked(self, event: Looked, now: float) -> list[Effect]:
        self._looking = False
        before = self.storage.claim
        notes = self.storage.looked(event, now, self.terms, self.until - self.terms.lease_s if now < self.until else -NEVER)
        if self.storage.claim != before:
            self._list_at = now
        return notes

    # --- what follows, whatever the event was ---------------------------------------------------------------------------------

    def _ready(self, now: float) -> bool:
        return self.storage.is_known or now >= self._started + FIRST_LOOK_S

    def _stop(self, now: float) -> list[Effect]:
        """safety: without lease and storage all that is protected is destroyed, again and again until nothing is listed."""
        stopping = not self.holds(now) and self._ready(now) and bool(self.book or self.book.known or self.storage.claim)
        if stopping == self._stopping:
            return []
        self._stopping, self._destroy_error = stopping, ""
        self._list_at = min(self._list_at, now)
        if not stopping or not self.book:
            return []
        claim = self.storage.claim
        why = f"the leader claims them (claim {claim})" if claim else "neither lease nor storage holds"
        note = Note(f"{why}; protected VMs are destroyed: {_names(self.book.sorted)}", "error")
        return [note, *(each for vm in self.book.sorted for each in self._destroy(Seen(vm, vm), now))]

    def _watch(self, now: float) -> list[Effect]:
        """Arms, releases, feeds."""
        held, dog = self.holds(now), self._watchdog
        wanted = bool(self.book) or (bool(self.book.known) and bool(held))
        if self._watch_pending:
            return []
        if now >= self._watch_at or (wanted and dog.timeout_s and (not dog.armed or (self._short and held))):
            self._watch_pending, self._short = True, not held
            self._feed_at = now + self._feed_every_s()
            left_s = max(1.0, self.until + self.terms.watchdog_s - now)  # safety: a guard that starts late gives no more time
            time_s = self.terms.watchdog_s if held else min(self.terms.watchdog_s, left_s)
            return [Arm(time_s) if wanted else Probe(self.terms.watchdog_s)]
        if dog.armed and not wanted:
            self._watch_pending = True
            return [Release()]
        if dog.armed and held and now >= self._feed_at:  # safety: only while lease or storage holds
            self._feed_at = now + self._feed_every_s()
            return [Feed(self.holds_until())]
        return []

    def _feed_every_s(self) -> float:
        return min(FEED_S_MAX, FEED_SHARE * (self._watchdog.timeout_s or self.terms.watchdog_s))

    def _save(self, now: float) -> list[Effect]:
        wanted = Save(self.book.names, self.book.known, self.terms)
        if self.book.is_unknown or self._saving or wanted == self._on_disk or (self._save_error and now < self._save_again):
            return []
        self._saving, self._on_disk = True, wanted
        return [wanted]

    def _answer(self, now: float) -> list[Effect]:
        """To executions that are about to bring a VM to life. safety: yes only when it is in the book on disk, the watchdog is
        armed where there is one, and the lease lasts longer than a beat."""
        effects: list[Effect] = []
        for key, name in list(self._asked.items()):
            if now >= self.until - self.terms.beat_s:
                error = "this host holds no lease that lasts"
            elif self._save_error:
                error = f"its guard cannot note it: {self._save_error}"
            elif self._is_noted(name) and (self._watchdog.armed or not self._watchdog.timeout_s) and not self._watch_pending:
                error = ""
            else:
                continue
            del self._asked[key]
            if error:
                self.book.settled(name, key, now)
            effects.append(Say(Protected(key, error)))
        return effects

    def _is_noted(self, name: str) -> bool:
        return not self._saving and self._on_disk is not None and name in self._on_disk.names

    def _wants_list(self) -> bool:
        return bool(self.book or self.book.known or self.storage.claim or self._stopping)

    def _list(self, now: float) -> list[Effect]:
        if self._listing or now < self._list_at or not self._wants_list():
            return []
        self._listing = True
        return [List(self.terms.stop_s * ATTEMPT_SHARE)]

    def _look(self, now: float) -> list[Effect]:
        if not self.storage.there or self._looking or now < self._look_at:
            return []
        self._looking = True
        self._look_at = now + self.terms.beat_s
        self._look_n += 1
        return [Look(self._look_n)]

    def _tell(self, now: float) -> list[Effect]:
        status = self.status(now)
        if not self._has_client or (status == self._told and now < self._tell_at):
            return []
        self._told, self._tell_at = status, now + self.terms.beat_s
        return [Say(status)]

    def _end(self, now: float) -> list[Effect]:
        idle = not self.book and not self._watchdog.armed and not self._stopping
        if self._ended or not idle or not (self._leaving or (not self._has_client and now >= self._alone_since + LINGER_S)):
            return []
        self._ended = True
        return [Note("nothing is left to guard: it ends"), End()]

    def _wake(self, now: float) -> float:
        times = [self._watch_at, self.holds_until(), self.until, self._alone_since + LINGER_S]
        times += [self._feed_at] if self._watchdog.armed and self.holds(now) else []
        times += [self._list_at] if not self._listing and self._wants_list() else []
        times += [self._look_at] if self.storage.there and not self._looking else []
        times += [self._tell_at] if self._has_client else []
        times += [self._save_again] if self._save_error else []
        times += [self._started + FIRST_LOOK_S, *([self.until - self.terms.beat_s] if self._asked else [])]
        return min((at for at in times if at > now), default=NEVER)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


_handlers: dict[type, Callable[[Guard, Any, float], list[Effect]]] = {
    Came: Guard._came,
    Gone: Guard._gone,
    Leave: Guard._leave,
    Slept: Guard._slept,
    Told: Guard._told_by_client,
    Saved: Guard._saved,
    Watched: Guard._watched,
    Listed: Guard._listed,
    Destroyed: Guard._destroyed,
    Looked: Guard._looked,
    Tick: Guard._tick,
}
