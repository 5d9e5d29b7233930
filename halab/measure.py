"""The ways to die that are measured in this lab."""

from __future__ import annotations

from halab.files import Kind
from xenlab.deaths import Death

DEATHS = (
    Death("self-fence (cut off)", Kind(), "cut", ("heal",)),
    Death("loss of power, with storage", Kind(storage=True), "kill", ("start",)),
    Death("watchdog (client and guard stand still)", Kind(), "pause", ("kill", "start")),
    Death("loss of power, no fence device", Kind(), "kill", ("start",)),
    Death("loss of power, fence device", Kind(fence=True), "kill", ("start",), goal_s=10.0),
    Death("loss of power together with the leader", Kind(), "kill", ("start",), with_leader=True, goal_s=40.0),
)
