"""What a trigger sees of environments, over a whole farm in pretend time."""

from __future__ import annotations

from pathlib import Path

from common.config.load import parse_triggers
from tests.environments.farm import EnvWorld, configured
from vmmanager import events

RULES = """\
[starved]
expr = { manager.environments["sl4"].waiting > 3 and manager.environments["sl4"].slots < manager.environments["sl4"].waiting }
cmd = { notify(f"{manager.environments['sl4'].waiting} jobs wait, {sorted(manager.environments)}") }
on_update_check = yes
fire = once
"""


def test_a_trigger_sees_the_queues_and_unknown_is_not_empty(tmp_path: Path) -> None:
    told: list[str] = []

    def hear(who: str, effect: events.Effect) -> None:
        if isinstance(effect, events.Notify):
            told.append(effect.text)

    world = EnvWorld(hear)
    config = configured(tmp_path)
    world.add_manager("m1", parse_triggers(RULES), environments=config.environments, vms=config.vms)
    world.add_head()
    world.add_host("wn1")
    world.wait(40)
    world.trouble.mute_batch = "no answer"
    world.submit("sl4", 9, 100)
    world.wait(20)
    assert told == []
    world.trouble.mute_batch = ""
    world.wait(20)
    assert len(told) == 1
    assert "jobs wait, ['sl4', 'sl5']" in told[0]
