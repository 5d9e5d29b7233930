"""One call of a program of a batch system: a limit on its time, one sentence for whatever goes wrong. Knows no batch system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from common.batch import BatchError
from common.program import FLOOD_BYTES, Finished, NotStarted, run_program

FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/pbs/bin", "/opt/slurm/bin")
"""Not $PATH, which whoever starts a daemon by hand may have set."""
SAID_CHARS_MAX = 300
TEXT = {"LC_ALL": "C.UTF-8", "LANG": "C.UTF-8"}
_T = TypeVar("_T")


class Deadline:
    """The time that several calls have together."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._until = time.monotonic() + limit_s

    @property
    def left_s(self) -> float:
        return self._until - time.monotonic()


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs of a batch system are and how they are run. `host`: for the sentences."""

    host: str
    folder: Path | None = None
    run_with: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    def run(self, name: str, *arguments: str, until: Deadline) -> Finished:
        """The call as it ended by itself. Raises BatchError where it did not."""
        if until.left_s <= 0:
            raise self.fault(name, f"not begun, {until.limit_s:.3g} s were over")
        pairs = dict(pair.split("=", 1) for pair in self.environment)
        try:
            done = run_program(
                [*self.run_with, self._path(name), *arguments],
                timeout_s=until.left_s,
                output_bytes_max=FLOOD_BYTES,
                environment={**os.environ, **TEXT, **pairs},
            )
        except NotStarted as fault:
            raise self.fault(name, f"cannot be run: {fault}") from None
        if done.status is None:
            raise self.fault(name, done.why)
        if done.status < 0:
            raise self.fault(name, f"ended by signal {-done.status}")
        return done

    def said(self, name: str, *arguments: str, until: Deadline) -> str:
        """What it prints. Raises BatchError where it failed."""
        done = self.run(name, *arguments, until=until)
        if done.status != 0:
            raise self.failed(name, done)
        return done.output

    def read(self, parse: Callable[[str], _T], name: str, *arguments: str, until: Deadline) -> _T:
        """What it prints, understood. `parse` raises ValueError where it is not."""
        text = self.said(name, *arguments, until=until)
        try:
            return parse(text)
        except ValueError as fault:
            raise self.fault(name, f"its answer is not understood: {fault}") from None

    def failed(self, name: str, done: Finished) -> BatchError:
        return self.fault(name, f"exit status {done.status}: {reason(done)}")

    def fault(self, name: str, why: str) -> BatchError:
        return BatchError(f"{name} on {self.host}: {why}")

    def _path(self, name: str) -> str:
        if self.folder:
            return str(self.folder / name)
        found = (os.path.join(folder, name) for folder in FOLDERS)
        return next((path for path in found if os.access(path, os.X_OK)), name)


def reason(done: Finished) -> str:
    """The first line of what it complains of, else the first it printed."""
    lines = [line.strip() for text in (done.errors, done.output) for line in text.splitlines() if line.strip()]
    return lines[0][:SAID_CHARS_MAX] if lines else "no reason given"
