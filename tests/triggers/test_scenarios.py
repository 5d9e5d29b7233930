"""Every scenario file tells the story that stands in it. `pytest tests/triggers --rewrite` writes it anew; read the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.triggers.story import COOKBOOK, tell

SCENARIOS = sorted((Path(__file__).parent / "scenarios").rglob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    told = tell(text)
    if request.config.getoption("--rewrite"):
        path.write_text(told)
    else:
        assert told == text


def test_every_rule_of_the_cookbook_has_a_story() -> None:
    told = "\n".join(path.read_text() for path in SCENARIOS)
    missing = [path.name for path in sorted(COOKBOOK.glob("*.ini")) if f"rules {path.name}" not in told]
    assert not missing
    assert len(list(COOKBOOK.glob("*.ini"))) >= 15
