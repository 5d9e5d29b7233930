"""Where vmctl prints: tables, facts and messages through rich, or one JSON document. The only way to the terminal.

Every text is made harmless on its way out (wording.clean) and none is read as rich markup, so that no client of the farm
can forge what the operator sees. Knows no socket and no command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vmctl.wording import clean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FLEXIBLE_CELLS_MIN = 16  # a column that may be cut keeps at least so much
PLAIN_CELLS = 1_000_000  # not on a terminal: one line a row, for grep and awk
GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """One column. On narrow terminals those with the smallest `keep` give way first; `flexible` may be narrowed down to
    `least` cells: then its text takes up to `lines` lines and is cut with an ellipsis."""

    title: str
    keep: int = 9
    right: bool = False
    flexible: bool = False
    least: int = FLEXIBLE_CELLS_MIN
    lines: int = 1


@dataclass(frozen=True, slots=True)
class Styled:
    """A text and its rich style."""

    text: str
    style: str


Cell = str | Styled
STATE_STYLES = {
    "connected": "green", "answered": "green", "ok": "green", "accepted": "green", "true": "red",
    "late": "yellow", "silent": "yellow", "pending": "yellow", "unknown": "yellow", "flapping": "yellow", "stale": "yellow",
    "lost": "red", "unreachable": "red", "error": "red", "firing": "bold red", "rejected": "red", "changed": "bold red",
    "disabled": "dim", "silenced": "dim", "dry run": "dim",
    "running": "green", "done": "green", "online": "green", "returned": "yellow", "claimed": "red", "fencing": "red",
    "dead": "bold red",
    "starting": "cyan", "stopping": "cyan", "migrating": "cyan", "saving": "cyan", "restoring": "cyan", "incoming": "cyan",
    "leaving": "cyan", "waiting": "yellow", "halted": "yellow", "paused": "yellow", "maintenance": "yellow",
    "serving": "green", "active": "green", "draining": "cyan", "joining": "cyan", "broken": "bold red",
    "out": "dim",
    "twice": "bold red", "failed": "bold red", "crashed": "bold red",
    "stopped": "dim", "saved": "dim", "queued": "dim", "foreign": "dim",
}  # fmt: skip


def state(word: Any) -> Styled:
    """A state in its colour."""
    text = str(word) if word is not None else "-"
    return Styled(text, STATE_STYLES.get(text, ""))


class Screen:
    """Standard output for what was asked, standard error for the rest."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter shows its code

    @cached_property
    def out(self) -> Console:
        return _console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        return _console(sys.stderr)

    def document(self, result: Any) -> None:
        """The one document of --json, plain ASCII, so that even a terminal stays safe."""
        print(json.dumps(result, indent=2).replace("\x7f", "\\u007f"))

    def json_line(self, result: Any) -> None:
        print(json.dumps(result).replace("\x7f", "\\u007f"), flush=True)

    def line(self, *cells: Cell) -> None:
        """One line, the cells joined as they are."""
        self._print(self.out, cells)

    def note(self, *cells: Cell) -> None:
        """A line beside the result: to standard error."""
        self._print(self.err, cells)

    def facts(self, facts: Iterable[tuple[str, Sequence[Cell]]]) -> None:
        """Label and text, the labels in one column; long texts go on below themselves."""
        rows = list(facts)
        indent = max((len(label) for label, _ in rows), default=0) + GAP
        for label, cells in rows:
            lines = _text(cells).wrap(self.out, max(self.out.width - indent, FLEXIBLE_CELLS_MIN))
            for number, text in enumerate(lines or [_text([])]):
                text.rstrip()
                self._raw(_text([Styled("" if number else label, "bold")]), indent, text)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """A header and a line per row, fitted to the terminal; says which columns had no room."""
        texts = [[_text([cell]) for cell in row] for row in rows]
        natural = [max([len(column.title), *(row[place].cell_len for row in texts)]) for place, column in enumerate(columns)]
        widths = fitted(columns, natural, self.out.width)
        shown = [place for place, width in enumerate(widths) if width]
        self._row([_text([Styled(column.title, "bold")]) for column in columns], columns, widths, shown)
        for row in texts:
            self._row(row, columns, widths, shown)
        hidden = [column.title.lower() for column, width in zip(columns, widths, strict=True) if not width]
        if hidden:
            self.note(Styled(f"(no room here for: {', '.join(hidden)})", "dim"))

    def _row(self, texts: list[Text], columns: Sequence[Column], widths: list[int], shown: list[int]) -> None:
        from rich.text import Text

        stacks = {place: self._stack(texts[place], widths[place], columns[place].lines) for place in shown}
        for level in range(max(len(stack) for stack in stacks.values())):
            line = Text()
            for place in shown:
                text = stacks[place][level] if level < len(stacks[place]) else Text()
                fill = " " * (widths[place] - text.cell_len)
                line.append_text(Text.assemble(fill, text) if columns[place].right else Text.assemble(text, fill))
                line.append(" " * GAP)
            line.rstrip()
            self.out.print(line, soft_wrap=True)

    def _stack(self, text: Text, width: int, lines_max: int) -> list[Text]:
        """The lines of one cell."""
        if text.cell_len <= width:
            return [text]
        if lines_max > 1:
            lines = list(text.wrap(self.out, width))
            for line in lines:
                line.rstrip()
            if len(lines) <= lines_max:
                return lines
            rest = text[sum(len(line) + 1 for line in lines[: lines_max - 1]) :]
            lines = [*lines[: lines_max - 1], rest]
        else:
            lines = [text.copy()]
        lines[-1].truncate(width, overflow="ellipsis")
        return lines

    def _raw(self, label: Text, indent: int, text: Text) -> None:
        label.pad_right(indent - label.cell_len)
        self.out.print(label.append_text(text), soft_wrap=True)

    @staticmethod
    def _print(console: Console, cells: Sequence[Cell]) -> None:
        console.print(_text(cells), soft_wrap=True)


def fitted(columns: Sequence[Column], natural: Sequence[int], room: int) -> list[int]:
    """The width of each column, 0 for those that are left out: cut what may be cut first, then leave out what matters least."""
    widths = [min(width, room) if column.flexible else width for column, width in zip(columns, natural, strict=True)]
    while True:
        over = sum(widths) + GAP * (sum(1 for width in widths if width) - 1) - room
        if over <= 0:
            return widths
        spare = [
            (width - max(column.least, len(column.title)), place)
            for place, (column, width) in enumerate(zip(columns, widths, strict=True))
            if column.flexible and width
        ]
        room_left = sum(left for left, _ in spare if left > 0)
        least = min((column.keep, -place) for place, column in enumerate(columns) if widths[place])
        if room_left >= over or sum(1 for width in widths if width) == 1 or least[0] >= 9:
            return _cut(widths, spare, over)
        widths[-least[1]] = 0


def _cut(widths: list[int], spare: list[tuple[int, int]], over: int) -> list[int]:
    """Take `over` from the flexible columns, from the widest first."""
    widths = list(widths)
    left = {place: room for room, place in spare if room > 0}
    while over > 0 and left:
        place = max(left, key=lambda each: (widths[each], each))
        widths[place] -= 1
        over -= 1
        left[place] -= 1
        if not left[place]:
            del left[place]
    return widths


def _text(cells: Sequence[Cell]) -> Text:
    from rich.text import Text

    parts = [(clean(cell.text), cell.style) if isinstance(cell, Styled) else (clean(cell), "") for cell in cells]
    return Text.assemble(*parts)


def _console(stream: Any) -> Console:
    from rich.console import Console

    given = os.environ.get("COLUMNS", "")
    width = None if stream.isatty() else int(given) if given.isdigit() and int(given) else PLAIN_CELLS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, legacy_windows=False)
