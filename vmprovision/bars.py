"""Bars of long work on a terminal, taken away when it is done; elsewhere nothing. Knows not what the work is."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from provision import progress


class Bars:
    """A bar for each thing that is being done. Use as a context manager."""

    def __init__(self) -> None:
        self._shown = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
            redirect_stdout=sys.stdout.isatty(),  # what goes into a file or a pipe stays there
        )
        self._tasks: dict[str, TaskID] = {}
        self._told = progress.told(self._tell)

    def __enter__(self) -> Bars:
        self._told.__enter__()
        self._shown.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._shown.stop()
        self._told.__exit__(kind, fault, trace)

    def _tell(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._shown.add_task(what)
        if total and done >= total:
            self._shown.remove_task(self._tasks.pop(what))
        else:
            self._shown.update(self._tasks[what], completed=done, total=total or None)
