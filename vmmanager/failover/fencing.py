"""Power fencing: the levels of a host one after the other, off, and where that fails whether it is off already. Pure.

What an agent is told and what its exit status means: FenceAgentAPI (ClusterLabs/fence-agents, doc/FenceAgentAPI.md). `off`: 0
is confirmed, all else is not. `status`: 0 on, 2 off, 1 not to be reached. Running out of time proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from common.config.model import FenceConfig

Action = Literal["off", "status"]
STATUS_OFF = 2


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be run now: one agent, with one action."""

    device: FenceConfig
    action: Action


@dataclass(slots=True)
class Run:
    """One attempt to cut the power of a host. `by`: who wants it. `said`: what came of each step."""

    host: str
    number: int
    by: str
    began: float
    levels: tuple[FenceConfig, ...]
    level: int = 0
    action: Action = "off"
    said: list[str] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)  # vmctl that waits for the end

    @property
    def step(self) -> Step:
        return Step(self.levels[self.level], self.action)

    def ended(self, status: int | None, text: str) -> Literal["off", "failed", ""]:
        """One step has ended: power is off, all levels have failed, or there is a next step. `status` None: no exit status."""
        device, action = self.levels[self.level].name, self.action
        if (action == "off" and status == 0) or (action == "status" and status == STATUS_OFF):
            self.said.append(f"{device}: {'power is off' if action == 'off' else 'power is off already'}")
            return "off"
        self.said.append(f"{device}: {action} {_failure(action, status)}{f': {text}' if text else ''}")
        if action == "off":
            self.action = "status"  # a device that is asked to cut what is off already may call that a failure
            return ""
        self.level, self.action = self.level + 1, "off"
        return "failed" if self.level >= len(self.levels) else ""


def _failure(action: Action, status: int | None) -> str:
    if status is None:
        return "has not ended well"
    return "says that it is on" if action == "status" and status == 0 else f"failed (exit status {status})"


def levels(host: str, devices: tuple[FenceConfig, ...]) -> tuple[FenceConfig, ...]:
    """The devices for this host, first level first. A pattern `xen*` also means the short name."""
    short = host.partition(".")[0]
    return tuple(
        one
        for one in devices
        if any(fnmatchcase(host, each) or fnmatchcase(short, each) or each == short for each in one.hosts)
    )


def options(host: str, device: FenceConfig, action: Action, secrets: dict[str, str]) -> dict[str, str]:
    """What the agent reads on its standard input, as key=value lines."""
    short = host.partition(".")[0]
    given = {key: value.replace("{host}", host).replace("{short}", short) for key, value in device.options.items()}
    plug = device.plugs.get(host, device.plugs.get(short, ""))
    if plug:
        given["port"] = plug
    return {**given, **secrets, "action": action, "nodename": host}
