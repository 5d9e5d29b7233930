"""The SysV scripts, run for real: LSB exit codes, stale and foreign pid files, a daemon that does not want to end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .installed import LIMIT_S, Installed

pytestmark = pytest.mark.slow


class Service(Installed):
    """A SysV script and what it said last."""

    said = ""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root, name, "sysv")
        self.settings.write_text(f"OWNER={self.user}\n")

    def call(self, action: str) -> int:
        ended = subprocess.run([self.script, action], capture_output=True, text=True, timeout=LIMIT_S, check=False)
        self.said = ended.stdout + ended.stderr
        return ended.returncode


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, "vmbus")
    yield made
    with contextlib.suppress(OSError, ValueError):
        if made.call("status") == 0:
            os.kill(made.pid(), signal.SIGKILL)


@pytest.mark.parametrize("name", ["vmmanager", "vmclient", "vmbus"])
def test_a_service_through_its_day(tmp_path: Path, name: str) -> None:
    service = Service(tmp_path, name)
    assert service.call("status") == 3
    assert service.call("start") == 0, service.said
    assert service.call("status") == 0
    assert f"{name} is running (pid {service.pid()})" in service.said
    first = service.pid()
    assert service.call("start") == 0  # LSB: running already is a success
    assert service.pid() == first
    assert service.call("reload") == 0
    service.logged("reloaded in thread life")
    assert service.call("force-reload") == 0
    assert service.call("restart") == 0
    assert service.pid() != first
    assert service.call("try-restart") == 0
    assert service.call("stop") == 0
    assert not service.pid_file.exists()
    assert service.call("status") == 3
    assert service.call("stop") == 0  # LSB: stopped already is a success
    assert service.call("reload") == 7
    assert service.call("try-restart") == 0
    assert service.call("status") == 3
    assert service.call("dance") == 2


REAL = {
    "vmbus": "",
    "vmmanager": "[manager]\nname = m1\n",
    "vmclient": "[client]\nname = xen1\n",
}


@pytest.mark.parametrize("name", REAL)
def test_the_real_daemons_start_reload_and_stop(tmp_path: Path, name: str) -> None:
    """Also where no bus answers yet: they are ready, and go on trying."""
    service = Service(tmp_path, name)
    service.program.unlink()
    service.program.parent.rmdir()
    service.program.parent.parent.rmdir()
    (tmp_path / "opt/venv").symlink_to(sys.prefix)
    if REAL[name]:
        for part in ("state", "run"):
            (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / f"etc/{name}.ini").write_text(
            f"{REAL[name]}[bus]\ndaemon = 1@127.0.0.1\n[paths]\nstate = {tmp_path}/state\nrun = {tmp_path}/run\n"
            f"[log]\ntarget = file\nfile = {tmp_path}/log\n"
        )
    else:
        service.settings.write_text(f"OWNER={service.user}\nVMBUS_OPTIONS='--listen 127.0.0.1:0 --log-file {tmp_path}/log'\n")
    assert service.call("start") == 0, service.said
    assert service.call("status") == 0
    first = service.pid()
    assert service.call("start") == 0
    assert service.pid() == first
    assert service.call("reload") == 0
    service.logged("received SIGHUP")
    assert service.call("restart") == 0, service.said
    assert service.call("stop") == 0
    assert service.call("status") == 3
    assert service.log.read_text().count("stopped, exit code 0") == 2


def test_after_a_kill_the_status_is_dead_and_a_start_takes_over(service: Service) -> None:
    assert service.call("start") == 0
    os.kill(service.pid(), signal.SIGKILL)
    service_dead = time.monotonic() + LIMIT_S
    while service.call("status") == 0:
        assert time.monotonic() < service_dead
    assert service.call("status") == 1
    assert "is dead, its pid file" in service.said
    assert service.call("start") == 0
    service.logged("which is gone")
    assert service.call("stop") == 0


def test_a_stranger_with_the_old_pid_is_neither_taken_for_the_daemon_nor_killed(service: Service) -> None:
    service.pid_file.parent.mkdir()
    with subprocess.Popen(["sleep", "600"]) as stranger:
        service.pid_file.write_text(f"{stranger.pid}\n")
        assert service.call("status") == 1
        assert service.call("reload") == 7
        assert service.call("stop") == 0
        assert not service.pid_file.exists()
        assert stranger.poll() is None
        service.pid_file.write_text(f"{stranger.pid}\n")
        assert service.call("start") == 0
        assert service.call("stop") == 0
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "\n", "rubbish\n", "-1\n", "1 2 3\n", "99999999999999999999\n", "1; touch /tmp/owned\n"])
def test_a_pid_file_full_of_rubbish_is_a_dead_daemon(service: Service, text: str) -> None:
    service.pid_file.parent.mkdir()
    service.pid_file.write_text(text)
    assert service.call("status") == 1
    assert service.call("start") == 0
    assert service.call("status") == 0
    assert service.call("stop") == 0


def test_a_daemon_that_does_not_end_is_killed_after_the_limit(service: Service) -> None:
    with service.settings.open("a") as settings:
        settings.write("STOP_LIMIT=1\n")
    service.behave("--drain", "600", "stuck-thread")
    assert service.call("start") == 0
    pid = service.pid()
    assert service.call("stop") == 0
    assert f"vmbus (pid {pid}) does not end, killing it" in service.said
    assert not service.pid_file.exists()
    assert service.call("status") == 3


def test_what_hinders_the_start_is_told_with_the_code_of_the_lsb(service: Service) -> None:
    service.behave("refuse")
    assert service.call("start") == 6  # not configured
    assert "tiny: port 4803 is in use" in service.said
    service.behave("die-early")
    assert service.call("start") == 1
    assert "tiny: died while it started: ValueError: no such luck" in service.said
    service.program.unlink()
    assert service.call("start") == 5  # not installed
    assert service.call("status") == 3


def test_without_its_configuration_a_daemon_is_not_started(tmp_path: Path) -> None:
    service = Service(tmp_path, "vmclient")
    (tmp_path / "etc/vmclient.ini").unlink()
    assert service.call("start") == 6
    assert "vmclient.ini is not there" in service.said
