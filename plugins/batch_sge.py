"""The batch contract on Grid Engine, by qstat, qhost and qmod. Needs the rights of an operator of it (docs/batch.md).

A node is drained by disabling all queue instances on it. Grid Engine has no word for "gone": one that is gone is disabled and
suspended, which nobody else does to the same queues. It keeps no reasons.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.batch import BatchError, Demand, Node, NoSuchNode
from plugins import sge_output as output
from plugins.batch_program import Deadline, Programs, reason
from plugins.batch_tally import Job, demand


@dataclass(frozen=True, slots=True)
class GridEngine:
    """`clock`: seconds of the epoch."""

    programs: Programs
    clock: Callable[[], float] = time.time
    kind: str = field(default="sge", init=False)

    def demand(self, *, limit_s: float) -> tuple[Demand, ...]:
        until = Deadline(limit_s)
        not_yet = self.programs.read(output.parse_ids, "qstat", "-xml", "-u", "*", "-s", "ha", until=until)
        return demand((job for job in self._jobs(until) if job.running or job.id not in not_yet), self.clock())

    def nodes(self, *, limit_s: float) -> tuple[Node, ...]:
        return tuple(output.node(one) for one in self._listed(Deadline(limit_s)))

    def drain(self, node: str, reason: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        self._node(node, until)
        self._queues("-d", node, until)

    def resume(self, node: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        one = self._node(node, until)
        if one.gone:
            self._queues("-us", node, until)
        self._queues("-e", node, until)

    def gone(self, node: str, reason: str, *, limit_s: float) -> None:
        self._take_down(node, Deadline(limit_s))

    def requeue(self, node: str, *, limit_s: float) -> int:
        return self._take_down(node, Deadline(limit_s))

    def _take_down(self, node: str, until: Deadline) -> int:
        """Disabled before its jobs go: none comes back to it. Not -f: a job that may not run twice would."""
        one = self._node(node, until)
        self._queues("-d", node, until)
        jobs = [job.id.partition(".")[0] for job in self._jobs(until) if node in job.nodes]
        restarted = sum(self._restart(job, until) for job in sorted(set(jobs)))
        if not one.gone:
            self._queues("-f", node, until, "-s")
        return restarted

    def _restart(self, job: str, until: Deadline) -> bool:
        """False: it was submitted as one that may not be run twice, or has just ended."""
        return "rescheduling" in self.programs.said("qmod", "-rj", job, until=until)

    def _queues(self, flag: str, node: str, until: Deadline, *more: str) -> None:
        """One flag for all queue instances of a node; that it has it already is no fault."""
        done = self.programs.run("qmod", flag, *more, f"*@{node}", until=until)
        if done.status != 0:
            raise BatchError(f"qmod on {self.programs.host}: {node}: {' '.join((flag, *more))}: {reason(done)}")

    def _jobs(self, until: Deadline) -> tuple[Job, ...]:
        return self.programs.read(output.parse_jobs, "qstat", "-xml", "-r", "-u", "*", until=until)

    def _listed(self, until: Deadline) -> tuple[output.Listed, ...]:
        return self.programs.read(output.parse_nodes, "qhost", "-xml", "-j", "-q", until=until)

    def _node(self, node: str, until: Deadline) -> output.Listed:
        """safety: qmod takes patterns; only a name that is listed letter by letter is said to it."""
        found = next((one for one in self._listed(until) if one.name == node), None)
        if found is None:
            raise NoSuchNode(f"qhost on {self.programs.host}: Grid Engine knows no node {node}")
        return found
