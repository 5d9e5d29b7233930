"""What `qstat -xml` and `qhost -xml` of Grid Engine print, read. Text in, values out; starts nothing. Raises ValueError.

Formats as of Son of Grid Engine 8.1.9 (tests/recorded/sge-*.xml); states as in qstat(1).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from common.batch import Node, NodeState
from common.config.values import quoted
from plugins.batch_tally import Job

GLOBAL = "global"  # what `qhost` calls the sum of all hosts
TASKS_MAX = 1_000_000  # of one array
DISABLED, SUSPENDED, UNREACHABLE, ERROR = "d", "s", "u", "E"
_STATE = re.compile(r"[A-Za-z]*")
_TASKS = re.compile(r"(\d+)(?:-(\d+):(\d+))?")


@dataclass(frozen=True, slots=True)
class Listed:
    """A host of `qhost -q -j`. `states`: of each queue that has it. `jobs`: on it now."""

    name: str
    cores: int
    answers: bool
    states: dict[str, str]
    jobs: frozenset[str]

    def all(self, flag: str) -> bool:
        return bool(self.states) and all(flag in state for state in self.states.values())

    @property
    def gone(self) -> bool:
        """As we mark it: nobody else disables and suspends the same queues."""
        return self.all(DISABLED) and self.all(SUSPENDED)


def parse_jobs(text: str) -> tuple[Job, ...]:
    """Of `qstat -xml -r -u *`."""
    root = _root(text, "job_info")
    return tuple(_job(one) for part in ("queue_info", "job_info") for one in root.iterfind(f"{part}/job_list"))


def parse_ids(text: str) -> frozenset[str]:
    """Of any `qstat -xml`: the jobs in it. `-s ha`: those whose time has not come."""
    return frozenset(_text(one, "JB_job_number") for one in _root(text, "job_info").iterfind("*/job_list"))


def _job(one: ElementTree.Element) -> Job:
    number, state, where = _text(one, "JB_job_number"), _text(one, "state"), _text(one, "queue_name", "")
    if not number.isdigit() or not _STATE.fullmatch(state):
        raise ValueError(f"job {quoted(number)} in state {quoted(state)}")
    running = bool(where)
    queue, _, node = where.partition("@")
    asked = _text(one, "hard_req_queue", "") or _text(one, "master_hard_req_queue", "")
    tasks = _text(one, "tasks", "")
    return Job(
        id=f"{number}.{tasks}" if running and tasks else number,
        queue=queue if running else asked.split(",")[0].partition("@")[0],
        waiting=not running and not set(state) & set("hEdsST"),
        running=running,
        feature=",".join(sorted(f"{each.get('name')}={each.text or ''}" for each in one.iterfind("hard_request"))),
        user=_text(one, "JB_owner"),
        cores=_whole(_text(one, "slots")),
        count=1 if running or not tasks else _count(tasks),
        since=_seconds(_text(one, "JB_submission_time", "") or _text(one, "JAT_start_time", "")),
        nodes=(node,) if node else (),
    )


def _count(tasks: str) -> int:
    """`1-5:1`, `3,7-11:2`: what is left of an array."""
    total = 0
    for part in tasks.split(","):
        found = _TASKS.fullmatch(part)
        if not found:
            raise ValueError(f"tasks {quoted(tasks)}")
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        total += len(range(first, last + 1, max(1, step)))
    if total > TASKS_MAX:
        raise ValueError(f"tasks {quoted(tasks)}")
    return total


def _seconds(text: str) -> float | None:
    """qstat writes the local time of where it runs, without saying so."""
    if not text:
        return None
    try:
        return time.mktime(time.strptime(text.partition(".")[0], "%Y-%m-%dT%H:%M:%S"))
    except (ValueError, OverflowError):
        raise ValueError(f"time {quoted(text)}") from None


def parse_nodes(text: str) -> tuple[Listed, ...]:
    """Of `qhost -xml -j -q`."""
    hosts = _root(text, "qhost").iterfind("host")
    return tuple(_listed(one) for one in hosts if one.get("name") != GLOBAL)


def _listed(one: ElementTree.Element) -> Listed:
    values = {each.get("name"): each.text or "" for each in one.iterfind("hostvalue")}
    name = one.get("name") or ""
    if not name or not {"num_proc", "load_avg"} <= set(values):
        raise ValueError(f"host {quoted(name)} without num_proc and load_avg")
    slots = sum(_whole(text) for text in _queue_values(one, "slots"))
    states = {queue.get("name") or "": next(_values(queue, "state_string"), "") for queue in one.iterfind("queue")}
    for state in states.values():
        if not _STATE.fullmatch(state):
            raise ValueError(f"host {quoted(name)}: state {quoted(state)}")
    answers = values["load_avg"] != "-" and values["num_proc"] != "-"
    return Listed(name, slots, answers, states, frozenset(_jobs(one)))


def _jobs(one: ElementTree.Element) -> Iterator[str]:
    for job in one.iterfind("job"):
        values = {each.get("name"): each.text or "" for each in job.iterfind("jobvalue")}
        yield f"{job.get('name')}.{values['taskid']}" if "taskid" in values else job.get("name") or ""


def _queue_values(one: ElementTree.Element, name: str) -> Iterator[str]:
    for queue in one.iterfind("queue"):
        yield from _values(queue, name)


def _values(queue: ElementTree.Element, name: str) -> Iterator[str]:
    yield from (each.text or "" for each in queue.iterfind("queuevalue") if each.get("name") == name)


def _root(text: str, name: str) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as fault:
        raise ValueError(f"no XML: {fault}") from None
    if root.tag != name:
        raise ValueError(f"<{root.tag}> instead of <{name}>")
    return root


def _text(one: ElementTree.Element, name: str, default: str | None = None) -> str:
    found = one.findtext(name, default)
    if found is None:
        raise ValueError(f"<{one.tag}> without <{name}>")
    return found.strip()


def _whole(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{quoted(text)} is no number")
    return int(text)


def node(one: Listed) -> Node:
    jobs = len(one.jobs)
    return Node(one.name, _state(one, jobs), jobs, one.cores, _note(one))


def _state(one: Listed, jobs: int) -> NodeState:
    if not one.states:
        return "unknown"
    if one.gone or one.all(UNREACHABLE) or not one.answers:
        return "down"
    if one.all(DISABLED):
        return "draining" if jobs else "drained"
    if any(set(state) & {ERROR, "c", "o"} for state in one.states.values()):
        return "unknown"
    return "busy" if jobs else "idle"


def _note(one: Listed) -> str:
    if not one.states:
        return "no queue has it"
    return ", ".join(f"{queue}: {state}" if state else queue for queue, state in sorted(one.states.items()))
