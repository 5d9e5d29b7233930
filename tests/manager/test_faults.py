"""Managers, clients and the bus die and come back at random. During it: one leader at most, no command run twice. After it: one
leader, all managers agree, and nothing that an operator was told to be done is missing."""

from __future__ import annotations

import random

import pytest

from common.config.load import parse_triggers
from tests.manager.world import EPOCH_S, World

STEPS = 40
SEEDS = 12
DEEDS = ("kill manager", "start manager", "kill client", "start client", "bus", "load", "silence", "silence", "disk", "wait")
RULES = parse_triggers(
    """
[high]
each = mailers
expr = { client.load > 5 }
cmd = { sender.send_execute("log", {"text": "high"}) }
on_update_check = yes
fire = once
[look]
expr = { len(manager.clients) > 0 }
cmd = { sender.send_fetch_property() }
ticks = 5
""",
    "rules",
)


class Chaos:
    """One farm under one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.world.add_manager("m1", RULES)
        self.world.wait(1)
        self.world.add_manager("m2", RULES)
        self.world.add_manager("m3", RULES)
        for name in ("xen1", "xen2", "xen3"):
            self.world.add_client(name, {"load": 1}, groups=("mailers",))
        self.world.add_client("web1", groups=("web",))
        self.world.wait(7)
        self.silences: set[str] = set()
        self.epoch = 0  # the highest of any reign
        self.bus_is_up = True

    def step(self) -> None:
        world, pick = self.world, self.random.choice
        managers = sorted(world.managers)
        client = world.clients[pick(sorted(world.clients))]
        deed = pick(DEEDS)
        manager = pick(managers)
        if deed == "kill manager" and world.managers[manager].core is not None:
            world.kill_manager(manager)
        elif deed == "start manager" and world.managers[manager].core is None and self.bus_is_up:
            world.start_manager(manager)
        elif deed == "kill client" and client.host is not None:
            world.kill_client(client.config.name)
        elif deed == "start client" and client.host is None and self.bus_is_up:
            world.start_client(client.config.name)
        elif deed == "bus":
            self.toggle_bus()
        elif deed == "load":
            client.values["load"] = pick([1, 9])
        elif deed == "silence":
            self.silence(manager)
        elif deed == "disk":
            world.managers[manager].disk_error = pick(["", "disk full"])
        world.wait(self.random.uniform(0, 12))

    def toggle_bus(self) -> None:
        if self.bus_is_up:
            self.world.stop_bus()
        else:
            self.world.start_bus()
        self.bus_is_up = not self.bus_is_up

    def silence(self, manager: str) -> None:
        if self.world.managers[manager].core is None:
            return
        why = f"w{len(self.silences)}-{self.random.random()}"
        call = self.world.ask(manager, "silence", {"what": "group:web", "why": why, "until": EPOCH_S + 1e6})
        replies = self.world.replies.get(call, [])
        if replies and replies[-1].get("ok"):
            self.silences.add(why)

    def check_always(self) -> None:
        leading = [p for p in self.world.managers.values() if p.core is not None and p.core.leadership.leading]
        assert len(leading) <= 1, [p.config.name for p in leading]
        for name, client in self.world.clients.items():
            assert len(client.runs) == len(set(client.runs)), (name, client.runs)
        if leading:
            assert leading[0].core is not None
            self.epoch = max(self.epoch, leading[0].core.context.epoch)

    def calm(self) -> None:
        if not self.bus_is_up:
            self.toggle_bus()
        for name, process in self.world.managers.items():
            process.disk_error = ""
            if process.core is None:
                self.world.start_manager(name)
        for name, client in self.world.clients.items():
            if client.host is None:
                self.world.start_client(name)
        self.world.wait(60)

    def check_after(self) -> None:
        world = self.world
        assert world.leader() in world.managers
        shown = []
        for name in sorted(world.managers):
            core = world.managers[name].core
            assert core is not None
            assert {c.name: c.status for c in core.context.farm.clients.values()} == dict.fromkeys(world.clients, "connected")
            assert sorted(core.context.farm.managers) == sorted(world.managers)
            assert core.context.farm.leader == world.leader()
            rows = world.replies[world.ask(name, "silences")][-1]["result"]
            shown.append({row["why"] for row in rows})
            assert core.context.epoch >= self.epoch
        assert shown[0] == shown[1] == shown[2]
        assert self.silences <= shown[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_faults_then_calm(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(STEPS):
        chaos.step()
        chaos.check_always()
    chaos.calm()
    chaos.check_always()
    chaos.check_after()


def test_a_few_faults_then_calm() -> None:
    chaos = Chaos(1000)
    for _ in range(8):
        chaos.step()
        chaos.check_always()
    chaos.calm()
    chaos.check_after()
