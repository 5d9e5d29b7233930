"""A farm in the test's own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.farm.farm import Farm, farm


@pytest.fixture(name="farm")
def _farm(tmp_path: Path) -> Iterator[Farm]:
    """With a bus, and nobody on it."""
    with farm(tmp_path) as made:
        yield made
