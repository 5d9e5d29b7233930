"""`python -m plugins.sim_batch FARM submit sl4`: users of the simulated batch system, for learning and for tests.

FARM is the folder that `farm` of [batch] names. Jobs come in, are looked at, are cancelled; the next question fails. Needs no
daemon, and asks none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from common.batch import BatchError
from common.config.values import duration
from plugins.batch_sim import HOST, SimBatch
from plugins.batch_sim_queue import SimJob
from plugins.sim_world import Failure, SimWorld

COUNT_MAX = 100_000


def main(words: Sequence[str] | None = None) -> int:
    """0: done, 1: it cannot be, 2: wrong usage."""
    given = parser().parse_args(words)
    try:
        given.run(given)
    except BatchError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("python -m plugins.sim_batch", description="Users of the simulated batch system.")
    top.add_argument("farm", type=Path, metavar="FARM", help="the folder of the farm")
    below = top.add_subparsers(required=True, metavar="WHAT")
    submit = below.add_parser("submit", help="jobs for a queue; prints their numbers")
    submit.set_defaults(run=_submit)
    submit.add_argument("queue", metavar="QUEUE")
    submit.add_argument("--count", type=_count, default=1, metavar="N")
    submit.add_argument("--length", type=_duration, default=60.0, metavar="TIME", help="how long each runs (default: 60s)")
    submit.add_argument("--cores", type=_count, default=1, metavar="N")
    for name in ("user", "group", "feature"):
        submit.add_argument(f"--{name}", default="", metavar="NAME")
    submit.add_argument("--held", action="store_true", help="they wait until somebody cancels them")
    jobs = below.add_parser("jobs", help="all jobs")
    jobs.set_defaults(run=_jobs)
    jobs.add_argument("--json", action="store_true")
    cancel = below.add_parser("cancel", help="jobs that wait are taken out")
    cancel.set_defaults(run=_cancel)
    cancel.add_argument("queue", metavar="QUEUE")
    fail = below.add_parser("fail", help="the next questions of this kind fail")
    fail.set_defaults(run=_fail)
    fail.add_argument("operation", choices=("jobs", "nodes", "drain", "resume", "gone", "requeue", "*"))
    fail.add_argument("--how", choices=("error", "hang"), default="error")
    fail.add_argument("--why", default="it was told to fail", metavar="TEXT")
    fail.add_argument("--times", type=_count, default=1, metavar="N")
    return top


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= COUNT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {COUNT_MAX}")
    return int(text)


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def _sim(given: argparse.Namespace) -> SimBatch:
    """Starts no job: which machines serve which queue is in the client's file only."""
    if not given.farm.is_dir():
        raise BatchError(f"{given.farm}: there is no such folder")
    return SimBatch("this host", given.farm, ())


def _submit(given: argparse.Namespace) -> None:
    one = _sim(given)
    more = {name: getattr(given, name) for name in ("cores", "user", "group", "feature", "held")}
    with one.changed() as (state, _):
        made = [state.submit(given.queue, given.length, one.clock(), **more).id for _ in range(given.count)]
    sys.stdout.write("".join(f"{number}\n" for number in made))


def _jobs(given: argparse.Namespace) -> None:
    with _sim(given).changed() as (state, _):
        jobs = list(state.jobs)
    if given.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(jobs), indent=1) + b"\n")
        return
    sys.stdout.write(f"{'JOB':>6} {'QUEUE':<12} {'STATE':<8} {'RUNS':>4} NODE\n")
    for job in jobs:
        sys.stdout.write(f"{job.id:>6} {job.queue:<12} {_state(job):<8} {job.runs:>4} {job.node}\n")


def _state(job: SimJob) -> str:
    return "ended" if job.ended is not None else "running" if job.running else "held" if job.held else "waiting"


def _cancel(given: argparse.Namespace) -> None:
    with _sim(given).changed() as (state, _):
        state.jobs = [job for job in state.jobs if job.queue != given.queue or job.started is not None]


def _fail(given: argparse.Namespace) -> None:
    SimWorld(_sim(given).farm).add_failure(Failure(given.operation, HOST, "*", given.how, given.why, times=given.times))


if __name__ == "__main__":
    sys.exit(main())
