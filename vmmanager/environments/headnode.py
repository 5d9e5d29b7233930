"""What the batch system says, read from the properties of the client that can ask it. Pure.

No answer is unknown, never empty or idle: where a property is missing, failed, stale or not understood, there is a
reason instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from common.batch import JOBS, NODES, Node, NodeState
from common.config.model import EnvironmentConfig, EnvironmentsConfig
from common.protocol import Value
from vmmanager.environments.demand import Demand
from vmmanager.state import Client, Farm

STATES = frozenset(get_args(NodeState))
_WORD = re.compile(r"[A-Za-z0-9_.:-]+")
NOBODY = "no client of `head` in environments.ini has been heard"


@dataclass(frozen=True, slots=True)
class Heard:
    """`why`: why the jobs are not known, `nodes_why`: why the nodes are not; empty where they are. Times: wall clock."""

    head: str = ""
    why: str = NOBODY
    demand: Mapping[str, Demand] = field(default_factory=dict)
    oldest_s: Mapping[str, float] = field(default_factory=dict)
    unclaimed: int = 0  # waiting jobs that are no environment's
    nodes_why: str = NOBODY
    nodes: Mapping[str, Node] = field(default_factory=dict)
    nodes_at: float = 0.0

    @property
    def silent(self) -> str:
        return self.why or self.nodes_why


def chosen(config: EnvironmentsConfig, farm: Farm) -> Client | None:
    """The first that is on the bus and has a batch system to ask; else the first that is known."""
    known = [farm.clients[name] for name in config.head if name in farm.clients]
    return next((client for client in known if client.address and JOBS in client.properties), known[0] if known else None)


class Listening:
    """Parses each reading once."""

    def __init__(self) -> None:
        self._jobs: tuple[object, object, Any] = (None, None, None)
        self._nodes: tuple[object, Any] = (None, None)

    def heard(self, config: EnvironmentsConfig, farm: Farm, factor: float, now: float) -> Heard:
        client = chosen(config, farm)
        if client is None:
            return Heard()
        jobs_why, nodes_why = _why(client, JOBS, factor, now), _why(client, NODES, factor, now)
        found = Heard(client.name, jobs_why, nodes_why=nodes_why)
        if not jobs_why:
            reading = client.properties[JOBS].reading
            if self._jobs[0] is not reading or self._jobs[1] is not config:
                self._jobs = (reading, config, counted(reading.value, config))
            counts = self._jobs[2]
            if counts is None:
                found = replace(found, why=f"{client.name} tells {JOBS} in a form that is not understood")
            else:
                found = replace(found, demand=counts[0], oldest_s=counts[1], unclaimed=counts[2])
        if not nodes_why:
            known = client.properties[NODES]
            if self._nodes[0] is not known.reading:
                self._nodes = (known.reading, parsed(known.reading.value))
            if self._nodes[1] is None:
                found = replace(found, nodes_why=f"{client.name} tells {NODES} in a form that is not understood")
            else:
                found = replace(found, nodes=self._nodes[1], nodes_at=known.read_at)
        return found


def _why(client: Client, name: str, factor: float, now: float) -> str:
    known = client.properties.get(name)
    if not client.address:
        return f"{client.name}, which has the batch system, is not on the bus"
    if known is None:
        return f"{client.name} has no property {name} (engine of [batch] in its vmclient.ini)"
    if known.reading.error:
        return f"{client.name}: {name}: {known.reading.error}"
    if known.unknown(now, factor):
        return f"{client.name}: {name} was read {max(0.0, now - known.read_at):.0f} s ago, which is too long"
    return ""


def parsed(value: Value) -> dict[str, Node] | None:
    """Nodes by name. None where any of them is not understood: better unknown than half known."""
    if not isinstance(value, list):
        return None
    nodes: dict[str, Node] = {}
    for each in value:
        if not isinstance(each, dict):
            return None
        name, state, jobs, cores = each.get("name"), each.get("state"), each.get("jobs", 0), each.get("cores", 0)
        if not isinstance(name, str) or not name or state not in STATES or not _count(jobs) or not _count(cores):
            return None
        nodes[name] = Node(name, state, jobs, cores, str(each.get("note") or ""))  # type: ignore[arg-type]
    return nodes


def counted(value: Value, config: EnvironmentsConfig) -> tuple[dict[str, Demand], dict[str, float], int] | None:
    """(demand, oldest wait, waiting jobs that are nobody's), in jobs of one processor; None where it is not understood."""
    if not isinstance(value, list):
        return None
    waiting, running = (
        dict.fromkeys((one.name for one in config.defined), 0),
        dict.fromkeys((one.name for one in config.defined), 0),
    )
    oldest = dict.fromkeys(waiting, 0.0)
    unclaimed = 0
    claims = sorted(config.defined, key=lambda one: -_specific(one))
    known: dict[tuple[str, str, str], str] = {}
    for each in value:
        if not isinstance(each, dict) or not all(_count(each.get(key, 0)) for key in COUNTS):
            return None
        key = (str(each.get("queue") or ""), str(each.get("feature") or ""), str(each.get("group") or ""))
        if key not in known:
            known[key] = claimant(claims, *key)
        name = known[key]
        waits, runs = (max(_number(each, kind), _number(each, f"{kind}_cores")) for kind in ("waiting", "running"))
        if not name:
            unclaimed += waits
            continue
        waiting[name] += waits
        running[name] += runs
        wait_s = each.get("oldest_wait_s")
        oldest[name] = max(oldest[name], float(wait_s) if isinstance(wait_s, (int, float)) else 0.0)
    return {name: Demand(waiting[name], running[name]) for name in waiting}, oldest, unclaimed


COUNTS = ("waiting", "running", "waiting_cores", "running_cores")


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(each: Mapping[str, Any], key: str) -> int:
    value = each.get(key, 0)
    return value if isinstance(value, int) else 0


def _specific(one: EnvironmentConfig) -> int:
    return bool(one.queue) + bool(one.feature) + bool(one.user_group)


def claimant(claims: Iterable[EnvironmentConfig], queue: str, feature: str, group: str) -> str:
    """The environment whose jobs these are: the one that says most about its jobs, of those that fit."""
    asked = set(_WORD.findall(feature))
    for one in claims:
        if one.queue and queue not in one.queue:
            continue
        if one.feature and one.feature != feature and one.feature not in asked:
            continue
        if one.user_group and group not in one.user_group:
            continue
        return one.name
    return ""
