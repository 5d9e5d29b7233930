"""Every scenario file tells the story that stands in it. `pytest tests/failover --rewrite` writes it anew; read the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.failover.story import Story
from tests.manager.scenario import check

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*/*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    story = Story()
    check(path, story.run, rewrite=request.config.getoption("--rewrite"))
    assert path.read_text().startswith("# "), "its first line says why"
    assert story.world is not None
    assert not story.world.faults
