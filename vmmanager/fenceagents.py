"""Runs fence agents, each in a thread of its own, one for a host at a time. Decides nothing: failover/fences.py does.

An agent reads `key=value` lines from its standard input and answers by its exit status (ClusterLabs/fence-agents,
doc/FenceAgentAPI.md), so that no secret stands in the list of processes.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable

from common.config.load import read_secrets
from common.config.model import FenceConfig
from common.program import NotStarted, run_program
from vmmanager.events import FenceEnded, RunFence
from vmmanager.failover.fencing import options

TEXT_CHARS_MAX = 300  # of what an agent said
PATHS = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"  # beside our own PATH, which may have no sbin


class FenceAgents:
    def __init__(self, tell: Callable[[FenceEnded], None]) -> None:
        self._tell = tell

    def run(self, job: RunFence) -> None:
        threading.Thread(target=self._work, args=(job,), name=f"Fence {job.host}", daemon=True).start()

    def _work(self, job: RunFence) -> None:
        try:
            status, text = _run(job)
        except Exception as fault:  # noqa: BLE001 - the top of a thread; the core waits for an answer, whatever happens
            status, text = None, f"{type(fault).__name__}: {fault}"
        self._tell(FenceEnded(job.host, job.number, status, text[:TEXT_CHARS_MAX]))


def _run(job: RunFence) -> tuple[int | None, str]:
    device = job.device
    try:
        secrets = read_secrets(device.secrets) if device.secrets is not None else {}
    except (OSError, ValueError) as fault:
        return None, f"{device.secrets}: {fault}"
    given = options(job.host, device, job.action, secrets)
    lines = "".join(f"{key}={value}\n" for key, value in given.items())
    try:
        done = run_program([_found(device)], timeout_s=device.timeout_s, stdin=lines.encode())
    except NotStarted as fault:
        return None, str(fault)
    said = (done.errors or done.output).strip().splitlines()
    text = done.why or (said[-1] if said else "")
    for secret in secrets.values():
        text = text.replace(secret, "***") if secret else text
    return done.status, text


def _found(device: FenceConfig) -> str:
    return shutil.which(device.agent, path=f"{os.environ.get('PATH', '')}:{PATHS}") or device.agent
