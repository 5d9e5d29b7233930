"""Writes the small trace that ships with vmherd: `python -m sim.synthetic`. Made up, not recorded; always the same.

Two weeks of two groups on a farm of some 20 places: group 1 sends long jobs by day, group 2 bursts of short ones at any hour.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

PATH = Path(__file__).parent / "traces" / "two_weeks.swf.gz"
SEED = 2009
DAYS = 14
DAY_S = 86_400
LONG_A_DAY, LONG_S, LONG_MAX_S = 95, 8_000.0, 86_400
BURSTS_A_DAY, BURST_JOBS_MAX, SHORT_S, SHORT_MAX_S = 2.0, 220, 900.0, 7_200
HEAD = """\
; Version: 2.2
; Computer: none; made by python -m sim.synthetic
; Note: group 1 sends long jobs by day, group 2 bursts of short ones at any hour
; MaxProcs: 20
"""


def text() -> str:
    chance = Random(SEED)
    jobs = sorted(_long(chance) + _bursts(chance))
    return HEAD + "".join(_line(number, *job) for number, job in enumerate(jobs, 1))


def _long(chance: Random) -> list[tuple[int, int, int, int]]:
    """(submit, run, user, group) of the jobs that people send in working hours, fewer at weekends."""
    jobs = []
    for day in range(DAYS):
        for _ in range(LONG_A_DAY if day % 7 < 5 else LONG_A_DAY // 3):
            submit = day * DAY_S + int(chance.triangular(7 * 3600, 22 * 3600, 14 * 3600))
            jobs.append((submit, min(LONG_MAX_S, 60 + int(chance.expovariate(1 / LONG_S))), 1 + chance.randrange(6), 1))
    return jobs


def _bursts(chance: Random) -> list[tuple[int, int, int, int]]:
    jobs, at = [], 0.0
    while (at := at + chance.expovariate(BURSTS_A_DAY / DAY_S)) < DAYS * DAY_S:
        user = 11 + chance.randrange(4)
        for number in range(chance.randrange(20, BURST_JOBS_MAX)):
            jobs.append((int(at) + 2 * number, min(SHORT_MAX_S, 20 + int(chance.expovariate(1 / SHORT_S))), user, 2))
    return jobs


def _line(number: int, submit: int, run: int, user: int, group: int) -> str:
    return f"{number} {submit} -1 {run} 1 -1 -1 1 -1 -1 1 {user} {group} -1 1 1 -1 -1\n"


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_bytes(gzip.compress(text().encode(), mtime=0))
