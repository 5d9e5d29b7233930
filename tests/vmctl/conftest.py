"""A scripted manager for every test, and the world as vmctl sees it: widths, time zone, no user's settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vmctl.farm import FARM, NOW, ScriptedManager
from vmctl.__main__ import run


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "VMHERD_SOCKET", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "Europe/Rome")
    time.tzset()
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def manager(tmp_path: Path, world: pytest.MonkeyPatch) -> Iterator[ScriptedManager]:
    served = ScriptedManager(tmp_path / "m.sock", dict(FARM))
    world.setenv("VMHERD_SOCKET", str(served.path))
    yield served
    served.close()


Vmctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vmctl(world: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Vmctl:
    """Run a command line in this process: exit code, standard output, standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        try:
            code = run(words, NOW + 100)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call
