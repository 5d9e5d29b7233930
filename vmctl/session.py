"""One run of vmctl: the manager it asks, the screen it shows on, the time it started. Knows no command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vmctl.failure import Exit, Failure, unreachable, usage
from vmctl.link import Link
from vmctl.screen import Cell, Column, Screen

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """`now` is the wall clock, in seconds since the epoch, for words like "today" and for --since and --for."""

    link: Link
    screen: Screen
    now: float

    def rows(self, op: str, **args: Any) -> list[Row]:
        """An operation that answers with a list of objects."""
        result = self.link.ask(op, args)
        if not isinstance(result, list) or not all(isinstance(row, dict) for row in result):
            raise unreachable(
                f"the manager's answer to `{op}` has another form than this vmctl knows: are both of one version?"
            )
        return result

    def row(self, op: str, **args: Any) -> Row:
        """An operation that answers with one object."""
        result = self.link.ask(op, args)
        if not isinstance(result, dict):
            raise unreachable(
                f"the manager's answer to `{op}` has another form than this vmctl knows: are both of one version?"
            )
        return result

    def listing(self, rows: list[Row], columns: Sequence[Column], cells: Callable[[Row], list[Cell]], nothing: str) -> Exit:
        """The list as one document or as a table; `nothing` is what to say when it is empty."""
        if self.screen.as_json:
            self.screen.document(rows)
        elif rows:
            self.screen.table(columns, [cells(row) for row in rows])
        else:
            self.screen.note(nothing)
        return Exit.OK

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask on the terminal, unless --yes. Where there is nobody to ask, refuse: nothing is done on a guess."""
        if yes:
            return
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise usage("this needs a confirmation, and there is no terminal to ask on: say --yes")
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Failure("nothing was done", Exit.USAGE, code="usage")


def count_text(number: Any, one: str, many: str = "") -> str:
    """`1 client`, `3 clients`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
