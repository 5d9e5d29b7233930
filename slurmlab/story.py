"""What happens in the lab, chapter by chapter, and what must be so. Raises Failed where it is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from slurmlab.files import CPUS, ENVIRONMENTS, HOSTS
from slurmlab.lab import Lab
from slurmlab.work import Submitted, Waits, Wave, of
from xenlab.processes import Failed

JOBS, EVERY_S, LENGTH_S = 56, 0.4, 5.0  # a wave: 22 s in which work for 12.5 of the farm's 16 processors comes; half has 8
TAIL_S = 60.0
FAR_LESS = 0.6  # of the wait under the static split, all jobs taken together: the second kind has to wait for the first one's
MIX = 6  # slots of eight that a wave must have had
SL4, DEBIAN = ENVIRONMENTS
SWITCH_S = 60.0
FROZEN_S = 5.0


@dataclass(frozen=True, slots=True)
class Run:
    """The same two waves under one policy. `most`: slots that each kind had at best."""

    waits: dict[str, Waits]
    most: dict[str, int]


def tell(lab: Lab) -> None:
    static = _waves(lab, "static")
    lab.policy("waterfill")
    ours = _waves(lab, "waterfill")
    for kind in ENVIRONMENTS:
        share = ours.waits[kind].mean / static.waits[kind].mean
        lab.say(
            f"{kind}: mean wait {share:.2f} of that under the static split, {ours.most[kind]} of {len(HOSTS)} slots at best"
        )
        if share >= 1:
            raise Failed(f"{kind} waits {ours.waits[kind]}, and {static.waits[kind]} under the static split")
        if ours.most[kind] < MIX:
            raise Failed(f"{kind} had {ours.most[kind]} slots at best, {MIX} were needed")
    if _mean(ours) > FAR_LESS * _mean(static):
        raise Failed(f"a job waits {_mean(ours):.1f} s in the mean, and {_mean(static):.1f} s under the static split")
    for chapter in CHAPTERS:
        chapter(lab)


def _mean(run: Run) -> float:
    """Over all jobs: each kind has as many."""
    return sum(waits.mean for waits in run.waits.values()) / len(run.waits)


def _waves(lab: Lab, policy: str) -> Run:
    """First one kind, then the other."""
    waits, most, every = {}, dict.fromkeys(ENVIRONMENTS, 0), []
    waves = {kind: Wave(lab.work, kind, JOBS, EVERY_S, LENGTH_S) for kind in ENVIRONMENTS}

    def look_until(what: str, ready: Callable[[], bool]) -> None:
        def looked() -> bool:
            for kind, row in lab.environments().items():
                most[kind] = max(most[kind], row["serving"])
            return ready()

        lab.wait(what, looked, TAIL_S)

    for wave in waves.values():
        wave.start()
        look_until("the jobs are submitted", wave.ended)
        every += wave.jobs
    look_until("all jobs are over", lambda: lab.work.over(every))
    lab.work.check(every)
    for kind, wave in waves.items():
        waits[kind] = of(lab.work.waits_s(wave.jobs))
    said = ", ".join(f"{kind} waited {one}" for kind, one in waits.items())
    lab.say(f"{policy}: {len(every)} jobs ended well, each was started once; {said}")
    return Run(waits, most)


# --- chapters ---------------------------------------------------------------------------------------------------------------


def a_dead_machine(lab: Lab) -> None:
    """Its jobs start again elsewhere at once, and its slot comes back."""
    jobs = lab.work.submit(SL4, 6, count=4)
    node = lab.wait("a job runs", lambda: _node_of(lab, jobs), SWITCH_S)
    victims = [job.number for job in jobs if _runs_on(lab, job, node)]
    lab.wait("they have begun", lambda: all(number in lab.work.starts() for number in victims))
    at = time.monotonic()
    lab.crash(node.removeprefix(f"{SL4}-"), node)
    lab.wait("they were started again", lambda: all(len(lab.work.starts().get(number, ())) == 2 for number in victims))
    again_s = time.monotonic() - at
    lab.wait("its slot serves again", lambda: lab.states().count("serving") == len(HOSTS), SWITCH_S)
    lab.wait("all jobs are over", lambda: lab.work.over(jobs), TAIL_S)
    lab.work.check(jobs, restarted=victims)
    lab.say(f"{node} died: its {len(victims)} jobs ran again after {again_s:.1f} s and ended well; the slot is back")


def a_hung_controller(lab: Lab) -> None:
    """No answer is unknown: nothing is decided until it answers, whatever was asked for before."""
    jobs = lab.work.submit(SL4, LENGTH_S, count=2) + lab.work.submit(DEBIAN, LENGTH_S, count=3 * CPUS * len(HOSTS))
    lab.cluster.pause_controller()
    try:
        row = lab.wait("it is seen that it does not answer", lambda: _unknown(lab), SWITCH_S)
        before, end = _decided(lab), time.monotonic() + FROZEN_S
        while time.monotonic() < end:  # no wait for something: nothing must happen
            if (now := _decided(lab)) != before:
                raise Failed(f"the mix has changed while the controller hung: {before} -> {now}")
            time.sleep(0.2)
    finally:
        lab.cluster.continue_controller()
    lab.say(f"the controller hung, and the mix stood still: {row['why']}")
    lab.wait("it is known again", lambda: not _unknown(lab), SWITCH_S)
    lab.wait(f"{DEBIAN} gets what it needs", lambda: lab.serving(DEBIAN) >= MIX or lab.work.over(jobs), SWITCH_S)
    lab.wait("all jobs are over", lambda: lab.work.over(jobs), TAIL_S)
    lab.work.check(jobs)
    lab.say(f"it went on, and all {len(jobs)} jobs ended well; {lab.mix()}")


def a_drain_taken_back(lab: Lab) -> None:
    """Slots that drain for others serve again when those others want them no more; jobs on them notice nothing."""
    jobs = lab.work.submit(SL4, 20, count=CPUS * len(HOSTS))
    lab.wait("all slots are busy", lambda: sum(row["jobs"] or 0 for row in lab.slots()) == len(jobs), SWITCH_S)
    others = lab.work.submit(DEBIAN, 2, count=2 * CPUS)
    draining = lab.wait("slots drain for them", lambda: _in(lab, "draining"), SWITCH_S)
    lab.work.cancel(others)
    jobs += lab.work.submit(SL4, 1, count=CPUS * len(HOSTS))
    lab.wait("they serve again", lambda: not _in(lab, "draining"), SWITCH_S)
    states = {row["slot"]: row["state"] for row in lab.slots()}
    if wrong := [name for name in draining if states[name] != "serving"]:
        raise Failed(f"{', '.join(wrong)} should serve again: {states}")
    lab.wait("all jobs are over", lambda: lab.work.over(jobs), TAIL_S)
    lab.work.check(jobs)
    lab.say(f"the drain of {', '.join(draining)} was taken back; all {len(jobs)} jobs ended well")


def a_manager_killed_in_mid_switch(lab: Lab) -> None:
    """Another one goes on where it was; no job is killed, none runs twice."""
    jobs = lab.work.submit(DEBIAN, 4, count=2 * CPUS * len(HOSTS))
    lab.wait("slots are on their way", lambda: _in(lab, "stopping", "starting", "joining"), SWITCH_S)
    leader = lab.leader()
    lab.kill_manager(leader)
    at = time.monotonic()
    other = lab.wait("another one leads", lab.leader)
    took_s = time.monotonic() - at
    lab.wait(f"{DEBIAN} has most slots", lambda: lab.serving(DEBIAN) >= MIX or lab.work.over(jobs), SWITCH_S)
    lab.start_manager(leader)
    lab.wait("all jobs are over", lambda: lab.work.over(jobs), TAIL_S)
    lab.work.check(jobs)
    lab.wait("every host serves", lambda: lab.states().count("serving") == len(HOSTS), SWITCH_S)
    lab.say(f"{leader} was killed in mid-switch, {other} led after {took_s:.1f} s: {len(jobs)} jobs ended well; {lab.mix()}")


CHAPTERS: tuple[Callable[[Lab], None], ...] = (
    a_dead_machine,
    a_hung_controller,
    a_drain_taken_back,
    a_manager_killed_in_mid_switch,
)


def _decided(lab: Lab) -> dict[str, str]:
    """Where each slot is to go. What is on its way goes on, and its state changes."""
    return {row["slot"]: row["target"] or row["environment"] for row in lab.slots()}


def _in(lab: Lab, *states: str) -> list[str]:
    return [row["slot"] for row in lab.slots() if row["state"] in states]


def _unknown(lab: Lab) -> dict[str, str] | None:
    rows = list(lab.environments().values())
    return rows[0] if all(not row["known"] and row["waiting"] is None for row in rows) else None


def _node_of(lab: Lab, jobs: list[Submitted]) -> str:
    """A node on which one of them runs."""
    return next((node for job in jobs if (node := _where(lab, job))), "")


def _runs_on(lab: Lab, job: Submitted, node: str) -> bool:
    return _where(lab, job) == node


def _where(lab: Lab, job: Submitted) -> str:
    told = lab.work.states().get(job.number, {})
    return told.get("NodeList", "") if told.get("JobState") == "RUNNING" else ""
