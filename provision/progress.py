"""How far long work has come, told to whoever listens; there may be nobody. Knows no terminal.

for package in progress.each("unpacking", packages): ...
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

# what is done, how much of it, and of how much (0: nobody knows); where both are the same it is over
Listener = Callable[[str, int, int], None]
LOOK_S = 0.2
OVER = 1
_Item = TypeVar("_Item")


def _nobody(what: str, done: int, total: int) -> None:
    pass


_listener: ContextVar[Listener] = ContextVar("listener", default=_nobody)


@contextlib.contextmanager
def told(listener: Listener) -> Iterator[None]:
    """All that is done within is told to the listener."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


def each(what: str, items: Collection[_Item]) -> Iterator[_Item]:
    """The items, one after the other."""
    return counted(what, items, len(items))


def counted(what: str, items: Iterable[_Item], total: int) -> Iterator[_Item]:
    """The items of which somebody else knows how many they are."""
    tell = _listener.get()
    try:
        for number, one in enumerate(items):
            tell(what, number, total)
            yield one
    finally:
        tell(what, total or OVER, total or OVER)


@contextlib.contextmanager
def watched(what: str, total: int = 0, done: Callable[[], int] = lambda: 0) -> Iterator[None]:
    """While another program is at work within, `done` says how much it has. In a thread of its own."""
    tell, over = _listener.get(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            tell(what, done(), total)

    looking = threading.Thread(target=look, name="progress", daemon=True)
    tell(what, 0, total)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
        tell(what, total or OVER, total or OVER)
