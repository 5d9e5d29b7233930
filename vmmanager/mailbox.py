"""A bounded queue between two threads, with a name, a limit in items and one in bytes. Knows not what it carries."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Many put, one takes. `on_put` wakes a taker that waits elsewhere (on sockets)."""

    def __init__(
        self, name: str, items_max: int, bytes_max: int = 1 << 62, *, on_put: Callable[[], None] | None = None
    ) -> None:
        self.name = name
        self.items_max = items_max
        self._bytes_max = bytes_max
        self._on_put = on_put
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._state = threading.Lock()
        self._filled = threading.Condition(self._state)
        self._drained = threading.Condition(self._state)

    def put(self, item: T, size: int = 0, *, wait: bool = False) -> bool:
        """False when it is full (or closed): then the item is not in it. `size` in bytes; one item always fits."""
        with self._state:
            while not self._closed and self._full():
                if not wait:
                    return False
                self._drained.wait()
            if self._closed:
                return False
            self._items.append((item, size))
            self._bytes += size
            self._filled.notify()
        if self._on_put:
            self._on_put()
        return True

    def put_anyhow(self, item: T) -> None:
        """Past every limit: for the few things that must not be lost and whose number something else bounds."""
        with self._state:
            self._items.append((item, 0))
            self._filled.notify()
        if self._on_put:
            self._on_put()

    def take(self, until: float | None, count_max: int = 1 << 30) -> list[T]:
        """All there is, at most `count_max`; waits for the first until this monotonic time (None: for ever, or closed)."""
        with self._state:
            while not self._items and not self._closed:
                remaining = None if until is None else until - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return []
                self._filled.wait(None if remaining is None else min(remaining, threading.TIMEOUT_MAX))
            taken = [self._items.popleft() for _ in range(min(count_max, len(self._items)))]
            self._bytes -= sum(size for _, size in taken)
            self._drained.notify_all()
        return [item for item, _ in taken]

    def close(self) -> None:
        """Nothing more goes in; who waits is woken. What is in it can still be taken."""
        with self._state:
            self._closed = True
            self._filled.notify_all()
            self._drained.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed

    def __len__(self) -> int:
        return len(self._items)

    def _full(self) -> bool:
        return len(self._items) >= self.items_max or (self._bytes >= self._bytes_max and len(self._items) > 0)
