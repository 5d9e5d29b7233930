"""What a batch system tells us and does for us: one small contract, for every batch system. Knows none of them.

The client on the head node has `[batch]` in vmclient.ini: it then has the properties `batch_jobs` and `batch_nodes` and the
commands `batch-drain`, `batch-resume`, `batch-gone` and `batch-requeue`. The manager sees nothing else of a batch system.

No answer is unknown, never empty or idle: a reader that could not read everything raises Unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

NodeState = Literal["idle", "busy", "draining", "drained", "down", "joining", "unknown"]
"""`idle`, `busy`: jobs may be sent to it. `draining`: it takes no new job, some run. `drained`: no job on it, none can come.
`down`: it does not answer, or somebody has said so. `joining`: it is known and not ready yet, or has just come back. `unknown`:
what the batch system says of it is not understood."""

JOBS, NODES = "batch_jobs", "batch_nodes"  # the properties
DRAIN, RESUME, GONE, REQUEUE = "batch-drain", "batch-resume", "batch-gone", "batch-requeue"  # the commands, each with `node`


@dataclass(frozen=True, slots=True)
class Demand:
    """The jobs of one queue, feature, group and user taken together. A job in several queues counts in the first of them."""

    queue: str  # partition, queue; "" where the batch system has one only
    feature: str = ""  # what the jobs ask of a node, as written; "" for none
    group: str = ""
    user: str = ""
    waiting: int = 0  # jobs that could run if there were a node; those held, or waiting for another job, are not told
    running: int = 0
    waiting_cores: int = 0
    running_cores: int = 0
    oldest_wait_s: float = 0.0  # of those that wait


@dataclass(frozen=True, slots=True)
class Node:
    """One worker node. `name` is the name of its VM unless environments.ini says otherwise."""

    name: str
    state: NodeState
    jobs: int = 0  # on it now; where the state is `unknown` this says nothing
    cores: int = 0
    note: str = ""  # what the batch system says of it, for an administrator


class BatchError(Exception):
    """The batch system did not do it, or did not say what we need. The text names the system, the node and why."""


class NoSuchNode(BatchError):
    """The batch system knows no node of this name; nothing was done."""


class Batch(Protocol):
    """One batch system, asked from where it can be. Every method raises BatchError and ends within `limit_s`. Drain, resume and
    gone may be repeated at will: what is so already is no error."""

    @property
    def kind(self) -> str: ...

    def demand(self, *, limit_s: float) -> tuple[Demand, ...]:
        """All of it, or BatchError."""

    def nodes(self, *, limit_s: float) -> tuple[Node, ...]:
        """All of them, or BatchError."""

    def drain(self, node: str, reason: str, *, limit_s: float) -> None:
        """No new job is sent to it from now on; jobs that run there end in peace. Raises NoSuchNode."""

    def resume(self, node: str, *, limit_s: float) -> None:
        """Takes a drain, or `gone`, back: it takes jobs when it is up. Raises NoSuchNode."""

    def gone(self, node: str, reason: str, *, limit_s: float) -> None:
        """Its VM is no more: jobs that were on it are requeued at once, and nothing is sent to it until `resume`. Raises
        NoSuchNode."""

    def requeue(self, node: str, *, limit_s: float) -> int:
        """The jobs on it start again elsewhere; how many. Only for a node whose VM is no more. Raises NoSuchNode."""
