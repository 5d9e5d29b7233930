"""HTCondor by recorded output: what is read of it, and what is said to its programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.batch import BatchError, Demand, Node, NoSuchNode
from plugins.batch_htcondor import CHECK, HTCondor
from tests.batch.recorded import Recorded, text

NOW = 1_664_911_474.0


@pytest.fixture(name="pool")
def _pool(tmp_path: Path) -> Recorded:
    made = Recorded(tmp_path)
    made.add("condor_q", ("-json",), text("htcondor-q.json"))
    made.add("condor_status", ("-startd",), text("htcondor-status.json"))
    made.add("condor_status", ("-absent",), '[\n{"Machine": "debian-b.site"}\n,\n{"Machine": "sl4-a.site"}\n]\n')
    made.obeys("condor_drain", "condor_hold", "condor_release")
    return made


def test_jobs(pool: Recorded) -> None:
    assert HTCondor(pool.programs, lambda: NOW).demand(limit_s=10) == (
        Demand("debian", "", "", "bob", waiting=1, waiting_cores=1, oldest_wait_s=60.0),
        Demand("sl4", "", "group_physics.alice", "alice", running=1, running_cores=2),
    )


def test_nodes(pool: Recorded) -> None:
    assert HTCondor(pool.programs).nodes(limit_s=10) == (
        Node("debian-a.site", "drained", 0, 2, "Drained/Idle"),
        Node("debian-b.site", "down", 0, 0, "absent"),
        Node("sl4-a.site", "busy", 1, 2, "Claimed/Busy, Unclaimed/Idle"),
        Node("sl4-b.site", "draining", 1, 2, "Claimed/Retiring, Drained/Retiring"),
    )


def test_orders(pool: Recorded) -> None:
    condor = HTCondor(pool.programs)
    condor.drain("sl4-a.site", "vmherd: why", limit_s=10)
    condor.drain("sl4-b.site", "vmherd: it is so already", limit_s=10)
    condor.resume("sl4-b.site", limit_s=10)
    condor.resume("sl4-a.site", limit_s=10)
    assert condor.requeue("sl4-a.site", limit_s=10) == 1
    assert pool.orders("condor_drain", "condor_hold", "condor_release") == [
        ["condor_drain", "-graceful", "-reason", "vmherd: why", "-check", CHECK, "sl4-a.site"],
        ["condor_drain", "-cancel", "sl4-b.site"],
        ["condor_hold", "-reason", "vmherd: its virtual machine is gone", "12.0"],
        ["condor_release", "12.0"],
    ]


def test_no_jobs_at_all_are_printed_as_nothing(pool: Recorded) -> None:
    pool.add("condor_q", ("-json",), "")
    assert HTCondor(pool.programs).demand(limit_s=10) == ()


@pytest.mark.parametrize(
    "answer", ["Failed to connect", "{}", "[1]", '[{"ClusterId": 1, "ProcId": 0, "JobStatus": 9}]', "[\n{"]
)
def test_what_is_not_understood_is_no_empty_queue(pool: Recorded, answer: str) -> None:
    pool.add("condor_q", ("-json",), answer)
    with pytest.raises(BatchError, match="condor_q on head: its answer is not understood"):
        HTCondor(pool.programs).demand(limit_s=10)


def test_a_node_that_nobody_knows_is_said_and_nothing_is_done(pool: Recorded) -> None:
    with pytest.raises(NoSuchNode, match="condor_status on head: HTCondor knows no node sl4-a"):
        HTCondor(pool.programs).drain("sl4-a", "vmherd", limit_s=10)
    assert pool.orders("condor_drain") == []
