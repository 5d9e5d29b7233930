"""A repository, and a place for a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.images import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.create(tmp_path / "share")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
