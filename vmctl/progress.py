"""While VMs start, stop and move: a few live lines on a terminal, a plain line for each change elsewhere. Knows no socket."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vmctl.board import ENDED, Board, Row, Shown, where_text
from vmctl.screen import GAP, Column, Screen, fitted
from vmctl.watch import terminated
from vmctl.wording import clean, share_text, span_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

LINES_MAX = 10  # running operations shown at once; of the others only the number
ROWS_SPARE = 4  # of the terminal's height: our first and last line, the prompt, and one that stays
BAR_CELLS = 16
ECHO_CELLS = 3  # what the terminal itself writes behind us at Ctrl-C, `^C`, must not begin a new line
REFRESHES_PER_S = 4
LINE_COLUMNS = (
    Column("", flexible=True, least=24),
    Column("", keep=5),
    Column("", keep=3),
    Column("", keep=7, right=True),
    Column("", keep=6, right=True),
    Column("", keep=8, flexible=True),
)


class Progress:
    """`start` shows the lines, `stop` takes them away without a trace. `deed`: what is done, as `migrate`."""

    def __init__(self, screen: Screen, deed: str) -> None:
        self.board = Board()
        self._screen = screen
        self._deed = deed
        self._began = time.monotonic()
        self._shown = Shown()  # handed to the thread that draws
        self._live: Live | None = None
        self._on_terminal = sys.stderr.isatty() and screen.err.is_terminal

    def take(self, piece: Row) -> None:
        """One `more` of the manager: who is meant, what is planned, or what became of one VM."""
        if isinstance(piece.get("vms"), list):
            self.board.expect([str(vm) for vm in piece["vms"]])
        if isinstance(piece.get("plan"), list):
            self.board.expect([str(step.get("vm")) for step in piece["plan"] if isinstance(step, dict)])
        if "vm" in piece and self.board.take(piece, time.monotonic()):
            self._tell(piece)
        self._shown = self.board.shown()

    def _tell(self, piece: Row) -> None:
        if self._on_terminal or self._screen.as_json:
            return
        state, where = piece.get("state"), where_text(piece)
        on = f" ({where})" if where else ""
        if state == "running":
            self._screen.note(f"{piece.get('vm')}: {self._deed}{on}")
        elif state in ENDED:
            self._screen.note(f"{piece.get('vm')}: {self._deed} {state}{on} after {span_text(piece.get('elapsed'))}")

    def start(self) -> None:
        if self._live is not None or not self._on_terminal:
            return
        from rich.live import Live

        signal.signal(signal.SIGTERM, terminated)  # the cursor is hidden now and must come back
        self._live = Live(
            get_renderable=self._draw, console=self._screen.err, transient=True, refresh_per_second=REFRESHES_PER_S
        )
        self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> Group:
        console = self._screen.err
        lines_max = max(1, min(LINES_MAX, console.height - ROWS_SPARE))
        return lines(self._shown, self._deed, self._began, time.monotonic(), console.width, lines_max)


def lines(shown: Shown, deed: str, began: float, now: float, width: int, lines_max: int) -> Group:
    """What the terminal shows: how many are where, and those that are at it, the longest first."""
    from rich.console import Group
    from rich.text import Text

    room = max(1, width - ECHO_CELLS)
    head = Text(f"{deed}: {counts_text(shown)}  {span_text(now - began)}")
    head.truncate(room, overflow="ellipsis")
    eldest = sorted(shown.running, key=lambda line: (line.began, line.vm))
    more = len(eldest) - lines_max
    tail = [Text(f"and {more} more", style="dim")] if more > 0 else []
    cells = [
        (
            clean(line.vm),
            clean(line.where),
            " " * BAR_CELLS,
            share_text(line.share),
            span_text(now - line.began),
            clean(line.text),
        )
        for line in eldest[:lines_max]
    ]
    if not cells:
        return Group(head)
    natural = [max(Text(row[place]).cell_len for row in cells) for place in range(len(LINE_COLUMNS))]
    widths = fitted(LINE_COLUMNS, natural, room)
    return Group(head, _grid(cells, widths, [line.share for line in eldest]), *tail)


def _grid(cells: Sequence[tuple[str, ...]], widths: list[int], shares: list[float | None]) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    places = [place for place, width in enumerate(widths) if width]
    grid = Table.grid(padding=(0, GAP, 0, 0))
    for place in places:
        right = LINE_COLUMNS[place].right
        grid.add_column(width=widths[place], no_wrap=True, overflow="ellipsis", justify="right" if right else "left")
    for row, share in zip(cells, shares, strict=False):
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=BAR_CELLS, pulse=share is None)
        grid.add_row(*(bar if place == 2 else Text(row[place]) for place in places))
    return grid


def counts_text(shown: Shown) -> str:
    """`3 of 40 done, 1 failed, 8 at work, 28 waiting`."""
    parts = [f"{shown.done} of {shown.total} done" if shown.total else "asked"]
    for number, word in ((shown.failed, "failed"), (len(shown.running), "at work"), (shown.queued, "waiting")):
        if number > 0:
            parts.append(f"{number} {word}")
    return ", ".join(parts)
