"""docs/triggers.md says what is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.triggers import run
from common.config.keys import TRIGGER
from tests.triggers.story import COOKBOOK
from vmmanager.triggers.diagram import PAGE, drawn
from vmmanager.triggers.expression import BUILTINS
from vmmanager.triggers.rule import NAMES
from vmmanager.triggers.states import TRANSITIONS, Seen, State

TEXT = PAGE.read_text()


def test_the_diagram_is_drawn_from_the_table_that_runs() -> None:
    assert drawn(TEXT) == TEXT, "run python -m vmmanager.triggers.diagram"


def test_every_state_has_a_row_and_every_word_is_answered() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(set(row) >= set(Seen) - {Seen.FLAPPING} for row in TRANSITIONS.values())


@pytest.mark.parametrize("name", [key.name for key in TRIGGER.keys] + [part.name for part in TRIGGER.parts])
def test_every_key_is_explained(name: str) -> None:
    assert f"| `{name}` |" in TEXT


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_function_is_explained(name: str) -> None:
    assert f"`{name}`" in TEXT or f"{name}(" in TEXT


def test_every_builtin_and_every_rule_is_named() -> None:
    words = set(TEXT.replace("`", " ").split())
    assert set(BUILTINS) - {"None", "True", "False"} <= words
    assert not [path.name for path in COOKBOOK.glob("*.ini") if f"`{path.name}`" not in TEXT]


def test_the_bench_measures_what_it_says(tmp_path: Path) -> None:
    said: list[str] = []
    results = run(20, 0.01, said.append)
    assert len(results) == len(said) - 1 == 5
    assert all(measured.evaluations > 0 and measured.elapsed_s > 0 for measured in results)
