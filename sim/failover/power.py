"""Fence devices: a host hangs on one that cuts its power, says that it cannot, or says nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import vmmanager.events as events

if TYPE_CHECKING:
    from sim.failover.world import World

OFF_S = 2.0
STATUS_S = 0.5


@dataclass(slots=True)
class Device:
    """`state`: good; broken (it fails); lies (says off, and does nothing: outside of what can be held); dead (no answer)."""

    state: str = "good"


class Power:
    def __init__(self, world: World) -> None:
        self._world = world
        self.devices: dict[str, Device] = {}

    def device(self, name: str) -> Device:
        return self.devices.setdefault(name, Device())

    def run(self, ask: events.RunFence, answer: Callable[[float, Any], None]) -> None:
        """The agent of a manager. What it has begun it does, though the manager die."""
        device, machine = self.device(ask.device.name), self._world.hosts[ask.host].machine

        def ended(seconds: float, status: int | None, text: str = "") -> None:
            answer(seconds, events.FenceEnded(ask.host, ask.number, status, text))

        if device.state == "dead":
            ended(ask.device.timeout_s, None, f"it has not ended in {ask.device.timeout_s:g} s")
        elif device.state == "broken":
            ended(1.0, 1, "Unable to connect/login to fencing device")
        elif ask.action == "status":
            ended(STATUS_S, 0 if machine.on else 2)
        else:
            self._world.timeline.after(OFF_S / 2, lambda: machine.power_off("its power is cut by a fence device"))
            ended(OFF_S, 0)
