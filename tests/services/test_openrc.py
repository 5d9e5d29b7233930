"""The OpenRC scripts, run by the real openrc-run in a mount namespace of their own, on a machine that OpenRC did not boot."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .installed import Installed

FOLDERS = "starting started stopping inactive wasinactive failed hotplugged scheduled exclusive options daemons tmp"
# openrc-run wants its script in /etc/init.d and its state in /run; both are ours here, and gone with the namespace.
ENTER = f"""set -e
mount -t tmpfs none /run
mkdir -p /run/openrc && cd /run/openrc && mkdir {FOLDERS} && touch softlevel
mount --bind "$SCRIPTS" /etc/init.d
pid() {{ cat "$PIDFILE" 2>/dev/null; }}
call() {{ code=0; "/etc/init.d/$NAME" --nodeps --nocolor "$@" || code=$?; echo "$* -> $code pid $(pid)"; }}
"""


def can_unshare() -> bool:
    mounts = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /run"]
    return os.geteuid() == 0 and subprocess.run(mounts, capture_output=True, timeout=60, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openrc-run") is None, reason="openrc is not installed (.ci/packages)"),
    pytest.mark.skipif(not can_unshare(), reason="a mount namespace needs root"),
]


@pytest.mark.parametrize("name", ["vmbus", "vmmanager", "vmclient"])
def test_a_service_through_its_day(tmp_path: Path, name: str) -> None:
    service = Installed(tmp_path, name, "openrc")
    steps = """call status; call start; call status; call start; call reload; call restart; call status
kill -KILL "$(pid)"; while grep -q 'State:.[^Z]' "/proc/$(pid)/status" 2>/dev/null; do sleep 0.02; done
call status; call restart; call stop; call status"""
    variables = {"SCRIPTS": str(service.script.parent), "NAME": name, "PIDFILE": str(service.pid_file)}
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", ENTER + steps],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if service.pid_file.exists():  # a stop that did not work
        with contextlib.suppress(ProcessLookupError):
            os.kill(service.pid(), signal.SIGKILL)
    said = [line.split() for line in ended.stdout.splitlines() if " -> " in line]
    assert ended.returncode == 0, ended.stdout + ended.stderr
    codes = [(line[0], int(line[2])) for line in said]
    assert codes == [
        ("status", 3), ("start", 0), ("status", 0), ("start", 0), ("reload", 0), ("restart", 0), ("status", 0),
        ("status", 32), ("restart", 0), ("stop", 0), ("status", 3),
    ], ended.stdout + ended.stderr  # fmt: skip
    pids = [line[4] if len(line) > 4 else "" for line in said]
    assert pids[1] == pids[2] == pids[3] == pids[4] != pids[5] == pids[6]
    assert pids[-1] == ""
    assert "reloaded in thread life" in service.log.read_text()
