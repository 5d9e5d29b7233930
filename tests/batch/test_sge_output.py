"""What a real Grid Engine printed, and what is made of it; the real one itself is in test_contract.py."""

from __future__ import annotations

import pytest

from common.batch import Demand
from plugins import sge_output as output
from plugins.batch_tally import by_node, demand
from tests.batch.recorded import text

SUBMITTED = output._seconds("2026-11-29T06:33:15")


def test_jobs() -> None:
    assert SUBMITTED is not None
    jobs = output.parse_jobs(text("sge-qstat.xml"))
    assert demand(jobs, SUBMITTED + 60) == (
        Demand("debian", "", "", "root", waiting=5, waiting_cores=5, oldest_wait_s=60.0),
        Demand("debian", "mem_free=1G", "", "root", waiting=1, waiting_cores=2, oldest_wait_s=60.0),
        Demand("sl4", "", "", "root", running=2, running_cores=2),
        Demand("sl4", "arch=lx-amd64", "", "root", running=1, running_cores=1),
    )
    assert by_node(jobs) == {"sl4-a": 2, "sl4-b": 1}


def test_nodes() -> None:
    found = [output.node(one) for one in output.parse_nodes(text("sge-qhost.xml"))]
    assert [(one.name, one.state, one.jobs, one.cores) for one in found] == [
        ("debian-a", "down", 0, 2),
        ("sl4-a", "busy", 2, 2),
        ("sl4-b", "busy", 1, 2),
    ]


@pytest.mark.parametrize(
    ("state", "said"),
    [("", "busy"), ("d", "draining"), ("ds", "down"), ("du", "down"), ("E", "unknown"), ("a", "busy"), ("s", "busy")],
)
def test_states(state: str, said: str) -> None:
    told = text("sge-qhost.xml").replace(
        "<queuevalue qname='sl4' name='state_string'></queuevalue>",
        f"<queuevalue qname='sl4' name='state_string'>{state}</queuevalue>",
    )
    found = {one.name: output.node(one).state for one in output.parse_nodes(told)}
    assert found["sl4-b"] == said


@pytest.mark.parametrize("cut", range(0, 3000, 97))
def test_half_an_answer_is_not_understood(cut: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        output.parse_jobs(text("sge-qstat.xml")[:cut])
    with pytest.raises(ValueError, match=r"."):
        output.parse_nodes(text("sge-qhost.xml")[:cut])
