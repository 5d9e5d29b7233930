"""The results of `vmsim batch` as tables on a terminal and as CSV files. Computes nothing but medians and ratios."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from sim.batch import FREE, Done
from sim.figures import QUANTILES, Figures

COLUMNS = ("MEAN s", "MEDIAN s", "P95 s", "SLOWDOWN", "BY WORK s", "USEFUL", "SWITCHES", "BACK", "DRAIN h", "BOOT h", "KILLED")
MIX_STEP_S = 3600.0


def cells(found: Figures) -> list[str]:
    waits = found.waits
    return [
        f"{waits.mean_s:.0f}",
        f"{waits.median_s:.0f}",
        f"{waits.p95_s:.0f}",
        f"{found.slowdown:.1f}",
        f"{found.work_wait_s:.0f}",
        f"{found.utilisation:.1%}",
        str(found.switches),
        str(found.taken_back),
        f"{found.drain_lost_h:.1f}",
        f"{found.boot_lost_h:.1f}",
        str(found.killed),
    ]


def show_runs(screen: Console, done: Sequence[Done], environments: Sequence[str]) -> None:
    """One row for each contender; all of one load and one variant."""
    free_s = next((each.figures.waits.mean_s for each in done if each.task.contender == FREE), 0.0)
    table = _table("POLICY", COLUMNS, "OF FREE", *(f"{name} {what}" for name in environments for what in ("MEAN s", "MAX s")))
    for task, found in done:
        ratio = f"{found.waits.mean_s / free_s:.2f}" if free_s else "-"
        each = [f"{value:.0f}" for waits in found.environments for value in (waits.mean_s, waits.max_s)]
        table.add_row(task.contender, *cells(found), ratio, *each)
    screen.print(table)


def show_variants(screen: Console, done: Sequence[Done]) -> None:
    """Over all variants of each load: the mean wait against the free farm's, its median, least and most."""
    table = _table("POLICY", ("LOAD", "VARIANTS", "MEAN s", "OF FREE", "LEAST", "MOST", "KILLED"))
    free = {(task.load, task.shake): found.waits.mean_s for task, found in done if task.contender == FREE}
    for load in sorted({task.load for task, _ in done}):
        for contender in dict.fromkeys(task.contender for task, _ in done):
            mine = [(task, found) for task, found in done if (task.load, task.contender) == (load, contender)]
            ratios = [found.waits.mean_s / free[load, task.shake] for task, found in mine if free[load, task.shake]]
            spread = [f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))] if ratios else ["-"] * 3
            means = median(found.waits.mean_s for _, found in mine)
            table.add_row(
                contender, f"{load:g}", str(len(mine)), f"{means:.0f}", *spread, str(sum(found.killed for _, found in mine))
            )
    screen.print(table)


def _table(first: str, columns: Sequence[str], *more: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first)
    for column in (*columns, *more):
        table.add_column(column, justify="right")
    return table


def write(folder: Path, done: Sequence[Done], environments: Sequence[str]) -> None:
    """summary.csv, waits.csv and mix.csv. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    each = [f"{name}_{what}_s" for name in environments for what in ("mean", "p95", "max")]
    head = ["policy", "load", "variant", "mean_s", "median_s", "p95_s", "max_s", "slowdown", "work_wait_s", "utilisation",
            "switches", "taken_back", "drain_lost_h", "boot_lost_h", "killed", *each]  # fmt: skip
    _csv(folder / "summary.csv", head, (_summary(*one) for one in done))
    _csv(folder / "waits.csv", ["policy", "load", "variant", "environment", "share_of_jobs", "wait_s_at_most"],
         (row for one in done for row in _waits(one, environments)))  # fmt: skip
    _csv(folder / "mix.csv", ["policy", "load", "variant", "at_s", *(f"{name}_slots" for name in environments),
                              *(f"{name}_waiting" for name in environments)],
         (row for one in done for row in _mix(one)))  # fmt: skip


def _csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def _summary(task: object, found: Figures) -> list[object]:
    assert isinstance(task, tuple)
    load, shake, contender = task
    waits = found.waits
    return [contender, load, shake, *(round(value, 3) for value in (waits.mean_s, waits.median_s, waits.p95_s, waits.max_s)),
            round(found.slowdown, 4), round(found.work_wait_s, 3), round(found.utilisation, 6), found.switches,
            found.taken_back, round(found.drain_lost_h, 3), round(found.boot_lost_h, 3), found.killed,
            *(round(value, 3) for each in found.environments for value in (each.mean_s, each.p95_s, each.max_s))]  # fmt: skip


def _waits(one: Done, environments: Sequence[str]) -> Iterable[list[object]]:
    task, found = one
    for name, quantiles in zip(("all", *environments), found.quantiles_s, strict=True):
        for number, wait_s in enumerate(quantiles):
            yield [task.contender, task.load, task.shake, name, number / QUANTILES, round(wait_s, 3)]


def _mix(one: Done) -> Iterable[list[object]]:
    """The first change of each hour."""
    task, found = one
    hour = -1.0
    for at_s, serving, waiting in found.mix:
        if at_s // MIX_STEP_S > hour:
            hour = at_s // MIX_STEP_S
            yield [task.contender, task.load, task.shake, round(at_s, 1), *serving, *waiting]
