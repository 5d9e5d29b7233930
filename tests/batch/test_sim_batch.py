"""`python -m plugins.sim_batch`, and the properties and commands of a client whose batch system is the simulated one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.config.model import BatchConfig
from common.hypervisor import DomainConfig
from common.plugin import CommandFailed, Refused, Site, Unknown
from common.value import Value
from plugins import batch
from plugins.hypervisor_sim import SimHypervisor
from plugins.sim_batch import main
from plugins.sim_world import SimHost, SimWorld


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Site:
    """A farm with one machine of the queue sl4, of two processors."""
    SimWorld(tmp_path).add_host("xen1", SimHost())
    SimHypervisor("xen1", tmp_path).start(DomainConfig("sl4-xen1", memory_bytes=2**28, vcpus=2), limit_s=5)
    return Site("head", batch=BatchConfig(engine="sim", farm=tmp_path, sim_queues=("sl4", "debian")))


def submit(tmp_path: Path, *words: str) -> None:
    assert main([str(tmp_path), "submit", *words]) == 0


def rows(told: list[Value]) -> list[dict[str, Any]]:
    assert all(isinstance(one, dict) for one in told)
    return told  # type: ignore[return-value]


def test_jobs_that_users_submit_are_told_by_queue_and_user(site: Site, tmp_path: Path) -> None:
    submit(tmp_path, "sl4", "--count", "3", "--user", "ada", "--group", "physics")
    submit(tmp_path, "debian", "--cores", "4", "--feature", "big")
    submit(tmp_path, "debian", "--held")
    told = {(one["queue"], one["feature"], one["group"], one["user"]): one for one in rows(batch.batch_jobs(site))}
    ours, theirs = told["sl4", "", "physics", "ada"], told["debian", "big", "", ""]
    assert len(told) == 2
    assert [ours[key] for key in ("waiting", "running", "running_cores")] == [1, 2, 2]
    assert [theirs[key] for key in ("waiting", "waiting_cores", "running")] == [1, 4, 0]


def test_commands_do_to_a_node_what_they_say(site: Site, tmp_path: Path) -> None:
    submit(tmp_path, "sl4")

    def node() -> tuple[str, int, str]:
        (one,) = rows(batch.batch_nodes(site))
        return one["state"], one["jobs"], one["note"]

    assert node() == ("busy", 1, "")
    assert batch.batch_drain(site, "sl4-xen1", "vmherd: goes to debian") == {"node": "sl4-xen1"}
    assert node() == ("draining", 1, "vmherd: goes to debian")
    assert batch.batch_requeue(site, "sl4-xen1") == {"node": "sl4-xen1", "jobs": 1}
    assert node() == ("drained", 0, "vmherd: goes to debian")
    batch.batch_resume(site, "sl4-xen1")
    assert node() == ("busy", 1, "")
    batch.batch_gone(site, "sl4-xen1")
    assert node()[:2] == ("drained", 0)


def test_the_next_question_fails_as_it_was_told_to(site: Site, tmp_path: Path) -> None:
    assert main([str(tmp_path), "fail", "nodes", "--why", "the server is restarted"]) == 0
    with pytest.raises(Unknown, match="sim on head: the server is restarted"):
        batch.batch_nodes(site)
    assert len(batch.batch_nodes(site)) == 1
    assert main([str(tmp_path), "fail", "drain"]) == 0
    with pytest.raises(CommandFailed, match="sim on head: it was told to fail"):
        batch.batch_drain(site, "sl4-xen1")
    with pytest.raises(Refused, match="no queue has a node web1"):
        batch.batch_drain(site, "web1")


def test_jobs_are_listed_and_those_that_wait_are_cancelled(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submit(tmp_path, "sl4", "--count", "3")
    batch.batch_jobs(site)
    assert main([str(tmp_path), "cancel", "sl4"]) == 0
    capsys.readouterr()
    assert main([str(tmp_path), "jobs"]) == 0
    assert [line.split()[1:3] for line in capsys.readouterr().out.splitlines()[1:]] == [["sl4", "running"]] * 2


@pytest.mark.parametrize(
    "words", [["submit", "sl4", "--count", "0"], ["submit", "sl4", "--length", "soon"], ["fail", "nothing"]]
)
def test_wrong_words_are_refused(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path), *words])
    assert end.value.code == 2


def test_a_farm_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), "submit", "sl4"]) == 1
    assert "there is no such folder" in capsys.readouterr().err
