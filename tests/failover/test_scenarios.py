"""Every scenario file tells the story that stands in it. `pytest tests/failover --rewrite` writes it anew; read the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.failover.story import Story
from tests.manager.scenario import check

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*/*.txt"))
TWICE = ("confirm_dead_of_a_cut_off_host",)  # what an operator costs who says against the truth that a host is dead


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    story = Story()
    check(path, story.run, rewrite=request.config.getoption("--rewrite"))
    assert path.read_text().startswith("# "), "its first line says why"
    assert story.world is not None
    assert bool(story.world.faults) == (path.stem in TWICE)
