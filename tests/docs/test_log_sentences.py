"""docs/operations.md explains every sentence of the log, and none that nobody says."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.docs.pages import Row, log_rows
from tests.docs.sentences import UNKNOWN, Sentence, holes, of_file, sentences, squeezed

REST = "\0"  # `<...>`: whatever else is said


def shown(row: Row) -> re.Pattern[str]:
    text = squeezed(holes(row.sentence.replace(" <...>", REST)))
    return re.compile(re.escape(text).replace(REST, ".+"))


def explained(sentence: Sentence, rows: list[Row]) -> list[Row]:
    return [row for row in rows if shown(row).fullmatch(squeezed(sentence.pattern))]


def told() -> list[Sentence]:
    return [sentence for sentence in sentences() if sentence.levels != {"debug"}]


def missing(said: list[Sentence], rows: list[Row]) -> list[str]:
    return [f"{one.where}: `{one.pattern}` ({', '.join(sorted(one.levels))})" for one in said if not explained(one, rows)]


def test_each_sentence_of_the_log_is_explained() -> None:
    lacking = missing(told(), log_rows())
    assert not lacking, "docs/operations.md, `What the log says`, has no row for\n  " + "\n  ".join(lacking)


def test_no_sentence_is_explained_that_nobody_says() -> None:
    said = told()
    stale = [f"line {row.line}: {row.sentence}" for row in log_rows() if not any(explained(one, [row]) for one in said)]
    assert not stale, "docs/operations.md explains what no code says (any more):\n  " + "\n  ".join(stale)


def test_levels_are_those_of_the_code() -> None:
    said = told()
    for row in log_rows():
        levels = frozenset[str]().union(*(one.levels for one in said if explained(one, [row]))) - {"debug"}
        where = f"docs/operations.md:{row.line}: {row.sentence}"
        assert UNKNOWN in levels or row.levels <= levels, f"{where}: the code says it as {sorted(levels)}"


def test_a_sentence_is_explained_once_and_a_complaint_says_what_to_make_of_it() -> None:
    rows = log_rows()
    assert len(rows) > 100
    counts = Counter(holes(row.sentence) for row in rows if re.search("[a-z]{3}", holes(row.sentence)))
    assert not [sentence for sentence, count in counts.items() if count > 1]
    assert not [row.sentence for row in rows if row.levels != {"info"} and not row.meaning]


@pytest.mark.parametrize(
    ("call", "pattern", "level"),
    [
        ('_log.warning("disk %s is full: %d bytes", path, n)', "disk <> is full: <> bytes", "warning"),
        ('self._c.note(f"client {name}: bad", "error", "clients")', "client <>: bad", "error"),
        ('effects.append(Note("all is lost", "error"))', "all is lost", "error"),
        ('text = f"{a} -> {b}"\n    _log.log(logging.ERROR, text)', "<> -> <>", "error"),
    ],
)
def test_a_new_complaint_without_a_row_is_found(
    call: str, pattern: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.docs.sentences.ROOT", tmp_path)
    path = tmp_path / "new.py"
    path.write_text(f"def new() -> None:\n    {call}\n")
    (found,) = of_file(path)
    assert found.pattern == pattern
    assert found.levels == {level}
    assert missing([found], log_rows()) == [f"new.py:{found.where.split(':')[1]}: `{pattern}` ({level})"]


def test_a_complaint_that_cannot_be_read_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.sentences.ROOT", tmp_path)
    path = tmp_path / "new.py"
    path.write_text("def new(fault) -> None:\n    _log.warning(str(fault))\n")
    with pytest.raises(LookupError, match=r"new\.py:2: what `str\(fault\)` says cannot be read from here"):
        list(of_file(path))
