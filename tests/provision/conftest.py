"""One inventory for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.provision.tool import Tool


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


@pytest.fixture
def written(tool: Tool) -> Tool:
    """Built and written: there is something to lose."""
    tool.build()
    tool.run("write")
    return tool
