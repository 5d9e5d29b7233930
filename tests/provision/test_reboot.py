"""How a provisioned host restarts: what vmclient runs there for `program=reboot`, as vmclient runs it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from common.program import run_program

REBOOT = Path(__file__).resolve().parents[2] / "provision" / "files" / "vmherd-reboot"
LIMIT_S = 30.0
TIMES = 8


def test_a_restart_that_was_begun_outlives_the_program_that_began_it(tmp_path: Path) -> None:
    """vmclient kills what is left of a program when it ends: that came first one time in four, and the host never restarted."""
    told = tmp_path / "told"
    for name, body in (("busybox", f'echo "$*" >{told}'), ("sync", ":"), ("sleep", ":")):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for _ in range(TIMES):
        told.unlink(missing_ok=True)
        done = run_program(["sh", str(REBOOT)], timeout_s=LIMIT_S, output_bytes_max=1000, environment=environment)
        assert (done.status, done.output.strip()) == (0, "this machine starts anew in 3 s")
        end = time.monotonic() + LIMIT_S
        while not (told.exists() and told.read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        assert told.read_text() == "reboot -f\n"
