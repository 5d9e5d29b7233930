"""The batch contract on Slurm, by squeue and scontrol. Needs the rights of an operator of Slurm (docs/batch.md).

What Slurm does to an administrator, learned on a real one (docs/design/0051): DRAIN outlives `down`. A node that is set to
`down` loses its jobs at once, and those that may be requeued wait two minutes. The message that ends them is still on its way
when the node comes back, and would end the next run of the same job there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from common.batch import BatchError, Demand, Node, NoSuchNode
from plugins import slurm_output as output
from plugins.batch_program import Deadline, Programs, reason
from plugins.batch_tally import Job, by_node, demand

JOBS_AT_ONCE = 200  # that one scontrol is told of
REQUEUED = "; its jobs start again"  # at the end of the reason of a node whose jobs we requeued
MESSAGE_S = 10.0  # MessageTimeout, where `scontrol show config` does not say it
MESSAGE_MARGIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Slurm:
    """`clock`: seconds of the epoch, as Slurm's; `wait`: seconds."""

    programs: Programs
    clock: Callable[[], float] = time.time
    wait: Callable[[float], None] = time.sleep
    kind: str = field(default="slurm", init=False)

    def demand(self, *, limit_s: float) -> tuple[Demand, ...]:
        return demand(self._jobs(Deadline(limit_s)), self.clock())

    def nodes(self, *, limit_s: float) -> tuple[Node, ...]:
        """Jobs first: a node that is drained then has none that came in between."""
        until = Deadline(limit_s)
        there = by_node(self._jobs(until))
        listed = self._programs.read(output.parse_nodes, "scontrol", "--all", "--oneliner", "show", "node", until=until)
        return tuple(output.node(one, there[one.name]) for one in sorted(listed, key=lambda one: one.name))

    def drain(self, node: str, reason: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        if not self._node(node, until).draining:
            self._update(node, "drain", until, reason)

    def resume(self, node: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        one = self._node(node, until)
        if one.down:
            self._let_messages_end(one, until)
            self._update(node, "resume", until)
        elif one.draining:
            self._update(node, "undrain", until)

    def gone(self, node: str, reason: str, *, limit_s: float) -> None:
        self._take_down(node, reason, Deadline(limit_s))

    def requeue(self, node: str, *, limit_s: float) -> int:
        return self._take_down(node, "vmherd: its virtual machine is gone", Deadline(limit_s))

    def _take_down(self, node: str, reason: str, until: Deadline) -> int:
        """Drained too: with ReturnToService = 2 a node that is only down takes jobs as soon as it is up."""
        one = self._node(node, until)
        jobs = [job.id for job in self._jobs(until) if node in job.nodes]
        if one.down and one.draining and not jobs:
            return 0
        if not one.draining:
            self._update(node, "drain", until, reason)
        self._update(node, "down", until, reason + (REQUEUED if jobs else ""))
        for at in range(0, len(jobs), JOBS_AT_ONCE):
            self._start_now(jobs[at : at + JOBS_AT_ONCE], until)
        return len(jobs)

    def _start_now(self, jobs: Sequence[str], until: Deadline) -> None:
        """Without the two minutes that a requeued job waits. One that may not be requeued is over, and no fault."""
        self._programs.run("scontrol", "update", f"jobid={','.join(jobs)}", "starttime=now", until=until)

    def _let_messages_end(self, one: output.Listed, until: Deadline) -> None:
        """safety: until the controller gives up to tell this node that its jobs are over, none of them may start there."""
        if one.reason_at is None or not one.reason.endswith(REQUEUED):
            return
        left_s = one.reason_at + self._message_s(until) + MESSAGE_MARGIN_S - self.clock()
        if left_s > until.left_s:
            raise BatchError(f"scontrol on {self.programs.host}: {one.name} lost jobs just now, resume it in {left_s:.0f} s")
        if left_s > 0:
            self.wait(left_s)

    def _message_s(self, until: Deadline) -> float:
        found = re.search(r"(?m)^MessageTimeout\s*=\s*(\d+)", self._programs.said("scontrol", "show", "config", until=until))
        return float(found[1]) if found else MESSAGE_S

    @property
    def _programs(self) -> Programs:
        return replace(self.programs, environment=(*self.programs.environment, *output.ENVIRONMENT))

    def _jobs(self, until: Deadline) -> tuple[Job, ...]:
        return self._programs.read(output.parse_jobs, "squeue", "--all", "-o", output.FORMAT, until=until)

    def _node(self, node: str, until: Deadline) -> output.Listed:
        done = self._programs.run("scontrol", "--all", "--oneliner", "show", "node", node, until=until)
        if "not found" in done.output + done.errors:
            raise NoSuchNode(f"scontrol on {self.programs.host}: Slurm knows no node {node}")
        if done.status != 0:
            raise self._programs.failed("scontrol", done)
        try:
            (one,) = output.parse_nodes(done.output)
        except ValueError as fault:
            raise self._programs.fault("scontrol", f"its answer is not understood: {fault}") from None
        if one.name != node:
            raise NoSuchNode(f"scontrol on {self.programs.host}: Slurm knows no node {node}, but {one.name}")
        return one

    def _update(self, node: str, state: str, until: Deadline, why: str = "") -> None:
        said = [f"reason={why}"] if why else []
        done = self._programs.run("scontrol", "update", f"nodename={node}", f"state={state}", *said, until=until)
        if done.status != 0:
            raise BatchError(f"scontrol on {self.programs.host}: {node} is not set to {state}: {reason(done)}")
