"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write what is said now into the scenario files; read the diff")


# A busy machine must not fail a test: no time limit for single examples.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")
