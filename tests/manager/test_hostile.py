"""What somebody who reaches the bus, or a client with an accepted key, cannot do to the managers."""

from __future__ import annotations

from typing import Any

from common.bus.contract import Delivery
from common.envelope import Sealer
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, ClbControl
from tests.manager.world import World, private_key


def test_strangers_in_the_group_of_managers_do_not_keep_the_farm_leaderless() -> None:
    world = World()
    world._connect([GROUP_MANAGERS, GROUP_CLIENTS])
    world.add_manager("m1")
    world._connect([GROUP_MANAGERS])
    world.wait(10)
    assert world.leader() == "m1"
    world.add_manager("m2")
    world.wait(10)
    assert world.leader() == "m1"
    world.kill_manager("m1")
    world.wait(10)
    assert world.leader() == "m2"


def test_a_manager_that_answers_is_waited_for() -> None:
    world = World()
    world.add_manager("m1")
    world.add_manager("m2")
    world.wait(60)
    assert world.leader() == "m1"
    world.kill_manager("m1")
    assert world.leader() == "m2"


def test_a_stranger_that_repeats_a_managers_hello_does_not_pass_for_it() -> None:
    world = World()
    world.add_manager("m1")
    stranger = world._connect([GROUP_MANAGERS])
    world.add_manager("m2")
    recorded = [got.payload for got in stranger.inbox if isinstance(got, Delivery)]
    world.kill_manager("m1")
    world.kill_manager("m2")
    world.add_manager("m3")  # has heard none of it yet
    for payload in recorded:
        world._multicast(stranger.address, (GROUP_MANAGERS,), payload)
    world.settle()
    world.wait(10)
    assert world.leader() == "m3"
    core = world.managers["m3"].core
    assert core is not None
    assert stranger.address not in core.peers.names


class Rogue:
    """A client whose key was accepted, and that says what it likes."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.seat = world._connect([GROUP_CLIENTS])
        self.sealer = Sealer(name, private_key(name))

    def say(self, message: Any, **more: Any) -> None:
        payload = self.sealer.seal(message, (GROUP_MANAGERS,), self.world.now.wall, **more)
        self.world._multicast(self.seat.address, (GROUP_MANAGERS,), payload)
        self.world.settle()


def rogue(world: World, name: str = "evil") -> Rogue:
    world.add_client(name)
    world.kill_client(name)
    return Rogue(world, name)


def test_an_accepted_client_cannot_inflate_the_epoch_until_nobody_can_lead() -> None:
    world = World()
    world.add_manager("m1")
    world.add_client("xen1", {"load": 1})
    evil = rogue(world)
    for epoch in (2**62, 2**63 - 1, 2**63, 2**64 - 1, -1, True, 1.5e300, "9", None, [1]):
        evil.say(ClbControl(verb="hello", values={"groups": [], "epoch": epoch}), epoch=2**63 - 1)
        evil.say(ClbControl(verb="alive", values={"epoch": epoch}))
    world.wait(10)
    core = world.managers["m1"].core
    assert core is not None
    assert core.context.epoch < 2**32
    call = world.ask("m1", "exec", {"targets": ["xen1"], "command": "log", "parameters": {"text": "x"}})
    assert world.replies[call][-1]["result"]["answered"] == ["xen1"]
