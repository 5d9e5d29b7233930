"""The batch system that this host can ask: jobs and nodes as readers, what can be done to a node as commands (docs/batch.md).

Each command does one thing to the one node it names. It keeps nothing and decides nothing: which node is to go is the manager's
to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from common.batch import DRAIN, GONE, JOBS, NODES, REQUEUE, RESUME, Batch, BatchError, NoSuchNode
from common.plugin import CommandFailed, Refused, Site, Unknown, command, reader
from common.value import Value
from plugins.batch_open import open_batch

AFTER_S = 5.0  # of the time of a reading or command: to say why it failed before its process is killed
AFTER_SHARE = 0.2  # but no more of it than that
REASON_CHARS_MAX = 200
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}", re.ASCII)
_REASON = re.compile(r"[^\x00-\x1f\x7f\"'\\]*")


@reader(JOBS)
def batch_jobs(site: Site) -> list[Value]:
    """Who waits for what, and what runs: one entry for each queue, feature, group and user."""
    with _or_unknown():
        return [asdict(one) for one in open_batch(site).demand(limit_s=_limit_s(site))]


@reader(NODES)
def batch_nodes(site: Site) -> list[Value]:
    with _or_unknown():
        return [asdict(one) for one in open_batch(site).nodes(limit_s=_limit_s(site))]


@contextmanager
def _or_unknown() -> Iterator[None]:
    try:
        yield
    except BatchError as fault:
        raise Unknown(str(fault)) from None


@command(DRAIN, subject="node")
def batch_drain(site: Site, node: str, reason: str = "vmherd") -> dict[str, Value]:
    """Jobs that run there end in peace."""
    with _operating(site, node, reason) as one:
        one.drain(node, reason, limit_s=_limit_s(site))
    return {"node": node}


@command(RESUME, subject="node")
def batch_resume(site: Site, node: str) -> dict[str, Value]:
    """Takes a drain, or that it was gone, back."""
    with _operating(site, node) as one:
        one.resume(node, limit_s=_limit_s(site))
    return {"node": node}


@command(GONE, subject="node")
def batch_gone(site: Site, node: str, reason: str = "vmherd: its virtual machine is gone") -> dict[str, Value]:
    """Only for a node whose virtual machine is no more: jobs that were on it start again elsewhere."""
    with _operating(site, node, reason) as one:
        one.gone(node, reason, limit_s=_limit_s(site))
    return {"node": node}


@command(REQUEUE, subject="node")
def batch_requeue(site: Site, node: str) -> dict[str, Value]:
    """Only for a node whose virtual machine is no more. `jobs`: how many start again."""
    with _operating(site, node) as one:
        return {"node": node, "jobs": one.requeue(node, limit_s=_limit_s(site))}


@contextmanager
def _operating(site: Site, node: str, reason: str = "") -> Iterator[Batch]:
    """The batch system; whatever it cannot do becomes the answer's one sentence."""
    if not _NODE.fullmatch(node):  # safety: it becomes an argument of programs that also take lists and patterns
        raise Refused(f"node: {node!r} is no name of a node")
    if len(reason) > REASON_CHARS_MAX or not _REASON.fullmatch(reason):
        raise Refused(f"reason: up to {REASON_CHARS_MAX} characters of one line, without quotes and backslash")
    try:
        yield open_batch(site)
    except NoSuchNode as fault:
        raise Refused(str(fault)) from None
    except BatchError as fault:
        raise CommandFailed(str(fault)) from None


def _limit_s(site: Site) -> float:
    left_s = site.remaining_s()
    return max(0.1, left_s - min(AFTER_S, left_s * AFTER_SHARE))
