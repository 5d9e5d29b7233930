"""`vmsim batch` as its user sees it: the table, the files, the faults. table.txt is written anew with --rewrite."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from sim.__main__ import main

TABLE = Path(__file__).parent / "table.txt"
LPC = os.environ.get("VMHERD_LPC_TRACE", "")
OWN = ["--expr", "min(env.waiting, 4) + env.running"]


def test_the_table_of_the_shipped_trace(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    assert main(["batch", "--policy", "static,greedy,proportional,waterfill,utilisation,cost", "--shake", "1", *OWN]) == 0
    said = "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines())
    if request.config.getoption("--rewrite"):
        TABLE.write_text(said, encoding="utf-8")
    assert said == TABLE.read_text(encoding="utf-8")


def test_loads_and_variants_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "batch",
        "--policy",
        "waterfill",
        "--load",
        "0.5,1",
        "--shake",
        "1",
        "--quota",
        "group2=2-15",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["load"], row["variant"]) for row in rows} == {("0.5", "0"), ("0.5", "1"), ("1.0", "0"), ("1.0", "1")}
    assert [row["killed"] for row in rows] == ["0"] * len(rows)
    with (tmp_path / "mix.csv").open() as file:
        mine = [row for row in csv.DictReader(file) if row["policy"] == "waterfill" and float(row["at_s"]) > 86_400]
    assert mine
    assert all(int(row["group2_slots"]) <= 15 and int(row["group1_slots"]) <= 18 for row in mine)
    with (tmp_path / "waits.csv").open() as file:
        waits = [float(row["wait_s_at_most"]) for row in csv.DictReader(file) if row["environment"] == "all"]
    assert len(waits) == 4 * 5 * 201
    capsys.readouterr()


def test_plots_where_matplotlib_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no plots")
    assert main(["batch", "--policy", "waterfill", "--out", str(tmp_path), "--processes", "1"]) == 0
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in ("mix.png", "waits.png"))
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--policy", "magic"], "--policy magic: there are static, greedy, proportional, waterfill, utilisation, cost"),
        (["--split", "colour"], "--split colour: colour is none of user, group, executable, queue, partition"),
        (["--hosts", "0"], "0 slots: at least one for each of 2 environments, at most 100000"),
        (["--load", "fast"], "--load fast: numbers are wanted, such as 0.8,1,1.2"),
        (["--load", "0"], "--load 0: at most 20 numbers above 0 are wanted"),
        (["--quota", "sl4=1"], "--quota sl4=1: there is no environment sl4, there are group1, group2"),
        (["--quota", "group1=x"], "--quota group1=x: NAME=MIN or NAME=MIN-MAX is wanted"),
        (["--quota", "group1=9-3"], "environment group1: min = 9 and max = 3 leave nothing between them"),
        (["--quota", "group1=20"], "--quota: the least of all environments together is more than the 20 slots"),
        (["--quota", "group1=0-0", "--policy", "waterfill"], "waterfill: 1074 jobs wait for ever"),
        (["--dead-band", "2"], "dead_band is a share of 0 to 1"),
        (["--expr", "env.waiting +"], "--expr:"),
        (["--trace", "none.swf"], "none.swf: No such file or directory"),
    ],
)
def test_a_fault_is_one_sentence(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"vmsim: {why}")
    assert said.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not LPC, reason="VMHERD_LPC_TRACE does not name LPC-EGEE-2004-1.2-cln.swf.gz of the Parallel Workloads Archive"
)
def test_waterfill_on_the_lpc_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--trace",
        LPC,
        "--split",
        "group:2",
        "--hosts",
        "45",
        "--slots",
        "2",
        "--policy",
        "waterfill",
        "--out",
        str(tmp_path),
    ]
    assert main(["batch", *words]) == 0
    capsys.readouterr()
    with (tmp_path / "summary.csv").open() as file:
        rows = {row["policy"]: row for row in csv.DictReader(file)}
    mean_s = float(rows["waterfill"]["mean_s"])
    assert mean_s <= 1.35 * float(rows["free, one queue"]["mean_s"])
    assert mean_s <= 1.35 * float(rows["free, level"]["mean_s"])
    assert mean_s <= float(rows["fixed, by share"]["mean_s"]) / 5
    assert mean_s <= float(rows["fixed, best"]["mean_s"]) / 5
    assert rows["waterfill"]["killed"] == "0"
