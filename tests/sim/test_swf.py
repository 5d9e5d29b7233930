"""Traces are read as their format says, and a bad one is refused with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from sim import synthetic
from sim.shaking import BURST_GAP_S, SHIFT_S, loaded, shaken
from sim.swf import Split, Trace, TraceFault, parse, parse_split, read


def line(number: int, submit: object, run: object = 100, processors: object = 1, user: int = 5, group: object = 1) -> str:
    return f"{number} {submit} -1 {run} {processors} -1 -1 1 -1 -1 1 {user} {group} -1 1 1 -1 -1"


BY_GROUP = Split("group", ())


def test_jobs_come_in_order_of_their_submission_with_their_environment() -> None:
    text = ["; a comment", "", line(1, 70, 30, group=2), line(2, 50, 20, group=1), line(3, 60, 10, group=7)]
    trace = parse("t.swf", text, Split("group", (2,)))
    assert trace.environments == ("group2", "others")
    assert [(job.submit_s, job.run_s, job.environment) for job in trace.jobs] == [(0, 20, 1), (10, 10, 1), (20, 30, 0)]


def test_each_value_is_an_environment_where_none_is_named() -> None:
    assert parse("t.swf", [line(1, 0, group=3), line(2, 0, group=9)], BY_GROUP).environments == ("group3", "group9")


def test_jobs_that_never_ran_are_left_out_and_counted() -> None:
    trace = parse("t.swf", [line(1, 0), line(2, 0, run=-1), line(3, 0, processors=0), line(4, 0, group=2)], BY_GROUP)
    assert (len(trace.jobs), trace.skipped) == (2, 2)


def test_a_job_of_n_processors_is_n_jobs() -> None:
    assert len(parse("t.swf", [line(1, 0, processors=3), line(2, 0, group=2)], BY_GROUP).jobs) == 4


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1 2 3", "t.swf:2: 3 fields, a job of a SWF trace has 18"),
        (line(1, "soon"), "t.swf:2: could not convert string to float: 'soon'"),
        (line(1, 0, processors="two"), "t.swf:2: invalid literal for int() with base 10: 'two'"),
        (line(1, -5), "t.swf:2: submit time -5 and run time 100 are impossible"),
        (line(1, "nan"), "t.swf:2: submit time nan and run time 100 are impossible"),
        (line(1, 0, run="inf"), "t.swf:2: submit time 0 and run time inf are impossible"),
        (line(1, 0, processors=10**9), "t.swf:2: more than 5000000 jobs"),
        ("; nothing", "t.swf: no job that ran"),
        (line(1, 0), "t.swf: 1 environments by group, 2 to 16 are possible"),
    ],
)
def test_a_bad_trace_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(TraceFault) as fault:
        parse("t.swf", ["; head", text], BY_GROUP)
    assert str(fault.value) == why


def test_a_value_that_no_job_has_is_refused() -> None:
    with pytest.raises(TraceFault, match="no job of group 4; there are 1, 2"):
        parse("t.swf", [line(1, 0), line(2, 0, group=2)], Split("group", (4,)))


@pytest.mark.parametrize("text", ["colour:1", "group:red", "group:1,"])
def test_a_split_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TraceFault, match=f"--split {text}: "):
        parse_split(text)


def test_a_file_that_is_cut_off_or_missing_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.swf.gz"
    cut.write_bytes(gzip.compress(line(1, 0).encode())[:-9])
    for path in (cut, tmp_path / "none.swf", tmp_path):
        with pytest.raises(TraceFault, match=str(path)):
            read(path, BY_GROUP)


def test_the_shipped_trace_is_what_its_generator_makes() -> None:
    assert gzip.decompress(synthetic.PATH.read_bytes()).decode() == synthetic.text(), "python -m sim.synthetic writes it anew"


@pytest.fixture(scope="module")
def trace() -> Trace:
    return read(synthetic.PATH, BY_GROUP)


def test_a_variant_is_the_same_jobs_shaken_a_little_and_always_the_same(trace: Trace) -> None:
    variant = shaken(trace, 3)
    assert variant == shaken(trace, 3) != shaken(trace, 4)
    assert shaken(trace, 0) is trace
    assert sorted((job.environment, job.user) for job in variant.jobs) == sorted(
        (job.environment, job.user) for job in trace.jobs
    )
    assert sum(job.run_s for job in variant.jobs) == pytest.approx(sum(job.run_s for job in trace.jobs), rel=0.02)
    assert [job.submit_s for job in variant.jobs] == sorted(job.submit_s for job in variant.jobs)


def test_a_burst_moves_as_one(trace: Trace) -> None:
    burst = [job._replace(submit_s=1e5 + BURST_GAP_S * number, user=99) for number, job in enumerate(trace.jobs[:20])]
    moved = [job.submit_s for job in shaken(trace._replace(jobs=burst), 1).jobs]
    assert {round(after - job.submit_s, 6) for after, job in zip(moved, burst, strict=True)} == {round(moved[0] - 1e5, 6)}
    assert 0 < abs(moved[0] - 1e5) <= SHIFT_S


def test_load_brings_jobs_faster(trace: Trace) -> None:
    assert loaded(trace, 2.0).jobs[-1].submit_s == trace.jobs[-1].submit_s / 2
    assert loaded(trace, 1) is trace
