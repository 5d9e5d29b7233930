"""The time limit of expressions: an asynchronous exception into the evaluating thread. An edge: threads and clocks live here.

One sleeping thread watches one evaluating thread. An exception that Python was asked to raise comes some bytecodes later,
perhaps when the evaluation is over already; so ending a run takes the lock under which the watcher strikes, and then takes a
pending exception back. It cannot stop code that runs in C for long; expression.py keeps such out of expressions.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from vmmanager.triggers.unknown import OverBudget

POLL_S = 0.05  # how exactly a budget is kept
IDLE_S = 1.0  # without evaluations for so long, the watcher sleeps until it is called


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception) if exception else None)


class TimeLimit:
    """rule.Guard for one thread, the one that calls it; calls do not nest. `close` ends the watcher."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._called = threading.Event()
        self._closed = False
        self._thread = 0
        self._deadline = 0.0  # 0: nothing runs
        self._struck = False
        self._watcher: threading.Thread | None = None

    def __call__(self, budget_s: float, function: Callable[..., Any], *arguments: Any) -> Any:
        """Raises OverBudget."""
        self._thread = threading.get_ident()
        if not self._called.is_set():
            self._wake()
        try:
            try:
                self._struck = False
                self._deadline = monotonic() + budget_s
                return function(*arguments)
            finally:
                self._end()
        except OverBudget:
            self._end()  # it may have come in the middle of the first call
            raise

    def close(self) -> None:
        self._closed = True
        self._called.set()
        if self._watcher is not None:
            self._watcher.join()

    def _end(self) -> None:
        """After this no exception comes any more."""
        with self._lock:
            self._deadline = 0.0
            if self._struck:
                _raise_in(self._thread, None)

    def _wake(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="TriggerBudget", daemon=True)
            self._watcher.start()
        self._called.set()

    def _watch(self) -> None:
        last = monotonic()
        while not self._closed:
            with self._lock:
                now = monotonic()
                if self._deadline:
                    last = now
                if self._deadline and now > self._deadline:
                    self._deadline = 0.0
                    self._struck = True
                    _raise_in(self._thread, OverBudget)
            if now - last > IDLE_S:
                self._called.clear()
                self._called.wait(IDLE_S)  # not longer: a run may have begun between the look and the clear
            sleep(POLL_S)
