"""The batch contract on Grid Engine, by qstat and qmod. Needs the rights of a manager of Grid Engine (docs/batch.md).

A drained node is one whose queues are disabled. Grid Engine has no word for a node that is gone: it is disabled, and shows by
itself, after `max_unheard`, that nobody answers there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from common.batch import BatchError, Demand, Node, NoSuchNode
from plugins import sge_output as output
from plugins.batch_program import Deadline, Programs, reason
from plugins.batch_tally import demand

ALL_USERS = ("-u", "*")


@dataclass(frozen=True, slots=True)
class GridEngine:
    """`clock`: seconds of the epoch, as Grid Engine's."""

    programs: Programs
    clock: Callable[[], float] = time.time
    kind: str = field(default="sge", init=False)

    def demand(self, *, limit_s: float) -> tuple[Demand, ...]:
        until, run = Deadline(limit_s), self._programs.read
        not_yet = run(output.parse_ids, "qstat", "-xml", *ALL_USERS, "-s", "ha", until=until)
        jobs = run(lambda text: output.parse_jobs(text, not_yet), "qstat", "-r", "-xml", *ALL_USERS, until=until)
        return demand(jobs, self.clock())

    def nodes(self, *, limit_s: float) -> tuple[Node, ...]:
        return output.nodes(self._instances(Deadline(limit_s)))

    def drain(self, node: str, reason: str, *, limit_s: float) -> None:
        """Grid Engine keeps no reason."""
        until = Deadline(limit_s)
        self._modify("-d", self._of(node, until), until)

    def resume(self, node: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        self._modify("-e", self._of(node, until), until)

    def gone(self, node: str, reason: str, *, limit_s: float) -> None:
        self.requeue(node, limit_s=limit_s)

    def requeue(self, node: str, *, limit_s: float) -> int:
        """Disabled first, or the same jobs would be sent there again until Grid Engine sees that nobody answers."""
        until = Deadline(limit_s)
        self._modify("-d", self._of(node, until), until)
        there = self._of(node, until)
        occupied = tuple(one for one in there if one.jobs)
        if occupied:
            self._modify("-rq", occupied, until)
        return len(frozenset().union(*(one.jobs for one in there)))

    @property
    def _programs(self) -> Programs:
        return replace(self.programs, environment=(*self.programs.environment, *output.ENVIRONMENT))

    def _instances(self, until: Deadline) -> tuple[output.Instance, ...]:
        words = ("-f", "-xml", *ALL_USERS, "-s", "rs")
        return self._programs.read(output.parse_instances, "qstat", *words, until=until)

    def _of(self, node: str, until: Deadline) -> tuple[output.Instance, ...]:
        """By comparing names: qmod takes patterns."""
        found = tuple(one for one in self._instances(until) if one.host == node)
        if not found:
            raise NoSuchNode(f"qstat on {self.programs.host}: Grid Engine has no queue on a host {node}")
        return found

    def _modify(self, option: str, there: tuple[output.Instance, ...], until: Deadline, *before: str) -> None:
        names = tuple(one.name for one in there)
        done = self._programs.run("qmod", *before, option, *names, until=until)
        if done.status != 0:
            raise BatchError(f"qmod {option} on {self.programs.host}: {', '.join(names)}: {reason(done)}")
