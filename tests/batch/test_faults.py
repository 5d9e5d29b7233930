"""Whatever goes wrong with the programs of a batch system: the properties are unknown, with one sentence, and never empty."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config.model import BatchConfig
from common.plugin import CommandFailed, Refused, Site, Unknown
from common.value import Value
from plugins import batch

ENGINES = {"slurm": "squeue", "sge": "qstat", "pbs": "qstat", "htcondor": "condor_q"}  # the program that lists jobs
PROGRAMS = (
    *("squeue", "scontrol", "qstat", "qhost", "qmod", "pbsnodes", "qrerun"),
    *("condor_q", "condor_status", "condor_drain", "condor_hold", "condor_release"),
)
Make = Callable[[str, str], Site]


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Make:
    """Of an engine all of whose programs are this shell script."""

    def make(engine: str, script: str) -> Site:
        for name in PROGRAMS if script else ():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        config = BatchConfig(engine=engine, programs=tmp_path)  # type: ignore[arg-type]
        return Site("head", batch=config, remaining_s=lambda: 1.5)

    return make


WRONG = {
    "": "cannot be run: .*No such file or directory",
    "exec sleep 100": r"(not ended after|killed after|.*1(\.\d+)? s)",
    "echo Unable to contact the controller >&2; exit 1": "exit status 1: Unable to contact the controller",
    "kill -9 $$": "ended by signal 9",
    "echo garbage": "its answer is not understood: ",
    "true": "its answer is not understood: ",
}


CASES = [(engine, script) for engine in ENGINES for script in WRONG]
CASES.remove(("htcondor", "true"))  # it prints nothing where there is nothing


@pytest.mark.parametrize(("engine", "script"), CASES)
@pytest.mark.parametrize("read", [batch.batch_jobs, batch.batch_nodes])
def test_no_answer_is_unknown(site: Make, engine: str, script: str, read: Callable[[Site], list[Value]]) -> None:
    with pytest.raises(Unknown) as told:
        read(site(engine, script))
    text = str(told.value)
    assert re.match(rf"\w+ on head: {WRONG[script]}", text), text
    assert "\n" not in text
    if read is batch.batch_jobs:
        assert text.startswith(f"{ENGINES[engine]} ")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_command_that_cannot_be_done_has_failed_with_one_sentence(site: Make, engine: str) -> None:
    one = site(engine, "echo Access denied >&2; exit 1")
    for act in (batch.batch_drain, batch.batch_resume, batch.batch_gone, batch.batch_requeue):
        with pytest.raises(CommandFailed, match=r"^\w+ on head: .*Access denied$"):
            act(one, "wn1")


@pytest.mark.parametrize("node", ["", "-f", "*", "wn[1-9]", "a b", "wn1,wn2", "@all", "x" * 300])
def test_what_is_no_name_of_a_node_reaches_no_program(site: Make, node: str, tmp_path: Path) -> None:
    one = site("slurm", f"touch {tmp_path}/called")
    for act in (batch.batch_drain, batch.batch_resume, batch.batch_gone, batch.batch_requeue):
        with pytest.raises(Refused, match="is no name of a node"):
            act(one, node)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("reason", ['say "no"', "two\nlines", "back\\slash", "x" * 201])
def test_a_reason_that_a_program_could_misread_is_refused(site: Make, reason: str) -> None:
    with pytest.raises(Refused, match=r"^reason: "):
        batch.batch_drain(site("slurm", "true"), "wn1", reason)
