"""What `qstat -xml` of Grid Engine prints, read. Text in, values out; starts nothing. Raises ValueError.

Formats as of Son of Grid Engine 8.1.9 (tests/recorded/sge-*.txt), the same since 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

from common.batch import Node, NodeState
from common.config.values import quoted
from plugins.batch_tally import Job

ENVIRONMENT = ("TZ=UTC",)  # its times have no zone
ROOT = "job_info"
TAKES_NONE = frozenset(
    "dDCsSEco"
)  # qstat(1), states of a queue: disabled, by calendar, suspended, in error, ambiguous, orphaned
TASKS_MAX = 10_000_000
_TASKS = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


@dataclass(frozen=True, slots=True)
class Instance:
    """One queue on one host, as in `sl4@xen1`."""

    queue: str
    host: str
    state: str  # its letters
    slots: int
    jobs: frozenset[str]

    @property
    def name(self) -> str:
        return f"{self.queue}@{self.host}"


def parse_jobs(text: str, not_yet: frozenset[str] = frozenset()) -> tuple[Job, ...]:
    """Of `qstat -r`. `not_yet`: jobs that may not start before some time, which the listing does not tell apart."""
    return tuple(_job(one, not_yet) for one in _root(text).iter("job_list"))


def parse_ids(text: str) -> frozenset[str]:
    return frozenset(_text(one, "JB_job_number") for one in _root(text).iter("job_list"))


def _job(one: ElementTree.Element, not_yet: frozenset[str]) -> Job:
    number, state = _text(one, "JB_job_number"), _text(one, "state")
    queue, _, host = (one.findtext("queue_name") or "").partition("@")
    waits = not queue
    submitted = one.findtext("JB_submission_time")
    return Job(
        id=number,
        queue=queue or _wanted_queue(one),
        waiting=waits and not set(state) & set("hE") and number not in not_yet,
        running=not waits,
        feature="&".join(sorted(_features(one))),
        user=_text(one, "JB_owner"),
        cores=_whole(one, "slots"),
        count=_tasks(one.findtext("tasks") or "") if waits else 1,
        since=_time(submitted) if submitted else None,
        nodes=(host,) if host else (),
    )


def _wanted_queue(one: ElementTree.Element) -> str:
    """The first that it asks for by name; `*@xen1` is none."""
    wanted = (asked.partition("@")[0] for each in one.iterfind("hard_req_queue") for asked in (each.text or "").split(","))
    return next((queue for queue in wanted if queue and not set(queue) & set("*?[]!|&()")), "")


def _features(one: ElementTree.Element) -> Iterator[str]:
    """What it asks of a host that a host has or has not; amounts are no features."""
    for asked in one.iterfind("hard_request"):
        if asked.text == "TRUE":
            yield asked.get("name", "")


def _tasks(text: str) -> int:
    """`1-9:2,12`: what is left of an array."""
    total = 0
    for part in text.split(",") if text else ():
        found = _TASKS.fullmatch(part.strip())
        if not found:
            raise ValueError(f"tasks {quoted(text)}")
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        total += max(0, last - first) // max(1, step) + 1
    if total > TASKS_MAX:
        raise ValueError(f"tasks {quoted(text)}")
    return total or 1


def parse_instances(text: str) -> tuple[Instance, ...]:
    """Of `qstat -f`."""
    return tuple(_instance(one) for one in _root(text).iter("Queue-List"))


def _instance(one: ElementTree.Element) -> Instance:
    name = _text(one, "name")
    queue, at, host = name.partition("@")
    if not at:
        raise ValueError(f"queue {quoted(name)}")
    jobs = frozenset(_task_id(job) for job in one.iterfind("job_list"))
    return Instance(queue, host, one.findtext("state") or "", _whole(one, "slots_total"), jobs)


def _task_id(job: ElementTree.Element) -> str:
    return ".".join(filter(None, (_text(job, "JB_job_number"), job.findtext("tasks"))))


def nodes(instances: Iterable[Instance]) -> tuple[Node, ...]:
    """A host is a node, with all the queues that it serves."""
    hosts: dict[str, list[Instance]] = {}
    for one in instances:
        hosts.setdefault(one.host, []).append(one)
    return tuple(_node(host, queues) for host, queues in sorted(hosts.items()))


def _node(host: str, queues: list[Instance]) -> Node:
    jobs = len(frozenset().union(*(one.jobs for one in queues)))
    note = ", ".join(f"{one.queue}: {one.state}" for one in queues if one.state)
    return Node(host, _state(queues, jobs), jobs, max(one.slots for one in queues), note)


def _state(queues: list[Instance], jobs: int) -> NodeState:
    if all("u" in one.state for one in queues):
        return "down"
    if all(set(one.state) & TAKES_NONE for one in queues):
        return "draining" if jobs else "drained"
    return "busy" if jobs else "idle"


def _root(text: str) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as fault:
        raise ValueError(f"{fault}: {quoted(text[-50:])}") from None
    if root.tag != ROOT:
        raise ValueError(f"it begins with <{root.tag}>, not <{ROOT}>")
    return root


def _text(one: ElementTree.Element, name: str) -> str:
    found = one.findtext(name)
    if not found:
        raise ValueError(f"a <{one.tag}> without <{name}>")
    return found


def _whole(one: ElementTree.Element, name: str) -> int:
    text = _text(one, name)
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{name} is {quoted(text)}")
    return int(text)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
