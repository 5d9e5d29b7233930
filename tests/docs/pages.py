"""What the user's pages show: tables, command lines, snippets, links. Knows markdown as far as these pages use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.docs.sentences import ROOT

PAGES = sorted(path for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/design/*.md")])


@dataclass(frozen=True, slots=True)
class Row:
    """A sentence of the log as docs/operations.md explains it."""

    sentence: str
    levels: frozenset[str]
    meaning: str
    line: int


def log_rows() -> list[Row]:
    """The table between the marks `log` and `end`."""
    rows, inside = [], False
    for number, line in enumerate((ROOT / "docs/operations.md").read_text(encoding="utf-8").splitlines(), 1):
        inside = line == "<!-- log -->" or (inside and line != "<!-- end -->")
        found = re.fullmatch(r"\| `(.+?)` \| ([a-z ]+) \| (.*)\|", line) if inside else None
        if found:
            rows.append(Row(found[1], frozenset(found[2].split(" or ")), found[3].strip(), number))
    return rows


def blocks(page: str) -> Iterator[tuple[int, list[str]]]:
    """(first line, lines) of the indented blocks of a page, their indentation taken away."""
    block: list[str] = []
    began = 0
    for number, line in enumerate([*(ROOT / page).read_text(encoding="utf-8").splitlines(), "end"], 1):
        if line.startswith("    ") or (block and not line.strip()):
            began = began if block else number
            block.append(line)
        elif block:
            margin = min(len(each) - len(each.lstrip()) for each in block if each.strip())
            yield began, [each[margin:] for each in block]
            block = []


def code(page: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the lines of indented blocks, and of what stands between backticks."""
    for began, lines in blocks(page):
        yield from enumerate(lines, began)
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("    "):
            yield from ((number, found) for found in re.findall(r"`([^`]+)`", line))
