"""A trace changed a little, so that a result is not one trace's accident: more or less load, and shaken input.

After Tsafrir, Ouaknine and Feitelson, "Reducing performance evaluation sensitivity and variability by input shaking"
(MASCOTS 2007): small random changes, many times. What a user sends in one go stays together. Knows no farm.
"""

from __future__ import annotations

from random import Random

from sim.swf import Job, Trace

BURST_GAP_S = 1200.0  # jobs of a user that come closer than this are one burst
SHIFT_S = 1800.0  # a burst comes up to so much earlier or later
RUN_SHARE = 0.1  # a job runs up to so much shorter or longer


def loaded(trace: Trace, load: float) -> Trace:
    """The same jobs `load` times as fast after each other."""
    return trace if load == 1 else trace._replace(jobs=[job._replace(submit_s=job.submit_s / load) for job in trace.jobs])


def shaken(trace: Trace, number: int) -> Trace:
    """The number-th variant; 0 is the trace itself. The same number gives the same variant."""
    if not number:
        return trace
    chance = Random(number)
    last_s: dict[int, float] = {}
    shift_s: dict[int, float] = {}
    jobs = []
    for job in trace.jobs:
        if job.submit_s - last_s.get(job.user, float("-inf")) > BURST_GAP_S:
            shift_s[job.user] = chance.uniform(-SHIFT_S, SHIFT_S)
        last_s[job.user] = job.submit_s
        jobs.append(
            Job(max(0.0, job.submit_s + shift_s[job.user]), job.run_s * chance.uniform(1 - RUN_SHARE, 1 + RUN_SHARE),
                job.environment, job.user)
        )  # fmt: skip
    jobs.sort(key=lambda job: job.submit_s)
    return trace._replace(jobs=jobs)
