"""The wall clock is set while the managers run: schedules, ages and replay checks do not care."""

from __future__ import annotations

from typing import Any

import pytest

from common.config.load import parse_triggers
from tests.manager.world import World
from vmmanager import events

RULES = """
[dead]
expr = { any(c.age > 120 for c in manager.clients.values()) }
cmd = { notify("dead") }
ticks = 5
on_update_check = yes

[stale]
expr = { nodata(client, "load", 60) }
each = clients
cmd = { notify("stale") }
ticks = 5
on_update_check = yes
"""


@pytest.mark.parametrize("by_s", [3600.0, -3600.0, 86_400.0 * 365])
def test_a_farm_whose_clocks_are_set_does_not_look_dead(by_s: float) -> None:
    said: list[Any] = []
    world = World(lambda who, effect: said.append(effect))
    world.add_manager("m1", parse_triggers(RULES, "rules"), silent_after_s=120.0)
    world.add_client("xen1", {"load": 1}, heartbeat_s=30.0)
    world.add_client("xen2", {"load": 2}, heartbeat_s=30.0)
    world.wait(40)
    world.ask("m1", "get", {"targets": ["all"], "names": ["load"], "fetch": True})
    world.clock_s += by_s
    world.wait(9)
    core = world.managers["m1"].core
    assert core is not None
    assert [client.status for client in core.context.farm.clients.values()] == ["connected"] * 2
    assert [one for one in said if isinstance(one, events.Notify)] == []
    ages = [world.now.wall - one.properties["load"].history[-1][0] for one in core.context.farm.clients.values()]
    assert all(0 <= age < 70 for age in ages)
    notes = [one.text for one in said if isinstance(one, events.Note) and "clock was set" in one.text]
    assert len(notes) == 1


def test_a_manager_whose_clock_was_set_back_is_believed_after_its_restart_too() -> None:
    world = World()
    world.add_manager("m1")
    world.add_client("xen1", {"load": 1})
    for _ in range(100):
        world.wait(1)
        world.ask("m1", "get", {"targets": ["xen1"]})
    world.clock_s -= 3600.0
    world.wait(10)
    for _ in range(3):
        world.kill_manager("m1")
        world.start_manager("m1")
        world.wait(10)
        call = world.ask("m1", "get", {"targets": ["xen1"], "fetch": True})
        world.wait(30)
        assert world.replies[call][-1].get("result", {}).get("answered") == ["xen1"], world.replies[call]
