"""Two managers: no firing is lost and none doubled that the trigger's own rules forbid, wherever the leader dies."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config.load import parse_triggers
from tests.triggers.world import World
from vmmanager.triggers.pipeline import RESUME_MAX_S

ONCE = parse_triggers(
    """
[hot]
each = g
expr = { client.load > 8 }
fire = once
cmd = { sender.send_execute("cool", {"n": 1}); sender.send_execute("tell", {}, to="all") }
on_update_check = yes
"""
)
TIDY = parse_triggers(
    """
[hot]
each = g
expr = { client.load > 8 }
recovery = { client.load < 4 }
cmd = { sender.send_execute("stop") }
recovery_cmd = { sender.send_execute("start") }
on_update_check = yes
"""
)


def commands(world: World) -> list[str]:
    """Commands by distinct execution id, in the order of the first sending."""
    seen = dict.fromkeys(execution for _, _, execution, _, _ in world.acted)
    return list(seen)


@pytest.mark.parametrize("effects", range(40))
def test_wherever_the_leader_dies_each_wish_is_sent_under_one_id(effects: int) -> None:
    world = World(ONCE)
    world.lead("m1")
    world.tell("x1", "load", 1)
    world.nodes["m1"].effects_left = effects
    world.tell("x1", "load", 9)
    world.kill(world.nodes["m1"])
    world.lead("m2")
    world.advance(5)
    assert len(world.executions("x1")) == 2  # two wishes, each under one id
    # and the one that comes back knows it too
    world.start("m1")
    world.tell("x1", "load", 10)
    world.lead("m1")
    world.tell("x1", "load", 11)
    world.advance(5)
    assert len(world.executions("x1")) == 2


@pytest.mark.parametrize("effects", range(40))
def test_one_manager_that_is_killed_and_restarted_forgets_nothing(effects: int) -> None:
    world = World(ONCE, names=("m1",))
    world.lead("m1")
    world.tell("x1", "load", 1)
    world.nodes["m1"].effects_left = effects
    world.tell("x1", "load", 9)
    world.kill(world.nodes["m1"])
    world.start("m1")
    world.lead("m1")
    world.advance(5)
    world.tell("x1", "load", 9)
    world.advance(5)
    assert len(world.executions("x1")) == 2


@pytest.mark.parametrize("effects", range(30))
def test_what_was_stopped_is_started_again_wherever_the_leader_dies(effects: int) -> None:
    world = World(TIDY)
    world.lead("m1")
    world.tell("x1", "load", 9)
    world.nodes["m1"].effects_left = effects
    world.tell("x1", "load", 2)
    world.kill(world.nodes["m1"])
    world.lead("m2")
    world.advance(5)
    assert len(commands(world)) == 2
    world.tell("x1", "load", 9)
    world.advance(5)
    assert len(commands(world)) == 3, "the next problem is a new one"


def test_a_standby_fires_nothing_but_knows_how_long_a_condition_has_held() -> None:
    waiting = tuple(replace(one, for_s=60.0) for one in ONCE)
    world = World(waiting)
    world.tell("x1", "load", 9)
    world.advance(50)
    assert not world.ran
    world.lead("m2")
    world.advance(11)
    assert [name for name, _ in world.ran] == ["m2"]


def test_an_old_firing_is_given_up_instead_of_done_late() -> None:
    world = World(ONCE, names=("m1",), answer_at_once=False)
    world.lead("m1")
    world.tell("x1", "load", 9)
    assert len(world.acted) == 2
    world.kill(world.nodes["m1"])
    world.advance(RESUME_MAX_S + 1)
    node = world.start("m1")
    world.lead("m1")
    world.advance(5)
    assert len(world.acted) == 2
    firing = node.engine.answer("trigger", {"name": "hot"}, "root", node.farm, world.now).body["result"]["firings"][0]
    assert firing["outcome"].startswith("given up: ")


def test_a_joining_standby_is_given_all_it_must_know() -> None:
    world = World(ONCE, names=("m1", "m2", "m3"))
    world.kill(world.nodes["m3"])
    world.lead("m1")
    world.tell("x1", "load", 9)
    leader = world.nodes["m1"]
    world.carry_out(
        leader,
        list(
            leader.engine.answer(
                "silence", {"what": "hot", "until": world.now.wall + 9e4}, "eve", leader.farm, world.now
            ).effects
        ),
    )
    fresh = world.start("m3")
    world.kill(world.nodes["m1"])
    world.kill(world.nodes["m2"])
    world.lead("m3")
    world.tell("x1", "load", 9)
    world.tell("x2", "load", 9)
    world.advance(5)
    assert len(world.executions()) == 2, "x1 has fired, x2 is silenced"
    assert {table for table, _ in fresh.disk} >= {"firing", "silence"}


def test_one_that_fired_and_was_away_when_the_problem_ended_fires_for_the_next_one() -> None:
    world = World(ONCE)
    world.lead("m1")
    world.tell("x1", "load", 9)
    world.kill(world.nodes["m1"])
    world.lead("m2")
    world.advance(5)
    world.tell("x1", "load", 1)
    world.start("m1")
    world.kill(world.nodes["m2"])
    world.tell("x1", "load", 9)
    world.lead("m1")
    world.advance(5)
    assert len({execution.rpartition(".")[0] for execution in world.executions("x1")}) == 2


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("tell"), st.sampled_from(["x1", "x2"]), st.sampled_from([1, 9, None])),
            st.tuples(st.just("lead"), st.sampled_from(["m1", "m2", "nobody"]), st.none()),
            st.tuples(st.just("crash"), st.sampled_from(["m1", "m2"]), st.integers(0, 12)),
            st.tuples(st.just("restart"), st.sampled_from(["m1", "m2"]), st.none()),
            st.tuples(st.just("wait"), st.none(), st.integers(1, 90)),
        ),
        max_size=25,
    )
)
def test_whatever_happens_a_wish_has_one_id_per_firing_and_only_leaders_run_code(
    steps: list[tuple[str, str | None, int | None]],
) -> None:
    world = World(ONCE)
    for what, who, how in steps:
        if what == "tell":
            world.tell(str(who), "load", how)
        elif what == "lead":
            if who == "nobody" or world.nodes[str(who)].alive:
                world.lead(str(who))
        elif what == "crash":
            world.nodes[str(who)].effects_left = how
        elif what == "restart" and not world.nodes[str(who)].alive:
            world.advance(0.01)
            world.start(str(who))
        elif what == "wait":
            world.advance(float(how or 1))
    by_wish: dict[str, set[str]] = {}
    for _, _, execution, _, _ in world.acted:
        by_wish.setdefault(execution.rpartition(".")[0], set()).add(execution.rpartition(".")[2])
    assert all(wishes <= {"0", "1"} for wishes in by_wish.values())
    assert len({(name, run.firing) for name, run in world.ran}) == len(world.ran), "no code runs twice for a firing"
    assert {execution.rpartition(".")[0] for execution in world.executions()} <= {run.firing for _, run in world.ran}
