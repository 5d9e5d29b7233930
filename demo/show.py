"""How the demonstration tells its story: sentences with times, and a table that lives on a terminal. Knows no process."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.files import HOSTS

STYLES = {"connected": "green", "silent": "yellow", "lost": "bold red"}
PLAIN_COLUMNS = 100


class Show:
    """Standard output. `live` is whether a table can be redrawn in its place."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.console = Console(width=None if self.live else PLAIN_COLUMNS, highlight=False, markup=False, emoji=False)
        self._started = time.monotonic()
        self._table: Live | None = None

    def say(self, text: str, style: str = "") -> None:
        """A sentence with its time since the start."""
        self.console.print(
            Text.assemble((f"{time.monotonic() - self._started:6.1f} s  ", "dim"), (text, style)), soft_wrap=True
        )

    def plain(self, text: str = "", style: str = "") -> None:
        self.console.print(Text(text, style), soft_wrap=True)

    def head(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, "bold"))

    def table(self, clients: list[dict[str, Any]], values: list[dict[str, Any]], rules: list[str]) -> None:
        """The farm now, and a line for each rule: in its place on a terminal, else below."""
        made = Group(farm_table(clients, values), *(Text(line, "dim") for line in rules))
        if not self.live:
            self.console.print(made)
        elif self._table is None:
            self._table = Live(made, console=self.console, auto_refresh=False)
            self._table.start(refresh=True)
        else:
            self._table.update(made, refresh=True)

    def settle(self) -> None:
        """Leave the table as it stands; the story goes on below it."""
        if self._table is not None:
            self._table.stop()
            self._table = None


def farm_table(clients: list[dict[str, Any]], values: list[dict[str, Any]]) -> Table:
    """Each client with its values."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("CLIENT", "GROUP", "STATE"):
        table.add_column(title)
    for title in ("LAST HEARD", "RAM FREE", "LOAD"):
        table.add_column(title, justify="right", min_width=10)
    known = {(row["client"], row["name"]): row for row in values}
    rows = {row["name"]: row for row in clients}
    for host in HOSTS:
        row = rows.get(host.name, {})
        state = str(row.get("state", "not seen yet"))
        table.add_row(
            host.name,
            ", ".join(host.groups),
            Text(state, STYLES.get(state, "dim")),
            f"{row['age']:.1f} s ago" if isinstance(row.get("age"), (int, float)) else "-",
            _value(known.get((host.name, "ram_free"))),
            _value(known.get((host.name, "load"))),
        )
    return table


def _value(row: dict[str, Any] | None) -> Text:
    if row is None:
        return Text("-", "dim")
    if row.get("value") is None:
        return Text("unknown", "yellow")
    value = f"{row['value'] / 1048576:.2f} GiB" if row.get("unit") == "KiB" else f"{row['value']:.2f}"
    return Text(value, "yellow" if row.get("stale") else "")
