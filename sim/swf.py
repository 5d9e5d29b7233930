"""Traces in Standard Workload Format (https://www.cs.huji.ac.il/labs/parallel/workload/swf.html): a file in, jobs out.

One line is one job of 18 numbers; lines that begin with `;` are comments. A job of n processors becomes n jobs of one
processor, because the simulator's jobs are serial. Knows no farm.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

FIELDS = 18
SUBMIT, RUN, PROCESSORS, USER, GROUP, EXECUTABLE, QUEUE, PARTITION = 1, 3, 4, 11, 12, 13, 14, 15
KEYS = {"user": USER, "group": GROUP, "executable": EXECUTABLE, "queue": QUEUE, "partition": PARTITION}
JOBS_MAX = 5_000_000
ENVIRONMENTS_MAX = 16
OTHERS = "others"


class TraceFault(Exception):
    """The trace cannot be used: one sentence with file and line."""


class Job(NamedTuple):
    submit_s: float  # since the first job of the trace
    run_s: float
    environment: int  # its number in Trace.environments
    user: int


class Split(NamedTuple):
    """Which column tells the environment: each of `values` is one, the others are another; without any each is one."""

    key: str
    values: tuple[int, ...]


class Trace(NamedTuple):
    name: str
    environments: tuple[str, ...]
    jobs: list[Job]  # by submit time
    skipped: int  # lines of jobs that never ran


def parse_split(text: str) -> Split:
    """`group:2` or `queue:1,4` or `queue`. Raises TraceFault."""
    key, _, values = text.partition(":")
    if key not in KEYS:
        raise TraceFault(f"--split {text}: {key} is none of {', '.join(KEYS)}")
    try:
        return Split(key, tuple(int(value) for value in values.split(",")) if values else ())
    except ValueError:
        raise TraceFault(f"--split {text}: {values} is not a list of numbers") from None


def read(path: Path, split: Split) -> Trace:
    """Raises TraceFault."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error) as fault:
        raise TraceFault(f"{path}: {getattr(fault, 'strerror', None) or fault}") from None
    return parse(path.name, text.splitlines(), split)


def parse(name: str, lines: Iterable[str], split: Split) -> Trace:
    """Raises TraceFault with the line's number."""
    column, skipped = KEYS[split.key], 0
    rows: list[tuple[float, float, int, int]] = []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith(";"):
            continue
        if len(words) != FIELDS:
            raise TraceFault(f"{name}:{number}: {len(words)} fields, a job of a SWF trace has {FIELDS}")
        try:
            submit_s, run_s = float(words[SUBMIT]), float(words[RUN])
            processors, user, value = int(words[PROCESSORS]), int(words[USER]), int(words[column])
        except ValueError as fault:
            raise TraceFault(f"{name}:{number}: {fault}") from None
        if not 0 <= submit_s < float("inf") or not run_s < float("inf"):
            raise TraceFault(f"{name}:{number}: submit time {words[SUBMIT]} and run time {words[RUN]} are impossible")
        if run_s < 0 or processors <= 0:
            skipped += 1  # cancelled before it ran
            continue
        if len(rows) + processors > JOBS_MAX:
            raise TraceFault(f"{name}:{number}: more than {JOBS_MAX} jobs")
        rows += [(submit_s, run_s, value, user)] * processors
    return _trace(name, rows, split, skipped)


def _trace(name: str, rows: list[tuple[float, float, int, int]], split: Split, skipped: int) -> Trace:
    if not rows:
        raise TraceFault(f"{name}: no job that ran")
    seen = sorted({row[2] for row in rows})
    missing = [value for value in split.values if value not in seen]
    if missing:
        raise TraceFault(f"{name}: no job of {split.key} {missing[0]}; there are {', '.join(map(str, seen[:20]))}")
    values = split.values or tuple(seen)
    names = [f"{split.key}{value}" for value in values]
    if set(seen) - set(values):
        names.append(OTHERS)
    if not 2 <= len(names) <= ENVIRONMENTS_MAX:
        raise TraceFault(f"{name}: {len(names)} environments by {split.key}, 2 to {ENVIRONMENTS_MAX} are possible")
    number = {value: index for index, value in enumerate(values)}
    rows.sort(key=lambda row: row[0])
    first_s = rows[0][0]
    jobs = [Job(submit_s - first_s, run_s, number.get(value, len(values)), user) for submit_s, run_s, value, user in rows]
    return Trace(name, tuple(names), jobs, skipped)
