"""Draws the table of states.py into docs/triggers.md: `python -m vmmanager.triggers.diagram`. Knows nothing but the table."""

from __future__ import annotations

from pathlib import Path

from vmmanager.triggers.states import TRANSITIONS, Seen, State

PAGE = Path(__file__).resolve().parents[2] / "docs" / "triggers.md"
BEGIN, END = "<!-- states: made from vmmanager/triggers/states.py -->\n", "<!-- /states -->"


def mermaid() -> str:
    """The states and what moves between them, as a Mermaid diagram."""
    arrows: dict[tuple[State, State], list[Seen]] = {}
    for old, row in TRANSITIONS.items():
        for seen, new in row.items():
            if old is not new:
                arrows.setdefault((old, new), []).append(seen)
    lines = [f"    {old} --> {new}: {', '.join(seen)}" for (old, new), seen in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> ok", *lines, "```"]) + "\n"


def table() -> str:
    """The same as a table: one row a state, one column for what an evaluation says."""
    head = "| state | " + " | ".join(Seen) + " |"
    rows = [f"| **{old}** | " + " | ".join(row.get(seen, old) for seen in Seen) + " |" for old, row in
            TRANSITIONS.items()]  # fmt: skip
    return "\n".join([head, "| --- " * (len(Seen) + 1) + "|", *rows]) + "\n"


def drawn(page: str) -> str:
    """The page with the diagram of today. Raises ValueError when it has no place for it."""
    before, after = page.split(BEGIN)
    return before + BEGIN + mermaid() + "\n" + table() + END + after.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
