"""What must be looked at when: which subjects a changed Key wakes, and which a time wakes. Knows no trigger's rules."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from vmmanager.state import Farm, Key
from vmmanager.triggers.states import NEVER, Subject
from vmmanager.triggers.views import ANY_GROUP, NEWS_OF_ALL, NEWS_OF_GROUP


class Agenda:
    """Readers of Keys, and alarms on the monotonic clock."""

    def __init__(self) -> None:
        self._readers: dict[Key, set[Subject]] = {}
        self._alarms: list[tuple[float, int, Subject]] = []
        self._number = 0

    def reads(self, subject: Subject, seen: dict[Key, object]) -> None:
        """From now on these Keys wake the subject, and no others."""
        if seen.keys() == subject.keys:
            return
        keys = set(seen)
        for key in subject.keys - keys:
            self._unread(subject, key)
        for key in keys - subject.keys:
            self._readers.setdefault(key, set()).add(subject)
        subject.keys = keys

    def forget(self, subject: Subject) -> None:
        for key in subject.keys:
            self._unread(subject, key)
        subject.keys = set()
        subject.wake = subject.alarm = NEVER

    def _unread(self, subject: Subject, key: Key) -> None:
        readers = self._readers.get(key)
        if readers is not None:
            readers.discard(subject)
            if not readers:
                del self._readers[key]

    def woken_by(self, changed: Iterable[Key], farm: Farm) -> set[Subject]:
        woken: set[Subject] = set()
        readers = self._readers
        news: set[str] = set()
        for key in changed:
            found = readers.get(key)
            if found:
                woken |= found
            if key[0] in ("client", "property"):
                news.add(key[1])
            elif key[0] == "group":
                woken |= readers.get(ANY_GROUP, set())
        if news:
            woken |= readers.get(NEWS_OF_ALL, set())
        groups = {group for name in news if name in farm.clients for group in farm.clients[name].groups}
        for group in groups:
            woken |= readers.get((NEWS_OF_GROUP, group), set())
        return woken

    def wake(self, subject: Subject, mono: float) -> None:
        """Wake the subject at this time instead of any other. An alarm that is too early only costs a look: it is not
        taken out of the heap but set again when it rings."""
        subject.wake = mono
        if mono < subject.alarm:
            self._push(subject, mono)

    def _push(self, subject: Subject, mono: float) -> None:
        self._number += 1
        subject.alarm = mono
        heapq.heappush(self._alarms, (mono, self._number, subject))

    def ringing(self, mono: float) -> set[Subject]:
        """Those whose time has come."""
        due: set[Subject] = set()
        while self._alarms and self._alarms[0][0] <= mono:
            at, _, subject = heapq.heappop(self._alarms)
            if at != subject.alarm:
                continue  # an earlier one was set meanwhile, and rang
            subject.alarm = NEVER
            if subject.wake <= mono:
                subject.wake = NEVER
                due.add(subject)
            elif subject.wake != NEVER:
                self._push(subject, subject.wake)
        return due

    def next_alarm(self) -> float | None:
        return self._alarms[0][0] if self._alarms else None
