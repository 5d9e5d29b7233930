"""Every scenario file tells the story that stands in it. `pytest tests/manager --rewrite` writes it anew; read the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.manager.scenario import check
from tests.manager.story import Story

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    check(path, Story().run, rewrite=request.config.getoption("--rewrite"))
