"""Each scenario file tells the story that stands in it. `pytest tests/environments --rewrite` writes it anew; read the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments.story import Story
from tests.manager.scenario import check

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    story = Story(tmp_path)
    check(path, story.run, rewrite=request.config.getoption("--rewrite"))
    assert not story.world.killed, "an order has ended a job"
