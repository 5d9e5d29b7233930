"""What every batch system promises (common/batch.py), on each one that can be had here: the simulated one, Slurm, Grid Engine.

PBS and HTCondor are not here: they are tried with recorded output (test_pbs.py, test_htcondor.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.batch import Demand, NoSuchNode
from tests.batch.systems import LIMIT_S, SYSTEMS, World, node, until

pytestmark = pytest.mark.slow


@pytest.fixture(params=SYSTEMS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with SYSTEMS[request.param](tmp_path / "farm") as made:
        yield made


def up(world: World, *names: str) -> None:
    for name in names:
        world.start(name)
    until(world, f"{names} are idle", lambda: all(node(world, name).state == "idle" for name in names))


def demand(world: World, queue: str) -> Demand:
    listed = [one for one in world.batch.demand(limit_s=LIMIT_S) if one.queue == queue]
    return listed[0] if listed else Demand(queue)


def test_jobs_that_wait_are_told_by_queue_and_those_held_are_not(world: World) -> None:
    for _ in range(3):
        world.submit("sl4", 60)
    world.submit("debian", 60)
    world.hold("debian")
    seen = {one.queue: one.waiting for one in world.batch.demand(limit_s=LIMIT_S)}
    assert seen == {"sl4": 3, "debian": 1}
    until(world, "they have waited for a second", lambda: demand(world, "sl4").oldest_wait_s >= 1)


def test_a_node_that_comes_up_is_idle_takes_jobs_and_is_busy(world: World) -> None:
    job = world.submit("sl4", 60)
    world.start("sl4-a")
    until(world, "it is busy", lambda: node(world, "sl4-a").state == "busy")
    until(world, "the job runs", lambda: demand(world, "sl4").running == 1)
    one = node(world, "sl4-a")
    assert (one.jobs, one.cores) == (1, 2)
    assert demand(world, "sl4").waiting == 0
    assert demand(world, "sl4").running_cores == 1
    until(world, "it was started", lambda: world.runs(job) == 1)


def test_a_drained_node_takes_no_job_until_it_is_resumed(world: World) -> None:
    up(world, "sl4-a")
    world.batch.drain("sl4-a", "vmherd: switched to debian", limit_s=LIMIT_S)
    assert node(world, "sl4-a").state == "drained"
    assert ("vmherd: switched to debian" in node(world, "sl4-a").note) is world.keeps_reasons
    world.submit("sl4", 60)
    for _ in range(10):
        world.passing()
    assert node(world, "sl4-a").state == "drained"
    world.batch.resume("sl4-a", limit_s=LIMIT_S)
    until(world, "it is busy", lambda: node(world, "sl4-a").state == "busy")


def test_a_job_on_a_node_that_drains_ends_in_peace(world: World) -> None:
    up(world, "sl4-a")
    job = world.submit("sl4", 3)
    until(world, "it runs", lambda: node(world, "sl4-a").jobs == 1)
    world.batch.drain("sl4-a", "vmherd", limit_s=LIMIT_S)
    assert node(world, "sl4-a").state == "draining"
    until(world, "it has ended", lambda: node(world, "sl4-a").state == "drained")
    assert (node(world, "sl4-a").jobs, world.runs(job)) == (0, 1)
    assert demand(world, "sl4") == Demand("sl4")


def test_a_drain_is_taken_back_while_a_job_runs(world: World) -> None:
    up(world, "sl4-a")
    world.submit("sl4", 60)
    until(world, "it runs", lambda: node(world, "sl4-a").jobs == 1)
    world.batch.drain("sl4-a", "vmherd", limit_s=LIMIT_S)
    world.batch.resume("sl4-a", limit_s=LIMIT_S)
    world.submit("sl4", 60)
    until(world, "it takes another", lambda: node(world, "sl4-a").jobs == 2)


def test_all_may_be_said_twice(world: World) -> None:
    up(world, "sl4-a")
    for _ in range(2):
        world.batch.drain("sl4-a", "vmherd", limit_s=LIMIT_S)
    for _ in range(2):
        world.batch.resume("sl4-a", limit_s=LIMIT_S)
    world.kill("sl4-a")
    for _ in range(2):
        world.batch.gone("sl4-a", "vmherd", limit_s=LIMIT_S)
    assert node(world, "sl4-a").state == "down"
    for _ in range(2):
        world.batch.resume("sl4-a", limit_s=LIMIT_S)


def test_the_jobs_of_a_machine_that_died_start_elsewhere_at_once(world: World) -> None:
    up(world, "sl4-a", "sl4-b")
    world.batch.drain("sl4-b", "vmherd", limit_s=LIMIT_S)
    job = world.submit("sl4", 60)
    until(world, "it was started", lambda: world.runs(job) == 1)
    world.batch.resume("sl4-b", limit_s=LIMIT_S)
    world.kill("sl4-a")
    world.batch.gone("sl4-a", "vmherd: its machine died", limit_s=LIMIT_S)
    until(world, "it was started again", lambda: world.runs(job) == 2)
    assert node(world, "sl4-b").jobs == 1
    assert node(world, "sl4-a").state == "down"


def test_a_machine_that_died_takes_jobs_again_when_it_is_back_and_they_end_well(world: World) -> None:
    up(world, "sl4-a")
    job = world.submit("sl4", 4)
    until(world, "it was started", lambda: world.runs(job) == 1)
    world.kill("sl4-a")
    world.batch.gone("sl4-a", "vmherd: its machine died", limit_s=LIMIT_S)
    world.start("sl4-a")
    until(world, "it is back", lambda: node(world, "sl4-a").state in ("drained", "down", "joining"))
    world.batch.resume("sl4-a", limit_s=LIMIT_S)
    until(world, "it was started again", lambda: world.runs(job) == 2)
    until(world, "it has ended", lambda: node(world, "sl4-a").state == "idle")
    assert world.runs(job) == 2
    assert demand(world, "sl4") == Demand("sl4")


def test_a_machine_that_is_gone_takes_nothing_until_it_is_resumed_even_if_it_is_up(world: World) -> None:
    up(world, "sl4-a")
    world.kill("sl4-a")
    world.batch.gone("sl4-a", "vmherd", limit_s=LIMIT_S)
    world.submit("sl4", 60)
    world.start("sl4-a")
    for _ in range(20):
        world.passing()
        assert node(world, "sl4-a").state in ("down", "drained", "joining")
    world.batch.resume("sl4-a", limit_s=LIMIT_S)
    until(world, "it takes the job", lambda: node(world, "sl4-a").jobs == 1)


def test_requeue_says_how_many_jobs_start_again(world: World) -> None:
    up(world, "sl4-a")
    jobs = [world.submit("sl4", 60) for _ in range(2)]
    until(world, "they were started", lambda: [world.runs(job) for job in jobs] == [1, 1])
    world.kill("sl4-a")
    assert world.batch.requeue("sl4-a", limit_s=LIMIT_S) == 2
    until(world, "they wait", lambda: demand(world, "sl4").waiting == 2)


@pytest.mark.parametrize("name", ["nobody", "ALL"])
def test_a_node_that_nobody_knows_is_said_and_nothing_is_done(world: World, name: str) -> None:
    up(world, "sl4-a")
    for act in (
        lambda: world.batch.drain(name, "vmherd", limit_s=LIMIT_S),
        lambda: world.batch.resume(name, limit_s=LIMIT_S),
        lambda: world.batch.gone(name, "vmherd", limit_s=LIMIT_S),
        lambda: world.batch.requeue(name, limit_s=LIMIT_S),
    ):
        with pytest.raises(NoSuchNode, match=rf"on head: .*\b{name}\b"):
            act()
    assert node(world, "sl4-a").state == "idle"
