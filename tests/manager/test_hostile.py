"""What somebody who reaches the bus, or a client with an accepted key, cannot do to the managers."""

from __future__ import annotations

from typing import Any

import pytest

from common.bus.contract import Delivery
from common.envelope import Sealer
from common.keys import raw_public
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, ClbControl, PropList, PropVal, Reading, Value
from tests.manager.world import World, private_key
from vmmanager import events
from vmmanager.state import CLIENT_BYTES_MAX, Farm


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
    world.wait(1)  # ids of messages come from the clock
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


def shows_key(world: World, name: str, seed: str) -> None:
    """Somebody says hello as `name`, with a key of his own."""
    key = private_key(seed)
    seat = world._connect([GROUP_CLIENTS])
    hello = ClbControl(verb="hello", values={"key": raw_public(key).hex(), "groups": []})
    payload = Sealer(name, key).seal(hello, (GROUP_MANAGERS,), world.now.wall)
    world._multicast(seat.address, (GROUP_MANAGERS,), payload)
    world.settle()
    world.wait(2)


def test_a_key_that_an_operator_has_looked_at_is_not_exchanged_under_his_hands() -> None:
    world = World()
    world.add_manager("m1")
    shows_key(world, "xen7", "the real one")
    call = world.ask("m1", "key-list")
    seen = world.replies[call][-1]["result"]
    assert [(row["name"], row["state"]) for row in seen] == [("m1", "accepted"), ("xen7", "pending")][-len(seen) :]
    real = seen[-1]["fingerprint"]
    shows_key(world, "xen7", "somebody else")
    refused = world.replies[world.ask("m1", "key-accept", {"name": "xen7"})][-1]
    assert refused["code"] == "refused"
    assert real in refused["error"]
    wrong = world.replies[world.ask("m1", "key-accept", {"name": "xen7", "fingerprint": "0000:1111"})][-1]
    assert wrong["code"] == "refused"
    typed = real.replace(":", " ").upper()
    accepted = world.replies[world.ask("m1", "key-accept", {"name": "xen7", "fingerprint": typed})][-1]
    assert accepted["result"]["fingerprint"] == real
    core = world.managers["m1"].core
    assert core is not None
    assert core.keys.records["xen7"].key == raw_public(private_key("the real one"))


def test_rejecting_a_name_for_which_two_keys_were_shown_rejects_it() -> None:
    world = World()
    world.add_manager("m1")
    shows_key(world, "xen7", "one")
    shows_key(world, "xen7", "two")
    assert world.replies[world.ask("m1", "key-reject", {"name": "xen7"})][-1]["result"]["state"] == "rejected"


def test_what_a_client_says_of_itself_is_bounded_and_of_one_line() -> None:
    world = World()
    world.add_manager("m1")
    evil = rogue(world)
    groups: list[Any] = [
        "good",
        "all",
        "clients",
        "managers",
        "a\nb",
        "\x1b[2J",
        "",
        "x" * 300,
        7,
        None,
        "good",
        "../../etc",
        "ü",
    ]
    values: dict[str, Any] = {"groups": groups, "version": "1\x1b[2J\n", "boot_id": "b\n", "commands": ["log\n", "exec"]}
    evil.say(ClbControl(verb="hello", values=values))
    core = world.managers["m1"].core
    assert core is not None
    client = core.context.farm.clients["evil"]
    assert client.groups == ("good",)
    assert client.version.isprintable()
    assert client.boot_id.isprintable()
    assert all(word.isprintable() for word in client.commands)


def test_a_client_that_tells_of_ever_higher_epochs_makes_the_leader_rise_only_now_and_then() -> None:
    said: list[Any] = []
    world = World(lambda who, effect: said.append(effect))
    world.add_manager("m1")
    evil = rogue(world)
    world.wait(10)
    for epoch in range(100, 2000):
        evil.say(ClbControl(verb="alive", values={"epoch": epoch}))
        if epoch % 100 == 0:
            world.wait(1)
    rises = [effect for effect in said if isinstance(effect, events.Note) and "rising above" in effect.text]
    assert 1 <= len(rises) <= 4
    world.wait(20)
    core = world.managers["m1"].core
    assert core is not None
    assert core.leadership.leading
    assert core.context.epoch > 1999  # and yet none stays above it


def farm_of(world: World) -> Farm:
    core = world.managers["m1"].core
    assert core is not None
    return core.context.farm


HUGE: dict[str, Value] = {"text": "x" * 8_000_000, "list": [[] for _ in range(100_000)], "history": "y" * 1024}


@pytest.mark.parametrize("what", sorted(HUGE))
def test_one_client_cannot_fill_the_managers_memory(what: str) -> None:
    world = World()
    world.add_manager("m1")
    evil = rogue(world)
    evil.say(ClbControl(verb="hello", values={"boot_id": "b"}))
    count = 700 if what == "history" else 12
    for number in range(count):
        evil.say(PropVal(reading=Reading(name=f"p{number}", value=HUGE[what])))
    client = farm_of(world).clients["evil"]
    assert client.bytes <= CLIENT_BYTES_MAX
    assert "MiB" in client.properties[f"p{count - 1}"].reading.error
    evil.say(PropList(readings=(Reading(name="load", value=7),), complete=True))  # it can be good again
    evil.say(PropVal(reading=Reading(name="text", value="short")))
    assert client.properties["text"].reading.value == "short"
    assert client.bytes < 100_000


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), {"free": [float("nan")]}])
def test_a_number_that_is_none_is_unknown(value: Value) -> None:
    world = World()
    world.add_manager("m1")
    evil = rogue(world)
    evil.say(ClbControl(verb="hello", values={"boot_id": "b"}))
    evil.say(PropVal(reading=Reading(name="load", value=3.0)))
    evil.say(PropVal(reading=Reading(name="load", value=value)))
    held = farm_of(world).clients["evil"].properties["load"]
    assert held.unknown(world.now.wall, 3.0)
    assert [value for _, value in held.history] == [3.0]
