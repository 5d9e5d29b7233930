"""`make install` and what it lays out: folders in one place, a site's edits kept, units that systemd accepts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from common import paths
from common.config.load import load_client, load_manager
from common.config.model import ClientConfig, ManagerConfig

ROOT = Path(__file__).resolve().parents[2]
UNITS = ("vmbus", "vmmanager", "vmclient")


def install(root: Path, **variables: str) -> str:
    environment = {**os.environ, "DESTDIR": str(root), "VENV": "no", "SERVICES": "systemd sysv openrc", **variables}
    ended = subprocess.run(
        [ROOT / "conf/install"],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_shell_and_the_daemons_know_the_same_folders() -> None:
    said = subprocess.run(
        ["python3", "-m", "common.paths"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert dict(line.split("=") for line in said.splitlines())["STATE"] == str(paths.STATE)
    assert ManagerConfig("m1").paths.state == paths.STATE
    assert ClientConfig("xen1").paths.state == paths.CLIENT_STATE


def test_no_placeholder_is_left_and_every_path_follows_its_variable(tmp_path: Path) -> None:
    install(
        tmp_path, PREFIX="/srv/p", CONF="/srv/c", STATE="/var/lib/s", RUN="/run/r", CLIENT_STATE="/var/lib/cs", LOG="/srv/l"
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 13
    for path in files:
        text = path.read_text()
        assert not re.search(r"@[A-Z_]+@", text), path
        assert "/opt/vmherd" not in text, path
    unit = (tmp_path / "etc/systemd/system/vmmanager.service").read_text()
    assert "\nStateDirectory=s\n" in unit
    assert "\nExecStart=/srv/p/venv/bin/vmmanager --config /srv/c/vmmanager.ini\n" in unit


def test_folders_of_the_site_s_own_stand_in_the_daemons_files(tmp_path: Path) -> None:
    install(tmp_path, CONF="/c", STATE="/srv/m/state", RUN="/srv/m/run", CLIENT_STATE="/srv/c/state", CLIENT_RUN="/srv/c/run")
    assert load_manager(tmp_path / "c/vmmanager.ini").paths.state == Path("/srv/m/state")
    client = load_client(tmp_path / "c/vmclient.ini").paths
    assert (client.state, client.run) == (Path("/srv/c/state"), Path("/srv/c/run"))


def test_a_second_install_keeps_what_the_site_edited(tmp_path: Path) -> None:
    install(tmp_path)
    edited, untouched = tmp_path / "etc/vmherd/vmclient.ini", tmp_path / "etc/vmherd/vmmanager.ini"
    edited.write_text("[client]\ngroups = dom0\n")
    said = install(tmp_path)
    assert edited.read_text() == "[client]\ngroups = dom0\n"
    assert "/etc/vmherd/vmclient.ini is kept; this version's is /etc/vmherd/vmclient.ini.new" in said
    assert edited.with_name("vmclient.ini.new").exists()
    assert not untouched.with_name("vmmanager.ini.new").exists()


def test_the_manager_and_the_bus_do_not_run_as_root(tmp_path: Path) -> None:
    install(tmp_path)
    for name in ("vmbus", "vmmanager"):
        assert f"\nUser={paths.USER}\n" in (tmp_path / f"etc/systemd/system/{name}.service").read_text()
        assert f"\nOWNER={paths.USER}\n" in (ROOT / f"conf/sysv/{name}").read_text().replace("@USER@", paths.USER)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (.ci/packages)")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    program = tmp_path / "bin"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    install(tmp_path)
    units = []
    for name in UNITS:
        unit = tmp_path / f"{name}.service"
        text = (tmp_path / f"etc/systemd/system/{name}.service").read_text()
        unit.write_text(re.sub(r"/opt/vmherd/venv/bin/\w+", str(program), text))
        units.append(str(unit))
    ended = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (.ci/packages)")
def test_the_shell_scripts_pass_shellcheck() -> None:
    checks = ["--severity=warning", "--exclude=SC1090,SC1091,SC2034,SC2174"]  # files of the target; variables for `functions`
    scripts = [str(path) for path in (ROOT / "conf/install", ROOT / "conf/sysv/functions", ROOT / ".ci/packages")]
    scripts += [str(ROOT / "conf/sysv" / name) for name in UNITS]
    ended = subprocess.run(
        ["shellcheck", "--shell=sh", *checks, *scripts], capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "conf").glob("*/vm*")), ROOT / "conf/sysv/functions", ROOT / "conf/install"], ids=str
)
def test_every_script_is_shell(path: Path) -> None:
    if path.read_text().startswith("#!"):
        assert os.access(path, os.X_OK)
        subprocess.run(["sh", "-n", path], timeout=60, check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed (.ci/packages)")
def test_logrotate_moves_a_log_and_the_daemon_goes_on_in_a_new_file(tmp_path: Path) -> None:
    from common import logs
    from common.config.model import LogConfig

    install(tmp_path, LOG=str(tmp_path))
    log, rules = tmp_path / "vmbus.log", tmp_path / "etc/logrotate.d/vmherd"
    tmp_path.chmod(0o755)  # logrotate refuses folders that others may write
    logs.set_up(LogConfig("file", log), "vmbus")
    logs.part("bus").info("before")
    subprocess.run(["logrotate", "--force", "--state", tmp_path / "state", rules], timeout=100, check=True)
    logs.part("bus").info("after")
    assert "before" in (tmp_path / "vmbus.log.1").read_text()
    assert log.read_text().endswith("info bus: after\n")
