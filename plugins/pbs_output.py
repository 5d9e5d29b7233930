"""What `qstat -f` and `pbsnodes -a` of OpenPBS and Torque print, read. Text in, values out; starts nothing. Raises ValueError.

OpenPBS has JSON (`-F json`), Torque the old text; both become the same attributes, `Resource_List.ncpus` for what JSON nests.
Formats as of OpenPBS 19 to 22 and Torque 6 (tests/recorded/pbs-*); states as in pbs_job_attributes(7B) and pbsnodes(8B).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from common.batch import Node, NodeState
from common.config.values import quoted
from plugins.batch_tally import Job

Attributes = Mapping[str, str]
RUNNING, WAITING = ("E", "R", "S", "U"), ("Q",)
STATES = (*RUNNING, *WAITING, "B", "C", "F", "H", "M", "T", "W", "X")
GONE = "vmherd gone: "  # before the comment of a node whose machine is no more
NOT_FOR_WANT_OF_A_NODE = re.compile(r"limit|not started|not enabled|depend|hold", re.IGNORECASE)
_STANDARD = ("gpus", "host", "mem", "mpiprocs", "ncpus", "ngpus", "ompthreads", "ppn", "procs", "vmem", "vnode")  # of a request
_LINE = re.compile(r"\s+([A-Za-z_][\w.]*) = (.*)")


def json_jobs(text: str) -> Mapping[str, Attributes]:
    return _json(text, "Jobs")


def json_nodes(text: str) -> Mapping[str, Attributes]:
    return _json(text, "nodes")


def _json(text: str, key: str) -> Mapping[str, Attributes]:
    try:
        told = json.loads(text, strict=False)  # a job's environment may hold tabs and line breaks
    except ValueError as fault:
        raise ValueError(f"no JSON: {fault}") from None
    if not isinstance(told, dict) or "pbs_version" not in told:
        raise ValueError("no pbs_version in it")
    found = told.get(key, {})  # left out where there is none
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError(f"{key} is no list of attributes")
    return {name: dict(_flat(one)) for name, one in found.items()}


def _flat(one: Mapping[str, object], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in one.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        elif isinstance(value, list):
            yield f"{before}{key}", ",".join(str(each) for each in value)
        else:
            yield f"{before}{key}", str(value)


def text_jobs(text: str) -> Mapping[str, Attributes]:
    """`Job Id: 1.server`, then its attributes; a line that goes on begins with a tab."""
    return _text(text, re.compile(r"Job Id:\s*(\S+)"))


def text_nodes(text: str) -> Mapping[str, Attributes]:
    return _text(text, re.compile(r"(\S+)"))


def _text(text: str, head: re.Pattern[str]) -> Mapping[str, Attributes]:
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.replace("\n\t", "").splitlines():
        if not line.strip():
            continue
        if named := head.fullmatch(line):
            current = found.setdefault(named[1], {})
        elif (pair := _LINE.fullmatch(line)) and found:
            current[pair[1]] = pair[2]
        else:
            raise ValueError(quoted(line))
    return found


def jobs(listed: Mapping[str, Attributes]) -> tuple[Job, ...]:
    """The parent of an array (`7[]`) is left out: its tasks are listed one by one."""
    return tuple(_job(id, one) for id, one in listed.items() if "[]" not in id)


def _job(id: str, one: Attributes) -> Job:
    state = one.get("job_state", "")
    if state not in STATES or "queue" not in one:
        raise ValueError(f"job {id} in state {quoted(state)} of queue {quoted(one.get('queue', ''))}")
    held = state in WAITING and NOT_FOR_WANT_OF_A_NODE.search(one.get("comment", "")) is not None
    request = one.get("Resource_List.select") or one.get("Resource_List.nodes") or ""
    return Job(
        id=id,
        queue=one["queue"],
        waiting=state in WAITING and not held,
        running=state in RUNNING,
        feature=_feature(request),
        group=one.get("egroup", ""),
        user=one.get("euser") or one.get("Job_Owner", "").partition("@")[0],
        cores=_cores(one.get("Resource_List.ncpus", ""), request),
        since=_seconds(one.get("qtime") or one.get("ctime") or ""),
        nodes=tuple(dict.fromkeys(hosts(one.get("exec_host", "")))) if state in RUNNING else (),
    )


def rerunnable(one: Attributes) -> bool:
    return one.get("Rerunable", "True") == "True"


def hosts(text: str) -> Iterator[str]:
    """`a/0*2+b/1` as a, b."""
    yield from (part.partition("/")[0] for part in text.split("+") if part)


def _feature(request: str) -> str:
    """What a request asks of a node beyond its size: `2:ppn=4:sl4`, `1:ncpus=2:os=sl4` as sl4, os=sl4."""
    words = (word for chunk in request.split("+") for word in chunk.split(":"))
    return ",".join(dict.fromkeys(word for word in words if not word.isdigit() and word.partition("=")[0] not in _STANDARD))


def _cores(ncpus: str, request: str) -> int:
    if ncpus.isdigit():
        return int(ncpus)
    total = 0
    for chunk in request.split("+"):
        words = chunk.split(":")
        each = next((word.partition("=")[2] for word in words if word.startswith(("ppn=", "ncpus="))), "1")
        total += (int(words[0]) if words[0].isdigit() else 1) * (int(each) if each.isdigit() else 1)
    return total


def _seconds(text: str) -> float | None:
    """The server's local time, as ctime(3) writes it."""
    if not text:
        return None
    try:
        return time.mktime(time.strptime(text))
    except (ValueError, OverflowError):
        raise ValueError(f"time {quoted(text)}") from None


@dataclass(frozen=True, slots=True)
class Listed:
    """A node of `pbsnodes -a`. `jobs`: on it now."""

    name: str
    flags: frozenset[str]
    jobs: frozenset[str]
    cores: int
    comment: str

    @property
    def offline(self) -> bool:
        return "offline" in self.flags

    @property
    def gone(self) -> bool:
        return self.offline and self.comment.startswith(GONE)


def nodes(listed: Mapping[str, Attributes]) -> tuple[Listed, ...]:
    """A server without any node is none."""
    if not listed:
        raise ValueError("no node")
    return tuple(_listed(name, one) for name, one in sorted(listed.items()))


def _listed(name: str, one: Attributes) -> Listed:
    if not one.get("state"):
        raise ValueError(f"node {name} without a state: {quoted(one.get('Error', ''))}")
    cores = one.get("resources_available.ncpus") or one.get("np") or one.get("pcpus") or "0"
    there = frozenset(_job_on(word.strip()) for word in one.get("jobs", "").split(",") if word.strip())
    return Listed(
        name,
        frozenset(flag.strip() for flag in one["state"].split(",")),
        there,
        int(cores) if cores.isdigit() else 0,
        one.get("comment") or one.get("note") or "",
    )


def _job_on(word: str) -> str:
    """OpenPBS: `7.server/0`; Torque: `0/7.server`, `0-3/7.server`."""
    first, _, second = word.partition("/")
    return second if second and first.replace("-", "").isdigit() else first


_KNOWN = frozenset(("busy", "free", "job-busy", "job-exclusive", "job-sharing", "resv-exclusive", "exclusive"))
_DRAIN = frozenset(("maintenance", "offline", "offline_by_mom"))
_COMING = frozenset(("initializing", "provisioning", "wait-provisioning"))
_OFF = frozenset(("down", "powered-off", "sleep", "stale", "state-unknown", "unresolvable", "UNKNOWN"))


def node(one: Listed) -> Node:
    flags = ",".join(sorted(one.flags))
    return Node(one.name, _state(one), len(one.jobs), one.cores, f"{flags}: {one.comment}" if one.comment else flags)


def _state(one: Listed) -> NodeState:
    if one.flags - _KNOWN - _DRAIN - _COMING - _OFF:
        return "unknown"
    if one.flags & _OFF or one.gone:
        return "down"
    if one.flags & _DRAIN:
        return "draining" if one.jobs else "drained"
    if one.flags & _COMING:
        return "joining"
    return "busy" if one.jobs else "idle"
