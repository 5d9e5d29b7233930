"""The batch contract on HTCondor, by condor_q, condor_status, condor_drain, condor_hold and condor_release (docs/batch.md).

Tried with recorded output only. condor_drain ends jobs after MAXJOBRETIREMENTTIME, which is 0 unless the node's configuration
says otherwise; a node where it is less than a year is not drained (safety). HTCondor keeps a drain in the node: one that starts
anew takes jobs at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from common.batch import BatchError, Demand, Node, NoSuchNode
from plugins import condor_output as output
from plugins.batch_program import Deadline, Programs, reason
from plugins.batch_tally import Job, demand

RETIREMENT_S = 365 * 86_400
CHECK = f'State =!= "Claimed" || (MaxJobRetirementTime >= {RETIREMENT_S}) =?= true'
NO_REQUEST = ("no draining request", "not draining")  # what -cancel says where there is nothing to cancel


@dataclass(frozen=True, slots=True)
class HTCondor:
    """`clock`: seconds of the epoch."""

    programs: Programs
    clock: Callable[[], float] = time.time
    kind: str = field(default="htcondor", init=False)

    def demand(self, *, limit_s: float) -> tuple[Demand, ...]:
        return demand(self._jobs(Deadline(limit_s)), self.clock())

    def nodes(self, *, limit_s: float) -> tuple[Node, ...]:
        return self._nodes(Deadline(limit_s))

    def drain(self, node: str, reason: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        if self._node(node, until).state not in ("draining", "drained", "down"):
            self._do("condor_drain", "-graceful", "-reason", reason, "-check", CHECK, node, until=until)

    def resume(self, node: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        if self._node(node, until).state not in ("draining", "drained"):
            return
        done = self.programs.run("condor_drain", "-cancel", node, until=until)
        if done.status != 0 and not any(words in (done.errors + done.output).lower() for words in NO_REQUEST):
            raise BatchError(f"condor_drain on {self.programs.host}: -cancel {node}: {reason(done)}")

    def gone(self, node: str, reason: str, *, limit_s: float) -> None:
        self._restart(node, reason, Deadline(limit_s))

    def requeue(self, node: str, *, limit_s: float) -> int:
        return self._restart(node, "vmherd: its virtual machine is gone", Deadline(limit_s))

    def _restart(self, node: str, reason: str, until: Deadline) -> int:
        """Held and released: else a job whose node is dead waits for it until its lease is over."""
        self._node(node, until)
        there = [job.id for job in self._jobs(until) if node in job.nodes]
        if there:
            self._do("condor_hold", "-reason", reason, *there, until=until)
            self._do("condor_release", *there, until=until)
        return len(there)

    def _do(self, program: str, *words: str, until: Deadline) -> None:
        done = self.programs.run(program, *words, until=until)
        if done.status != 0:
            raise BatchError(f"{program} on {self.programs.host}: {reason(done)}")

    def _jobs(self, until: Deadline) -> tuple[Job, ...]:
        asked = ("-allusers", "-json", "-attributes", ",".join(output.JOB))
        return self.programs.read(output.parse_jobs, "condor_q", *asked, until=until)

    def _nodes(self, until: Deadline) -> tuple[Node, ...]:
        asked = ("-json", "-attributes", ",".join(output.SLOT))
        present = self.programs.read(output.ads, "condor_status", "-startd", *asked, until=until)
        absent = self.programs.read(output.ads, "condor_status", "-absent", *asked, until=until)
        try:
            return output.nodes(present, absent)
        except ValueError as fault:
            raise self.programs.fault("condor_status", f"its answer is not understood: {fault}") from None

    def _node(self, node: str, until: Deadline) -> Node:
        found = next((one for one in self._nodes(until) if one.name == node), None)
        if found is None:
            raise NoSuchNode(f"condor_status on {self.programs.host}: HTCondor knows no node {node}")
        return found
