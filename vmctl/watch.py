"""The progress bar while many targets answer: who is still awaited. Only on a terminal. Knows no socket."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from vmctl.screen import Screen
from vmctl.wording import clean, names_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BAR_CELLS = 20
CLOCK_CELLS = 7  # 0:00:00
GAPS_CELLS = 5  # between the five columns, and one to spare
NAMES_CELLS_MIN = 20  # with less room than this only the numbers


class Watch:
    """Appears when `start` is called, and leaves no trace after `stop`."""

    def __init__(self, screen: Screen, label: str) -> None:
        self._screen = screen
        self._label = label
        self._awaited: dict[str, None] = {}
        self._asked = 0
        self._answered = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def expect(self, names: list[str]) -> None:
        """Who was asked."""
        self._awaited = dict.fromkeys(names)
        self._asked = len(self._awaited)
        self._draw()

    def answered(self, name: str) -> None:
        self._awaited.pop(name, None)
        self._answered += 1
        self._draw()

    def start(self) -> None:
        """Show it; where standard error is no terminal, do nothing."""
        if self._progress is not None or not sys.stderr.isatty() or not self._screen.err.is_terminal:
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        signal.signal(signal.SIGTERM, terminated)  # the cursor is hidden now and must come back
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_CELLS),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[awaited]}", markup=False),
            console=self._screen.err,
            transient=True,
        )
        self._task = self._progress.add_task(self._label, total=None, count="", awaited="")
        self._progress.start()
        self._draw()

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _draw(self) -> None:
        if self._progress is None or self._task is None:
            return
        count = f"{self._answered}/{self._asked}" if self._asked else f"{self._answered} answered"
        room = self._screen.err.width - len(self._label) - BAR_CELLS - len(count) - CLOCK_CELLS - GAPS_CELLS
        self._progress.update(
            self._task,
            total=self._asked or None,
            completed=self._answered,
            count=count,
            awaited=awaited_text(list(self._awaited), room),
        )


def awaited_text(names: list[str], room: int) -> str:
    """As many of the names as there is room for, and how many more."""
    if not names or room < NAMES_CELLS_MIN:
        return ""
    for shown in range(min(len(names), room // 2), 0, -1):
        text = clean(f"waiting for {names_text(names, shown)}")
        if len(text) <= room:
            return text
    return f"waiting for {len(names)}" if len(names) > 1 else ""


def terminated(signum: int, frame: FrameType | None) -> None:
    """What SIGTERM does while something is drawn: the end as an exception, so that the drawing is taken away first."""
    raise SystemExit(128 + signum)
