"""Programs of fence-agents themselves, as a manager runs them: what they take, and what their exit status means to us."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
from pathlib import Path

import pytest

from common.config.model import FenceConfig, Where
from vmmanager.events import FenceEnded, RunFence
from vmmanager.failover.fencing import Action, Run
from vmmanager.fenceagents import PATHS, FenceAgents

DUMMY, IPMI = "fence_dummy", "fence_ipmilan"
LIMIT_S = 120.0
NOWHERE = Where("fences.ini", 1)


def agent(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATHS}")
    if not found:
        pytest.skip(f"the program {name} is missing (package fence-agents)")
    return found


def fenced(*devices: FenceConfig) -> tuple[str, list[str]]:
    """What a manager finds out of a host that it wants to be off: how it ended, and what came of each step."""
    run, ended = Run("h1", 1, "alice", 0.0, devices), queue.Queue[FenceEnded]()
    agents, outcome = FenceAgents(ended.put), ""
    while not outcome:
        action: Action = run.step.action
        agents.run(RunFence("h1", 1, run.step.device, action))
        told = ended.get(timeout=LIMIT_S)
        outcome = run.ended(told.status, told.text)
    return outcome, run.said


def dummy(power: Path, kind: str, name: str = "power") -> FenceConfig:
    return FenceConfig(name, NOWHERE, agent(DUMMY), ("h*",), LIMIT_S, options={"type": kind, "status_file": str(power)})


@pytest.fixture
def power(tmp_path: Path) -> Path:
    """Of a host, as the dummy agent keeps it: on."""
    path = tmp_path / "power"
    told = f"type=file\nstatus_file={path}\naction=on\n"
    subprocess.run([agent(DUMMY)], input=told, text=True, check=True, capture_output=True, timeout=LIMIT_S)
    assert path.read_text() == "on"
    return path


def test_the_power_is_cut(power: Path) -> None:
    assert fenced(dummy(power, "file")) == ("off", ["power: power is off"])
    assert power.read_text() == "off"


def test_what_is_off_already_is_off(power: Path) -> None:
    fenced(dummy(power, "file"))
    assert fenced(dummy(power, "file"))[0] == "off"


def test_a_device_that_fails_is_followed_by_the_next(power: Path) -> None:
    outcome, said = fenced(dummy(power, "fail", "broken"), dummy(power, "file"))
    assert outcome == "off"
    assert power.read_text() == "off"
    assert said[0].startswith("broken: off failed (exit status 1)")
    assert said[-1] == "power: power is off"


def test_a_controller_that_does_not_answer_proves_nothing_and_its_password_is_told_nobody(tmp_path: Path) -> None:
    agent("ipmitool")
    secrets = tmp_path / "secrets"
    secrets.write_text("password=wizard\n")
    secrets.chmod(0o600)
    options = {
        "ip": "127.0.0.1",
        "ipport": "9",
        "lanplus": "1",
        "username": "admin",
        "login_timeout": "2",
        "power_timeout": "2",
    }
    outcome, said = fenced(FenceConfig("bmc", NOWHERE, agent(IPMI), ("h*",), LIMIT_S, secrets, options))
    assert outcome == "failed"
    assert len(said) == 2
    assert "wizard" not in " ".join(said)
