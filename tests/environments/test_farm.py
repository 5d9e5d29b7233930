"""Environments by real daemons: a manager, hosts with the simulated hypervisor, a head node with the simulated batch system."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins import sim_batch
from plugins.hypervisor_sim import SimHypervisor
from tests.farm.farm import Farm, farm

pytestmark = pytest.mark.slow

HOSTS = ("wn1", "wn2", "wn3")
VMS = "[worker]\ntemplate = yes\nmemory = 512M\nkernel = /boot/vmlinuz\n"
ENVIRONMENTS = """\
[environments]
head = head
hosts = wn*
ticks = 1
hold = 1
[sl4]
template = worker
queue = sl4
[sl5]
template = worker
queue = sl5
min = 1
"""
HYPERVISOR = (
    "[hypervisor]\nengine = sim\nticks = 0.5\nfarm = {folder}/simfarm\nsim_memory = 4G\nsim_boot = 0.3s\nsim_shutdown = 0.1s\n"
)
BATCH = "[batch]\nengine = sim\nticks = 0.5\nfarm = {folder}/simfarm\nsim_queues = sl4, sl5\n"


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Iterator[Farm]:
    with farm(tmp_path) as made:
        made.manager("m1", start=False)
        for name, text in (("vms.ini", VMS), ("environments.ini", ENVIRONMENTS)):
            (tmp_path / "m1" / name).write_text(text)
            (tmp_path / "m1" / name).chmod(0o600)
        made.start_manager("m1")
        for name in HOSTS:
            made.client(name, start=False, allow=("vm", "log"))
            _append(tmp_path / name / "vmclient.ini", HYPERVISOR.format(folder=tmp_path))
            made.start_client(name)
        made.client("head", start=False, allow=("batch",))
        _append(tmp_path / "head" / "vmclient.ini", BATCH.format(folder=tmp_path))
        made.start_client("head")
        made.wait("all slots serve", lambda: _states(made) == {"serving": len(HOSTS)})
        yield made


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _slots(site: Farm) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = site.vmctl("m1", "env", "show", "--json").json
    return rows


def _states(site: Farm) -> dict[str, int]:
    return dict(Counter(str(row["state"]) for row in _slots(site)))


def _mix(site: Farm) -> dict[str, int]:
    return dict(Counter(str(row["environment"]) for row in _slots(site) if row["state"] == "serving"))


def _jobs(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert sim_batch.main([str(folder / "simfarm"), "jobs", "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_the_machines_follow_the_queues_and_no_job_is_run_twice(
    site: Farm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "simfarm")
    sim_batch.main([folder, "submit", "sl4", "--count", "8", "--length", "2s"])
    site.wait("sl4 has all but the minimum of sl5", lambda: _mix(site) == {"sl4": 2, "sl5": 1})
    sim_batch.main([folder, "submit", "sl5", "--count", "6", "--length", "3s"])
    site.wait("the slots of sl4 have gone to sl5", lambda: _mix(site).get("sl5", 0) >= 2)
    capsys.readouterr()
    site.wait("all jobs have ended", lambda: all(job["ended"] is not None for job in _jobs(tmp_path, capsys)))
    jobs = _jobs(tmp_path, capsys)
    assert len(jobs) == 14
    assert {job["runs"] for job in jobs} == {1}

    # the manager dies in the middle of a switch, and its successor ends it
    sim_batch.main([folder, "submit", "sl4", "--count", "9", "--length", "1s"])
    site.wait("a slot is on its way", lambda: set(_states(site)) != {"serving"})
    site.kill("m1")
    site.start_manager("m1")
    capsys.readouterr()
    site.wait("all jobs have ended", lambda: all(job["ended"] is not None for job in _jobs(tmp_path, capsys)))
    assert {job["runs"] for job in _jobs(tmp_path, capsys)} == {1}
    site.wait("all slots serve", lambda: _states(site) == {"serving": len(HOSTS)})

    # a machine dies by itself: its job starts again elsewhere
    sim_batch.main([folder, "submit", "sl4", "--count", "1", "--length", "6s"])
    capsys.readouterr()
    site.wait("it runs", lambda: any(job["started"] and not job["ended"] for job in _jobs(tmp_path, capsys)))
    (job,) = [job for job in _jobs(tmp_path, capsys) if not job["ended"]]
    host = str(job["node"]).removeprefix("sl4-")
    SimHypervisor(host, tmp_path / "simfarm").destroy(job["node"], limit_s=5)
    site.wait("it has ended", lambda: all(each["ended"] is not None for each in _jobs(tmp_path, capsys)))
    (again,) = [each for each in _jobs(tmp_path, capsys) if each["id"] == job["id"]]
    assert again["runs"] == 2

    # the batch system is not heard: the mix stays, and says so
    site.kill("head")
    site.wait("the mix stands", lambda: "not on the bus" in str(site.vmctl("m1", "env", "list", "--json").json["stands"]))
    shown = site.vmctl("m1", "env", "list")
    assert "unknown" in shown.out
    assert site.vmctl("m1", "env", "plan").code == 0
