"""Programs of this machine that builders call: with a limit, their failure as one sentence. Knows not what for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path


class NotToBeHad(Exception):
    """A program, a package, or a kernel feature is not to be had here: one sentence, for who wants to skip what needs it."""


def output(argv: Sequence[str], *, limit_s: float, cwd: Path | None = None, why: Callable[[str], str] | None = None) -> bytes:
    """What it prints. `why`: the sentence that matters, out of its errors; else their last line. Raises NotToBeHad."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=limit_s,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        reason = getattr(fault, "strerror", None) or f"no end within {limit_s:g} s"
        raise NotToBeHad(f"{argv[0]}: {reason}") from None
    if done.returncode != 0:
        errors = done.stderr.decode(errors="replace").strip()
        said = (why or _last)(errors) or f"exit status {done.returncode}"
        word = next((one for one in argv[1:] if not one.startswith("-")), "")
        raise NotToBeHad(f"{Path(argv[0]).name} {word}: {said}")
    return done.stdout


def _last(errors: str) -> str:
    return errors.splitlines()[-1] if errors else ""
