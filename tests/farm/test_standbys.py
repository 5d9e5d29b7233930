"""Three managers on one bus: one leads, the others know all, and take over when it is killed."""

from __future__ import annotations

import random
import time

import pytest

from tests.farm.farm import BUS, Farm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

THREE = ("m1", "m2", "m3")
ROUNDS = 5

RULES = """\
[knob_odd]
each = clients
expr = { client.knob % 2 == 1 }
fire = once
cmd = { sender.send_execute("exec", {"program": "note", "text": f"odd {client.knob}"}) }
on_update_check = yes

[knob_big]
each = clients
expr = { client.knob >= 100 }
cooldown = 1h
cmd = { sender.send_execute("exec", {"program": "note", "text": f"big {client.knob}"}) }
on_update_check = yes
"""


def together(farm: Farm, *, clients: tuple[str, ...]) -> None:
    """Three managers that trust each other and know these clients, m1 leading."""
    for name in THREE:
        farm.manager(name, THREE, start=False, triggers=RULES)
    farm.start_manager("m1")
    farm.wait("m1 leads", lambda: farm.leads("m1"))
    for name in THREE[1:]:
        farm.start_manager(name, wait=False)
    farm.wait("all have laid out their keys", lambda: all(map(farm.status, THREE)))  # clients look for them every two seconds
    for name in clients:
        farm.client(name)
    for name in THREE:
        farm.wait(f"{name} knows all", lambda: knows(farm, name, "m1", clients))  # noqa: B023
    for name in THREE[1:]:
        farm.logged(name, "has the state of m1")


def knows(farm: Farm, name: str, leader: str, clients: tuple[str, ...]) -> bool:
    """Is this manager in one view with the others, does it know who leads, and has it every client with its knob?"""
    status = farm.status(name)
    together = status.get("leader") == leader and sorted(status["managers"]) == [*THREE]
    present = farm.clients(name) == dict.fromkeys(clients, "connected")
    return together and present and all(farm.values(name, "knob").get(client) is not None for client in clients)


def state_of(farm: Farm, manager: str, trigger: str) -> str:
    """Of the first client; empty while none is known there."""
    subjects = farm.ask(manager, "trigger", name=trigger)["subjects"]
    return str(subjects[0]["state"]) if subjects else ""


def test_standbys_show_what_the_leader_shows_and_take_over_with_all_it_knew(farm: Farm) -> None:
    together(farm, clients=("c1", "c2"))
    farm.turn("c2", 100)
    for name in THREE:
        farm.wait(f"{name} has the new value", lambda: farm.values(name, "knob") == {"c1": 0, "c2": 100})  # noqa: B023
        assert [row["name"] for row in farm.vmctl(name, "clients", "--json").json] == ["c1", "c2"]
        assert {(row["client"], row["value"]) for row in farm.vmctl(name, "props", "knob", "--json").json} == {
            ("c1", 0),
            ("c2", 100),
        }
    farm.wait("the trigger fired", lambda: farm.notes("c2") == ["big 100"])

    leading = [name for name in THREE if farm.leads(name)]
    assert leading == ["m1"]
    for name in ("m2", "m3"):
        refused = farm.vmctl(name, "exec", "exec", "program=note", "text=no", "--on", "all", "--yes")
        assert refused.code == 4
        assert "m1" in refused.err
        assert farm.vmctl(name, "silence", "knob_odd", "--for", "1h", "--why", "no").code == 4

    # what the operator decided is with the standbys too
    farm.client("c3", local_keys=False)
    farm.wait("c3 waits", lambda: farm.vmctl("m1", "key", "list", "--state", "pending", "--json").json)
    assert farm.vmctl("m1", "key", "accept", "c3", "--yes").code == 0
    farm.wait("c3 is in", lambda: farm.clients("m1").get("c3") == "connected")
    assert farm.vmctl("m1", "silence", "client:c3", "--for", "1h", "--why", "being repaired").code == 0
    farm.wait("c3 is in everywhere", lambda: all(farm.clients(name).get("c3") == "connected" for name in THREE))
    epoch = farm.status("m1")["epoch"]

    farm.kill("m1")
    killed = time.monotonic()
    farm.wait("another leads", lambda: farm.leads("m2") or farm.leads("m3"))
    took_s = time.monotonic() - killed
    assert took_s < 10
    leader, standby = ("m2", "m3") if farm.leads("m2") else ("m3", "m2")
    assert farm.status(leader)["epoch"] > epoch
    farm.wait("the other standby knows", lambda: farm.status(standby).get("leader") == leader)
    assert not farm.leads(standby)

    # the new leader fires, and not what is within its cooldown
    farm.turn("c1", 1)
    farm.wait("the new leader fires", lambda: farm.notes("c1") == ["odd 1"])
    farm.turn("c2", 102)
    farm.wait("it has the news", lambda: farm.values(leader, "knob").get("c2") == 102)
    farm.turn("c2", 101)  # odd: this one must come, and comes after whatever `big` would have sent
    farm.wait("c2 ran the other rule", lambda: "odd 101" in farm.notes("c2"))
    assert farm.notes("c2") == ["big 100", "odd 101"]
    assert [row["what"] for row in farm.vmctl(leader, "silence", "list", "--json").json] == ["client:c3"]
    assert {row["name"]: row["state"] for row in farm.vmctl(leader, "key", "list", "--json").json}["c3"] == "accepted"

    # the one that was killed comes back and learns what it missed
    assert farm.vmctl(leader, "silence", "knob_big", "--for", "1h", "--why", "while m1 was away").code == 0
    farm.start_manager("m1")
    farm.wait("m1 stands by", lambda: farm.status("m1").get("leader") == leader)
    assert not farm.leads("m1")
    farm.wait("m1 has caught up", lambda: len(farm.ask("m1", "silences")) == 2)
    assert {row["what"] for row in farm.vmctl("m1", "silence", "list", "--json").json} == {"client:c3", "knob_big"}
    farm.wait("m1 knows all", lambda: farm.values("m1", "knob") == {"c1": 1, "c2": 101, "c3": 0})
    firings = farm.ask("m1", "trigger", name="knob_odd")["firings"]
    assert {(one["subject"], one["outcome"]) for one in firings} == {("c1", "ok"), ("c2", "ok")}


@pytest.mark.parametrize(("seed", "victims"), [(1, "leader"), (2, "bus"), (3, "two"), (5, "any")])
def test_whatever_is_killed_each_event_runs_its_program_once(farm: Farm, seed: int, victims: str) -> None:
    """The knob becomes odd: once per event, whatever dies in between."""
    chance = random.Random(seed)
    together(farm, clients=("c1",))
    leader = "m1"
    for number in range(1, 2 * ROUNDS, 2):
        farm.turn("c1", number)
        if chance.random() < 0.5:  # near the firing itself, or anywhere on the way to it
            wait_for_value(farm, leader, number)
            time.sleep(chance.random() * 0.06)
        else:
            time.sleep(chance.random() * 0.5)
        what = chance.choice(["leader", "two", "bus"]) if victims == "any" else victims
        dead = kill(farm, leader, what, chance)
        if BUS in dead:
            farm.start_bus()
        if len(dead) > 1:  # the one that is left is no majority, and does nothing
            back = chance.choice(sorted(dead))
            dead.remove(back)
            farm.start_manager(back)
        farm.wait(f"it was run: {number}", lambda: f"odd {number}" in farm.notes("c1"))  # noqa: B023
        leader = end_event(farm, [name for name in THREE if name not in dead], number + 1)
        for name in dead - {BUS}:
            farm.start_manager(name)
        recover(farm, leader, number + 1)
        assert farm.notes("c1") == [f"odd {n}" for n in range(1, number + 1, 2)]


def kill(farm: Farm, leader: str, what: str, chance: random.Random) -> set[str]:
    """Kills the leader, the leader and then somebody else, or the bus. Returns who is dead."""
    if what == "bus":
        farm.kill(BUS)
        farm.wait("all have noticed", lambda: not any(farm.status(name)["bus"]["connected"] for name in THREE))
        return {BUS}
    farm.kill(leader)
    if what == "leader":
        return {leader}
    other = chance.choice([name for name in THREE if name != leader])
    time.sleep(chance.random() * 0.3)
    farm.kill(other)
    return {leader, other}


def end_event(farm: Farm, alive: list[str], number: int) -> str:
    """The knob becomes even; one of those alive leads, and knows it. Returns who leads."""
    heir = str(farm.wait("somebody leads", lambda: next(filter(farm.leads, alive), "")))
    farm.turn("c1", number)
    wait_for_value(farm, heir, number)
    farm.wait("it is over", lambda: state_of(farm, heir, "knob_odd") == "ok")
    return heir


def recover(farm: Farm, leader: str, number: int) -> None:
    """Waits until all three know all."""
    for name in THREE:
        farm.wait(f"{name} knows all", lambda: knows(farm, name, leader, ("c1",)))  # noqa: B023
        wait_for_value(farm, name, number)
        farm.wait(f"{name} knows that it is over", lambda: state_of(farm, name, "knob_odd") == "ok")  # noqa: B023


def wait_for_value(farm: Farm, manager: str, number: int) -> None:
    farm.wait(f"{manager} has {number}", lambda: farm.values(manager, "knob").get("c1") == number)
