"""Scenario files as tests: sim/scenario.py plays them, here what is said is compared, or written anew."""

from __future__ import annotations

from pathlib import Path

from sim.scenario import Run, tell


def check(path: Path, run: Run, *, rewrite: bool) -> None:
    """One test: the file says what is said now, or is rewritten."""
    text = path.read_text()
    told = tell(text, run)
    if rewrite:
        path.write_text(told)
    else:
        assert told == text
