"""What a real Slurm printed, and what is made of it; the real one itself is in test_contract.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.batch import BatchError, Demand
from plugins import slurm_output as output
from plugins.batch_slurm import Slurm
from plugins.batch_tally import by_node, demand
from tests.batch.recorded import Recorded, text

NOW = 1795935098.0


def recorded(name: str) -> str:
    """Without the two lines that say where it comes from."""
    return "".join(text(f"slurm-{name}.txt").splitlines(keepends=True)[2:])


def test_jobs_held_or_waiting_for_something_else_than_a_node_do_not_wait() -> None:
    assert demand(output.parse_jobs(recorded("squeue")), NOW) == (
        Demand("debian", "debian", "root", "root", running=2, running_cores=2),
        Demand("sl4", "", "root", "root", waiting=1, running=3, waiting_cores=1, running_cores=5, oldest_wait_s=3.0),
        Demand("sl4", "sl4", "root", "root", waiting=1, waiting_cores=2, oldest_wait_s=3.0),
    )


def test_a_job_on_two_nodes_is_on_both() -> None:
    assert by_node(output.parse_jobs(recorded("squeue"))) == {"debian-a": 2, "sl4-01": 2, "sl4-02": 1, "sl4-03": 1}


def test_nodes() -> None:
    there = by_node(output.parse_jobs(recorded("squeue")))
    found = [output.node(one, there[one.name]) for one in output.parse_nodes(recorded("nodes"))]
    assert [(one.name, one.state, one.jobs, one.cores, one.note) for one in found] == [
        ("debian-a", "busy", 2, 2, "allocated"),
        ("debian-b", "down", 0, 2, "down: off"),
        ("sl4-01", "busy", 2, 2, "allocated"),
        ("sl4-02", "busy", 1, 2, "mixed"),
        ("sl4-03", "draining", 1, 2, "allocated+drain: vmherd: goes to debian"),
        ("sl4-04", "down", 0, 2, "down: off"),
    ]


@pytest.mark.parametrize(
    ("state", "jobs", "seen"),
    [
        ("IDLE", 0, "idle"),
        ("IDLE", 1, "busy"),
        ("IDLE*", 0, "joining"),
        ("IDLE+NOT_RESPONDING", 0, "joining"),
        ("DOWN*", 0, "down"),
        ("DOWN+DRAIN", 1, "down"),
        ("IDLE+DRAIN", 0, "drained"),
        ("IDLE+DRAIN", 1, "draining"),
        ("IDLE+COMPLETING+DRAIN", 0, "draining"),
        ("IDLE+POWERED_DOWN", 0, "down"),
        ("IDLE+POWERING_UP", 0, "joining"),
        ("UNKNOWN", 0, "joining"),
        ("PERFCTRS", 0, "unknown"),
    ],
)
def test_states(state: str, jobs: int, seen: str) -> None:
    line = f"NodeName=a Arch=x CPUAlloc=0 CPUEfctv=2 CPUTot=2 CPULoad=0 State={state} ThreadsPerCore=1\n"
    (one,) = output.parse_nodes(line)
    assert output.node(one, jobs).state == seen


@pytest.mark.parametrize(
    ("text", "tasks"),
    [("7", 1), ("7_3", 1), ("7_[1-5]", 5), ("7_[1-5,9%2]", 6), ("7_[1-9:2]", 5)],
)
def test_an_array_is_as_many_jobs_as_are_left_of_it(text: str, tasks: int) -> None:
    head = recorded("squeue").split("\n")[0]
    line = output.SEPARATOR.join((text, "PENDING", "sl4", "(null)", "g", "u", "2", "1", "Resources", ""))
    (one,) = output.parse_jobs(f"{head}\n{line}\n")
    assert (one.count, one.waiting) == (tasks, True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", ["a"]),
        ("a[1-3]", ["a1", "a2", "a3"]),
        ("a[08-10,12]-x,b", ["a08-x", "a09-x", "a10-x", "a12-x", "b"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
    ],
)
def test_lists_of_nodes(text: str, names: list[str]) -> None:
    assert list(output.hosts(text)) == names


@pytest.mark.parametrize("name", ["squeue", "nodes"])
def test_no_part_of_an_answer_is_taken_for_all_of_it(tmp_path: Path, name: str) -> None:
    """Cut anywhere but between two lines, which nothing can tell."""
    whole = recorded(name)
    made = Recorded(tmp_path)
    made.add("squeue", (), recorded("squeue"))
    made.add("scontrol", (), recorded("nodes"))
    slurm = Slurm(made.programs)
    assert slurm.nodes(limit_s=20)
    program = "squeue" if name == "squeue" else "scontrol"
    for cut in (0, 1, len(whole) // 3, len(whole) - 1):
        made.add(program, (), whole[:cut])
        with pytest.raises(BatchError, match=rf"^{program} on head: its answer is not understood: "):
            slurm.nodes(limit_s=20)


def test_a_queue_without_jobs_is_empty() -> None:
    assert output.parse_jobs(recorded("squeue").split("\n")[0] + "\n") == ()
