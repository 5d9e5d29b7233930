"""The batch contract on OpenPBS (PBS Professional) and Torque, by qstat, pbsnodes and qrerun (docs/batch.md).

Tried with recorded output only. A node is drained by marking it offline; one that is gone has that in its comment as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.batch import BatchError, Demand, Node, NoSuchNode
from common.config.values import quoted
from plugins import pbs_output as output
from plugins.batch_program import Deadline, Programs, reason
from plugins.batch_tally import demand
from plugins.pbs_output import Attributes, Listed

OPENPBS, TORQUE = "pbs_version", "Version:"  # in what `qstat --version` prints


@dataclass(frozen=True, slots=True)
class Pbs:
    """`clock`: seconds of the epoch, as the server's."""

    programs: Programs
    clock: Callable[[], float] = time.time
    kind: str = field(default="pbs", init=False)

    def demand(self, *, limit_s: float) -> tuple[Demand, ...]:
        until = Deadline(limit_s)
        listed = self._jobs(until, self._has_json(until))
        try:
            return demand(output.jobs(listed), self.clock())
        except ValueError as fault:
            raise self.programs.fault("qstat", f"its answer is not understood: {fault}") from None

    def nodes(self, *, limit_s: float) -> tuple[Node, ...]:
        until = Deadline(limit_s)
        return tuple(output.node(one) for one in self._nodes(until, self._has_json(until)))

    def drain(self, node: str, reason: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        json = self._has_json(until)
        if not self._node(node, until, json).offline:
            self._mark(node, reason, until, json)

    def resume(self, node: str, *, limit_s: float) -> None:
        until = Deadline(limit_s)
        json = self._has_json(until)
        if self._node(node, until, json).offline:
            self._do("pbsnodes", "-r", *_comment("", json), node, until=until)

    def gone(self, node: str, reason: str, *, limit_s: float) -> None:
        self._take_down(node, reason, Deadline(limit_s))

    def requeue(self, node: str, *, limit_s: float) -> int:
        return self._take_down(node, "its virtual machine is gone", Deadline(limit_s))

    def _take_down(self, node: str, reason: str, until: Deadline) -> int:
        """Offline before its jobs go: none comes back to it. A job that may not run twice is left to the server."""
        json = self._has_json(until)
        if not self._node(node, until, json).gone:
            self._mark(node, output.GONE + reason, until, json)
        listed = self._jobs(until, json)
        there = [job.id for job in output.jobs(listed) if node in job.nodes and output.rerunnable(listed[job.id])]
        for id in there:
            self._do("qrerun", *(("-W", "force") if json else ("-f",)), id, until=until)
        return len(there)

    def _mark(self, node: str, reason: str, until: Deadline, json: bool) -> None:
        self._do("pbsnodes", "-o", *_comment(reason, json), node, until=until)

    def _do(self, program: str, *words: str, until: Deadline) -> None:
        done = self.programs.run(program, *words, until=until)
        if done.status != 0:
            raise BatchError(f"{program} on {self.programs.host}: {' '.join(words)}: {reason(done)}")

    def _has_json(self, until: Deadline) -> bool:
        done = self.programs.run("qstat", "--version", until=until)
        said = done.output + done.errors
        if done.status != 0:
            raise self.programs.failed("qstat", done)
        if OPENPBS not in said and TORQUE not in said:
            raise self.programs.fault("qstat", f"its answer is not understood: {quoted(said)} is no version of PBS")
        return OPENPBS in said

    def _jobs(self, until: Deadline, json: bool) -> Mapping[str, Attributes]:
        """-t: each task of an array for itself."""
        if json:
            return self.programs.read(output.json_jobs, "qstat", "-f", "-t", "-F", "json", until=until)
        return self.programs.read(output.text_jobs, "qstat", "-f", "-t", until=until)

    def _nodes(self, until: Deadline, json: bool) -> tuple[Listed, ...]:
        how = ("-F", "json") if json else ()
        parse = output.json_nodes if json else output.text_nodes
        return self.programs.read(lambda text: output.nodes(parse(text)), "pbsnodes", "-a", *how, until=until)

    def _node(self, node: str, until: Deadline, json: bool) -> Listed:
        """safety: pbsnodes takes lists; only a name that is listed letter by letter is said to it."""
        found = next((one for one in self._nodes(until, json) if one.name == node), None)
        if found is None:
            raise NoSuchNode(f"pbsnodes on {self.programs.host}: PBS knows no node {node}")
        return found


def _comment(text: str, json: bool) -> tuple[str, str]:
    """OpenPBS calls it a comment, Torque a note."""
    return ("-C" if json else "-N", text)
