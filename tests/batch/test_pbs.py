"""OpenPBS and Torque by recorded output: what is read of it, and what is said to their programs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.batch import BatchError, Demand, NoSuchNode
from plugins.batch_pbs import Pbs
from tests.batch.recorded import Recorded, text

NOW = time.mktime(time.strptime("Tue Oct  4 21:24:20 2022"))


@pytest.fixture(name="openpbs")
def _openpbs(tmp_path: Path) -> Recorded:
    made = Recorded(tmp_path)
    made.add("qstat", ("--version",), "pbs_version = 22.05.11\n")
    made.add("qstat", ("-f", "-t", "json"), text("pbs-qstat.json"))
    made.add("pbsnodes", ("-a", "json"), text("pbs-nodes.json"))
    made.add("pbsnodes", ("-o",), "")
    made.add("pbsnodes", ("-r",), "")
    made.obeys("qrerun")
    return made


@pytest.fixture(name="torque")
def _torque(tmp_path: Path) -> Recorded:
    made = Recorded(tmp_path)
    made.add("qstat", ("--version",), "Version: 6.1.3\nCommit: 0\n")
    made.add("qstat", ("-f", "-t"), text("pbs-torque-qstat.txt"))
    made.add("pbsnodes", ("-a",), text("pbs-torque-nodes.txt"))
    made.add("pbsnodes", ("-o",), "")
    made.obeys("qrerun")
    return made


def test_jobs_of_openpbs(openpbs: Recorded) -> None:
    assert Pbs(openpbs.programs, lambda: NOW).demand(limit_s=10) == (
        Demand("debian", "", "meta", "eva", waiting=1, waiting_cores=1, oldest_wait_s=60.0),
        Demand("sl4", "os=sl4", "meta", "jan", running=1, running_cores=4),
    )


def test_nodes_of_openpbs(openpbs: Recorded) -> None:
    found = {one.name: (one.state, one.jobs, one.cores) for one in Pbs(openpbs.programs).nodes(limit_s=10)}
    assert found == {
        "sl4-a": ("busy", 1, 2),
        "sl4-b": ("draining", 1, 2),
        "sl4-c": ("down", 0, 2),
        "debian-a": ("down", 0, 2),
        "debian-b": ("idle", 0, 2),
    }


def test_orders_to_openpbs(openpbs: Recorded) -> None:
    pbs = Pbs(openpbs.programs)
    pbs.drain("debian-b", "vmherd: why", limit_s=10)
    pbs.drain("sl4-b", "vmherd: it is so already", limit_s=10)
    pbs.resume("sl4-b", limit_s=10)
    assert pbs.requeue("sl4-a", limit_s=10) == 1
    said = [call for call in openpbs.orders("pbsnodes", "qrerun") if "-a" not in call]
    assert said == [
        ["pbsnodes", "-o", "-C", "vmherd: why", "debian-b"],
        ["pbsnodes", "-r", "-C", "", "sl4-b"],
        ["pbsnodes", "-o", "-C", "vmherd gone: its virtual machine is gone", "sl4-a"],
        ["qrerun", "-W", "force", "1286.pbs"],
    ]


def test_torque(torque: Recorded) -> None:
    pbs = Pbs(torque.programs, lambda: NOW)
    assert pbs.demand(limit_s=10) == (
        Demand("sl4", "sl4", "users", "ada", 1, 1, waiting_cores=4, running_cores=2, oldest_wait_s=60.0),
    )
    found = {one.name: (one.state, one.jobs) for one in pbs.nodes(limit_s=10)}
    assert found == {"sl4-a": ("busy", 1), "sl4-b": ("drained", 0), "debian-a": ("down", 0)}
    assert pbs.requeue("sl4-a", limit_s=10) == 0, "a job that may not be run twice"
    assert torque.orders("qrerun") == []


@pytest.mark.parametrize("name", ["nobody", "-a", "sl4-a,sl4-b"])
def test_a_node_that_nobody_knows_is_said_and_nothing_is_done(openpbs: Recorded, name: str) -> None:
    with pytest.raises(NoSuchNode, match="pbsnodes on head: PBS knows no node"):
        Pbs(openpbs.programs).drain(name, "vmherd", limit_s=10)
    assert all("-o" not in call for call in openpbs.orders("pbsnodes"))


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "qstat: nothing to say",
        '{"timestamp":1750053827}',
        '{"pbs_version":"22","Jobs":[]}',
        '{"pbs_version":"22","Jobs":{"1.pbs":{"job_state":"?","queue":"a"}}}',
        '{"pbs_version":"22","Jobs":{"1.pbs":{"job_state":"Q","queue":"a","qtime":"yesterday"}}}',
    ],
)
def test_what_is_not_understood_is_no_empty_queue(openpbs: Recorded, answer: str) -> None:
    openpbs.add("qstat", ("-f", "-t", "json"), answer)
    with pytest.raises(BatchError, match="qstat on head: its answer is not understood"):
        Pbs(openpbs.programs).demand(limit_s=10)


def test_half_a_text_is_not_understood(torque: Recorded) -> None:
    torque.add("pbsnodes", ("-a",), text("pbs-torque-nodes.txt")[:-25] + "     sta")
    with pytest.raises(BatchError, match="pbsnodes on head: its answer is not understood"):
        Pbs(torque.programs).nodes(limit_s=10)
