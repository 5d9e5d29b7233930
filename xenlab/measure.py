"""The ways to die that are measured in this lab."""

from __future__ import annotations

from xenlab.deaths import Death
from xenlab.kinds import Kind

PLAIN = Kind(managers=3)
FENCED = Kind(managers=3, fences=True)

DEATHS = (
    Death("self-fence (cut off)", PLAIN, "cut", ("heal", "start")),
    Death("watchdog (client and guard stand still)", PLAIN, "stand-still", ("start",)),
    Death("loss of power, no fence device", PLAIN, "kill", ("start",)),
    Death("loss of power together with the leader", PLAIN, "kill", ("start",), with_leader=True, goal_s=40.0),
    Death("frozen, fence device", FENCED, "freeze", ("start",), goal_s=10.0),
)
