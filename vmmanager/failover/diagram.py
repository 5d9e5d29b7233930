"""Draws the states of a host into docs/failover.md: `python -m vmmanager.failover.diagram`. Knows nothing but the table."""

from __future__ import annotations

from pathlib import Path

from vmmanager.failover.hosts import MOVES, STATES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "failover.md"
BEGIN, END = "<!-- states: made from vmmanager/failover/hosts.py -->\n", "<!-- /states -->"


def mermaid() -> str:
    """The moves as a Mermaid diagram; those to `unknown`, which a new leader makes of all, are left out."""
    arrows = [f"    {old} --> {new}: {why}" for old, row in MOVES.items() for new, why in row.items() if new != "unknown"]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> unknown", *arrows, "```"]) + "\n"


def table() -> str:
    rows = [f"| **{state}** | {text} |" for state, text in STATES.items()]
    return "\n".join(["| state | what is so |", "| --- | --- |", *rows]) + "\n"


def drawn(page: str) -> str:
    """The page with the diagram of today. Raises ValueError when it has no place for it."""
    before, after = page.split(BEGIN)
    return before + BEGIN + mermaid() + "\n" + table() + END + after.split(END, 1)[1]


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
