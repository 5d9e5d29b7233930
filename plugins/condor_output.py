"""What `condor_q -json` and `condor_status -json` print, read. Text in, values out; starts nothing. Raises ValueError.

Formats as of HTCondor 8.6 to 23 (tests/recorded/htcondor-*); numbers of states as in its manual, "Job ClassAd Attributes".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from common.batch import Node, NodeState
from common.config.values import quoted
from plugins.batch_tally import Job

ENVIRONMENT = "WantedEnvironment"
"""The attribute of a job that names its environment: `+WantedEnvironment = "sl4"` when it is submitted. There are no queues."""

JOB = (
    "ClusterId", "ProcId", "JobStatus", "JobUniverse", "QDate", "RequestCpus", "Owner", "AcctGroup", "RemoteHost", ENVIRONMENT,
)  # fmt: skip
SLOT = ("Machine", "Name", "State", "Activity", "Cpus", "TotalCpus", "PartitionableSlot")
IDLE, RUNNING, REMOVED, COMPLETED, HELD, TRANSFERRING, SUSPENDED = range(1, 8)
WITHOUT_A_NODE = (7, 9, 12)  # universes: scheduler, grid, local

Ad = Mapping[str, Any]


def ads(text: str) -> tuple[Ad, ...]:
    """An empty list of ads is printed as nothing at all by many versions."""
    if not text.strip():
        return ()
    try:
        told = json.loads(text)
    except ValueError as fault:
        raise ValueError(f"no JSON: {fault}") from None
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise ValueError("no list of ClassAds")
    return tuple(told)


def parse_jobs(text: str) -> tuple[Job, ...]:
    return tuple(_job(one) for one in ads(text) if one.get("JobUniverse", 5) not in WITHOUT_A_NODE)


def _job(one: Ad) -> Job:
    cluster, process, status = (one.get(name) for name in ("ClusterId", "ProcId", "JobStatus"))
    if not isinstance(cluster, int) or not isinstance(process, int) or status not in range(IDLE, SUSPENDED + 1):
        raise ValueError(f"job {quoted(str(cluster))}.{quoted(str(process))} in state {quoted(str(status))}")
    running = status in (RUNNING, TRANSFERRING, SUSPENDED)
    cores, since = one.get("RequestCpus", 1), one.get("QDate")
    return Job(
        id=f"{cluster}.{process}",
        queue=str(one.get(ENVIRONMENT, "")),
        waiting=status == IDLE,
        running=running,
        group=str(one.get("AcctGroup", "")),
        user=str(one.get("Owner", "")),
        cores=cores if isinstance(cores, int) else 1,  # an expression: only a match tells
        since=float(since) if isinstance(since, int) else None,
        nodes=(_machine(str(one.get("RemoteHost", ""))),) if running and one.get("RemoteHost") else (),
    )


def _machine(slot: str) -> str:
    """`slot1_2@node` as node."""
    return slot.rpartition("@")[2]


def nodes(present: Iterable[Ad], absent: Iterable[Ad]) -> tuple[Node, ...]:
    """The slots of a machine taken together. `absent`: machines that the collector remembers, and does not hear any more."""
    slots: dict[str, list[Ad]] = {}
    for one in present:
        if not isinstance(one.get("Machine"), str) or not isinstance(one.get("State"), str):
            raise ValueError(f"a slot without Machine and State: {quoted(str(one.get('Name')))}")
        slots.setdefault(one["Machine"], []).append(one)
    found = [_node(machine, each) for machine, each in slots.items()]
    lost = {str(one["Machine"]) for one in absent if one.get("Machine")} - set(slots)
    return tuple(sorted([*found, *(Node(machine, "down", note="absent") for machine in lost)], key=lambda one: one.name))


def _node(machine: str, slots: list[Ad]) -> Node:
    states = {str(one["State"]) for one in slots}
    jobs = sum(one["State"] in ("Claimed", "Preempting") for one in slots)
    cores = max((one["TotalCpus"] for one in slots if isinstance(one.get("TotalCpus"), int)), default=0)
    note = ", ".join(sorted({f"{one['State']}/{one.get('Activity', '')}" for one in slots}))
    return Node(machine, _state(states, jobs), jobs, cores, note)


def _state(states: set[str], jobs: int) -> NodeState:
    """`Owner`: its START says no to every job; whose doing that is nobody can tell."""
    if states - {"Owner", "Unclaimed", "Matched", "Claimed", "Preempting", "Backfill", "Drained"}:
        return "unknown"
    if "Drained" in states:
        return "draining" if jobs or "Matched" in states else "drained"
    if jobs or "Matched" in states:
        return "busy"
    return "joining" if states == {"Owner"} else "idle"
