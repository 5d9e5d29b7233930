"""Services: only those listed, by whichever service manager runs; a real init script is started and stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from common.plugin import CommandFailed, Refused, Site, Unknown
from common.program import Finished
from plugins import service as plugin
from plugins.service import Places, action_argv, detect, service, service_state, state, status_argv, systemd_state

SCRIPT = """#!/bin/sh
# An init script as LSB has them: status 0 runs, 3 does not.
pid=$(cat FOLDER/pid 2>/dev/null)
case "$1" in
  start) sleep 981 & echo $! > FOLDER/pid; echo "Starting thing." ;;
  stop) kill "$pid"; rm -f FOLDER/pid ;;
  restart) $0 stop; $0 start ;;
  status) if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then echo running; else echo stopped; exit 3; fi ;;
  reload) echo "cannot reload" >&2; exit 7 ;;
esac
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A machine with one init script and no service manager."""
    script = tmp_path / "thing"
    script.write_text(SCRIPT.replace("FOLDER", str(tmp_path)))
    script.chmod(0o755)
    places = Places(tmp_path / "systemd", tmp_path / "openrc", tmp_path, ())
    monkeypatch.setattr(plugin, "Places", lambda: places)
    return places


def test_a_service_is_started_looked_at_and_stopped(places: Places, tmp_path: Path) -> None:
    site = Site("xen1", services=("thing",))
    assert service_state(site, "thing") == "inactive"
    assert service(site, "thing", "start")["state"] == "active"
    pid = int((tmp_path / "pid").read_text())
    try:
        assert os.getsid(pid) != os.getsid(0), "what a service starts must not die with the worker"
        assert service_state(site, "thing") == "active"
        with pytest.raises(CommandFailed, match="reload of thing: exit status 7: cannot reload"):
            service(site, "thing", "reload")
        assert service(site, "thing", "stop")["state"] == "inactive"
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pid = 0


@pytest.mark.parametrize("name", ["other", "../../bin/sh", "-thing", "", "thing;id"])
def test_only_listed_services_are_touched(places: Places, name: str) -> None:
    with pytest.raises(Refused):
        service(Site("xen1", services=("thing", "../../bin/sh", "-thing", "thing;id")), name, "stop")


def test_a_service_that_is_not_there_is_unknown(places: Places) -> None:
    with pytest.raises(Unknown, match="there is no service nope"):
        service_state(Site("xen1"), "nope")


def test_a_script_that_hangs_is_ended_in_time(places: Places, tmp_path: Path) -> None:
    (tmp_path / "thing").write_text("#!/bin/sh\nsleep 980\n")
    began = time.monotonic()
    site = Site("xen1", services=("thing",), remaining_s=lambda: 1.0)
    with pytest.raises(CommandFailed, match="no end within"):
        service(site, "thing", "start")
    assert time.monotonic() - began < 20


def machine(tmp_path: Path, *programs: str, systemd: bool = False, openrc: bool = False) -> Places:
    for folder, wanted in (("systemd", systemd), ("openrc", openrc), ("bin", True)):
        if wanted:
            (tmp_path / folder).mkdir()
    for program in programs:
        (tmp_path / "bin" / program).touch(0o755)
    return Places(tmp_path / "systemd", tmp_path / "openrc", tmp_path, (tmp_path / "bin",))


def test_systemd_is_used_where_it_runs(tmp_path: Path) -> None:
    places = machine(tmp_path, "systemctl", "service", systemd=True)
    assert detect(places) == "systemd"
    assert action_argv("mail", "restart", places)[1:] == ["--no-ask-password", "restart", "--", "mail"]
    assert status_argv("mail", places)[-2:] == ["--", "mail"]


def test_systemctl_without_a_running_systemd_is_not_used(tmp_path: Path) -> None:
    places = machine(tmp_path, "systemctl", "rc-service", openrc=True)
    assert detect(places) == "openrc"
    assert action_argv("mail", "start", places) == [str(tmp_path / "bin" / "rc-service"), "--", "mail", "start"]


def test_sysv_prefers_the_service_program(tmp_path: Path) -> None:
    places = machine(tmp_path, "service")
    (tmp_path / "mail").touch(0o755)
    assert action_argv("mail", "stop", places) == [str(tmp_path / "bin" / "service"), "mail", "stop"]


def test_states() -> None:
    """`systemctl show` of systemd 252, and the status codes of LSB and OpenRC."""
    shown = Finished(0, "LoadState=loaded\nActiveState=active\nSubState=running\n", "")
    assert systemd_state(shown) == "active"
    with pytest.raises(Unknown, match="no such unit"):
        systemd_state(Finished(0, "LoadState=not-found\nActiveState=inactive\nSubState=dead\n", ""))
    with pytest.raises(Unknown, match="Failed to connect to bus"):
        systemd_state(Finished(1, "", "Failed to connect to bus: Host is down"))
    assert [state("sysv", Finished(code, "", "")) for code in (0, 1, 3)] == ["active", "failed", "inactive"]
    assert [state("openrc", Finished(code, "", "")) for code in (0, 3, 32)] == ["active", "inactive", "failed"]
    with pytest.raises(Unknown, match="status gave 4"):
        state("sysv", Finished(4, "", "unclear"))
