"""What `squeue` and `scontrol` print, read. Text in, values out; starts nothing. Raises ValueError with the line.

Not their JSON: that is 3 KB a job against 60 bytes, is missing from many sites' builds, and scontrol has none before 23.02
(docs/design/0051). Formats as of Slurm 22.05 (tests/recorded/slurm-*.txt), unchanged since Slurm 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from common.batch import Node, NodeState
from common.config.values import quoted
from plugins.batch_tally import Job

SEPARATOR = "\x1f"
FORMAT = SEPARATOR.join(("%i", "%T", "%P", "%f", "%g", "%u", "%C", "%V", "%r", "%N"))
ENVIRONMENT = ("SLURM_TIME_FORMAT=%s", "SLURM_BITSTR_LEN=0")  # seconds of the epoch; all of an array's tasks
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
PENDING = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
NOT_FOR_WANT_OF_A_NODE = (  # squeue(1), JOB REASON CODES: with these a job would not start on a new node either
    "Account",
    "Assoc",
    "BeginTime",
    "Dependency",
    "Invalid",
    "JobArrayTaskLimit",
    "JobHeld",
    "Licenses",
    "MaxRequeue",
    "PartitionDown",
    "PartitionInactive",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOS",
    "RequeueHold",
    "SpecialExit",
    "TimeLimit",
)
HOSTS_MAX = 100_000  # of one bracketed list
_NODE = re.compile(
    r"NodeName=(?P<name>\S+) .*?CPUAlloc=(?P<alloc>\d+).*? CPUTot=(?P<cores>\d+) .*? State=(?P<state>[A-Z_+*$~#!%@^-]+) "
)
_REASON = re.compile(r" Reason=(.*?)(?: \[[^\[\]]*@[^\[\]]*\])?(?: Comment=.*)?$")
_AT = re.compile(r" \[[^\[\]@]*@(\d+)\]")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Listed:
    """A node of `scontrol --oneliner show node`. `flags`: base state and what is added to it."""

    name: str
    flags: frozenset[str]
    cores: int
    allocated: int
    reason: str
    reason_at: float | None

    @property
    def down(self) -> bool:
        return "DOWN" in self.flags

    @property
    def draining(self) -> bool:
        return "DRAIN" in self.flags


def parse_jobs(text: str) -> tuple[Job, ...]:
    """Its first line names the columns: an answer without is none, and no empty queue."""
    head, *lines = _lines(text)
    if not head.startswith(f"JOBID{SEPARATOR}"):
        raise ValueError(quoted(head))
    return tuple(_job(line) for line in lines)


def _lines(text: str) -> list[str]:
    """All are whole, and there is one at least."""
    if not text.endswith("\n"):
        raise ValueError(f"it ends in the middle: {quoted(text[-50:])}")
    return [line for line in text.split("\n") if line] or [""]


def _job(line: str) -> Job:
    parts = line.split(SEPARATOR)
    if len(parts) != FORMAT.count(SEPARATOR) + 1:
        raise ValueError(quoted(line))
    number, state, queues, feature, group, user, cores, submitted, reason, nodes = parts
    try:
        there = tuple(hosts(nodes)) if nodes and state not in PENDING else ()
        pending = state == "PENDING"
        return Job(
            id=number,
            queue=queues.split(",")[0],
            waiting=pending and not reason.startswith(NOT_FOR_WANT_OF_A_NODE),
            running=state not in PENDING and state not in ENDED,
            feature="" if feature == "(null)" else feature,
            group=group,
            user=user,
            cores=int(cores),
            count=_tasks(number) if pending else 1,
            since=float(submitted) if submitted.isdigit() else None,
            nodes=there,
        )
    except ValueError:
        raise ValueError(quoted(line)) from None


def _tasks(number: str) -> int:
    """`301_[1-5,7,9-20:2%3]`: what is left of an array."""
    found = re.search(r"\[([^\]%]*)", number)
    return sum(1 for _ in _numbers(found[1])) if found else 1


def _numbers(text: str) -> Iterator[str]:
    """`01-03,7` as 01, 02, 03, 7."""
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if not found:
            raise ValueError(quoted(text))
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        if step < 1 or last - first > HOSTS_MAX:
            raise ValueError(quoted(text))
        yield from (str(number).zfill(len(found[1])) for number in range(first, last + 1, step))


def hosts(text: str) -> Iterator[str]:
    """`a[01-02],b` as a01, a02, b."""
    for part in re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text):
        head, bracket, rest = part.partition("[")
        inside, closed, tail = rest.partition("]")
        if not bracket:
            yield part
        elif not closed:
            raise ValueError(quoted(text))
        else:
            yield from (f"{head}{number}{end}" for number in _numbers(inside) for end in (hosts(tail) if tail else ("",)))


def parse_nodes(text: str) -> tuple[Listed, ...]:
    """A Slurm without any node is none."""
    return tuple(_listed(line) for line in _lines(text))


def _listed(line: str) -> Listed:
    found = _NODE.match(line)
    if not found:
        raise ValueError(quoted(line))
    said, at = _REASON.search(line.rstrip()), _AT.search(line)
    return Listed(
        found["name"],
        frozenset(_flags(found["state"])),
        int(found["cores"]),
        int(found["alloc"]),
        said[1] if said else "",
        float(at[1]) if at else None,
    )


def _flags(state: str) -> Iterator[str]:
    """`IDLE+DRAIN`, and in older versions `IDLE*+DRAIN`: the star says that it does not respond."""
    for word in state.split("+"):
        yield word.rstrip("*$~#!%@^-")
    if "*" in state:
        yield "NOT_RESPONDING"


def node(one: Listed, jobs: int) -> Node:
    """`jobs`: on it, by the list of jobs, read before this."""
    return Node(one.name, _state(one, jobs), jobs, one.cores, _note(one))


def _note(one: Listed) -> str:
    flags = "+".join(sorted(one.flags, key=lambda flag: (flag not in _BASES, flag))).lower()
    return f"{flags}: {one.reason}" if one.reason else flags


_BASES = ("ALLOCATED", "DOWN", "ERROR", "FUTURE", "IDLE", "MIXED", "UNKNOWN")
_COMING = ("POWERING_UP", "POWER_UP", "REBOOT", "REBOOT_ISSUED", "REBOOT_REQUESTED", "UNKNOWN")
_OFF = ("DOWN", "ERROR", "FUTURE", "POWERED_DOWN", "POWERING_DOWN", "POWER_DOWN")


def _state(one: Listed, jobs: int) -> NodeState:
    flags = one.flags
    if not flags & set(_BASES) or "INVALID_REG" in flags:
        return "unknown"
    working = jobs > 0 or one.allocated > 0 or bool(flags & {"ALLOCATED", "MIXED", "COMPLETING"})
    if flags & set(_OFF):
        return "down"
    if flags & {"DRAIN", "FAIL"}:
        return "draining" if working else "drained"
    if working:
        return "busy"
    if flags & set(_COMING) or "NOT_RESPONDING" in flags:  # just back, or hung: after SlurmdTimeout it will be down
        return "joining"
    return "idle"
