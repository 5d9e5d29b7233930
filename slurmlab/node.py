"""`python -m slurmlab.node FOLDER start|stop|destroy NODE HOST`: the guest of a simulated virtual machine, which is one slurmd.

What `sim_hook` runs. `stop`: the guest shuts down in order. `destroy`: it dies at once with all that runs in it, and the batch
system hears nothing of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

STOP_S = 10.0
POLL_S = 0.02


def main(words: Sequence[str]) -> int:
    folder, what, node = Path(words[0]), words[1], words[2]
    if not (folder / "spool" / node).is_dir():
        return 0  # a machine that is no worker node
    {"start": start, "stop": stop, "destroy": destroy}[what](folder, node)
    return 0


def start(folder: Path, node: str) -> None:
    conf = folder / "slurm.conf"
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    subprocess.run(["/usr/sbin/slurmd", "-N", node, "-f", str(conf)], check=True, env=environment, start_new_session=True)


def stop(folder: Path, node: str) -> None:
    pid = daemon(folder, node)
    if pid:
        os.kill(pid, signal.SIGTERM)
        _wait_for_end(pid)


def destroy(folder: Path, node: str) -> None:
    """slurmd first, then the shepherds of its jobs (else they would report a failure), then the jobs."""
    pids = [daemon(folder, node), *(pid for pid in _jobs(folder, node) if _name(pid) == "slurmstepd"), *_jobs(folder, node)]
    for pid in [pid for pid in pids if pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in pids:
        _wait_for_end(pid)


def daemon(folder: Path, node: str) -> int:
    """Its process id; 0 where it does not run."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "pid" / f"slurmd-{node}.pid").read_text())
        if _name(pid) == "slurmd":
            return pid
    return 0


def _jobs(folder: Path, node: str) -> Iterator[int]:
    """Processes that the node's slurmd has started: job steps, by their environment and their shepherds, by their children."""
    wanted = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={folder / 'slurm.conf'}".encode()}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if wanted <= set((path / "environ").read_bytes().split(b"\0")):
                yield int(path.name)
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if _name(parent) == "slurmstepd":
                    yield parent


def _name(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return "" if stat.rpartition(")")[2].split()[0] == "Z" else stat[stat.index("(") + 1 : stat.rindex(")")]


def _wait_for_end(pid: int) -> None:
    end = time.monotonic() + STOP_S
    while pid and _name(pid) and time.monotonic() < end:
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
