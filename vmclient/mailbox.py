"""A bounded queue into a thread that waits on files: putting makes `fileno` readable. Knows nothing of what it carries."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Any thread puts, one thread takes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._changed = threading.Lock()
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._read

    def put(self, item: T, *, beyond: bool = False) -> bool:
        """False: full, the item was not taken. `beyond`: take it even so (there are few of these)."""
        with self._changed:
            if len(self._items) >= self._limit and not beyond:
                return False
            self._items.append(item)
            if len(self._items) == 1:
                os.write(self._write, b"!")
            return True

    def take(self) -> list[T]:
        """All there is now, without waiting."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            if items:
                os.read(self._read, 16)
            return items

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)
