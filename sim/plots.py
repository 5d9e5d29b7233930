"""The results of `vmsim batch` as PNG files: the mix over time, and the distribution of waits. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sim.batch import Done
from sim.figures import QUANTILES

DAY_S = 86_400.0


def draw(folder: Path, done: Sequence[Done], environments: Sequence[str], slots: int) -> list[Path]:
    """mix.png and waits.png, of one load and one variant. Raises ImportError without matplotlib, OSError."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    switched = [one for one in done if len(one.figures.mix) > 2]
    paths = [_waits(folder / "waits.png", done)]
    return [_mix(folder / "mix.png", switched, environments, slots), *paths] if switched else paths


def _mix(path: Path, done: Sequence[Done], environments: Sequence[str], slots: int) -> Path:
    """One band for each policy: slots that serve each environment, stacked."""
    from matplotlib import pyplot

    figure, bands = pyplot.subplots(len(done), 1, figsize=(11, 1.0 + 1.6 * len(done)), sharex=True, squeeze=False)
    for (axes,), (task, found) in zip(bands, done, strict=True):
        days = [at_s / DAY_S for at_s, _, _ in found.mix]
        stacked = [[serving[number] for _, serving, _ in found.mix] for number in range(len(environments))]
        axes.stackplot(days, *stacked, labels=environments, step="post")
        axes.set(ylabel=task.contender, ylim=(0, slots), xlim=(0, days[-1]))
    bands[0][0].legend(loc="upper right", fontsize=8, ncols=len(environments))
    bands[0][0].set_title("slots that serve each environment; white: on their way")
    bands[-1][0].set_xlabel("days")
    return _saved(figure, path)


def _waits(path: Path, done: Sequence[Done]) -> Path:
    """The share of jobs that wait longer than so long."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5))
    more = [1 - number / QUANTILES for number in range(QUANTILES + 1)]
    for task, found in done:
        seen = [(wait_s, share) for wait_s, share in zip(found.quantiles_s[0], more, strict=True) if wait_s >= 1]
        axes.plot([wait_s for wait_s, _ in seen], [share for _, share in seen], label=task.contender)
    axes.set(xscale="log", xlabel="wait, s", ylabel="share of jobs that wait longer")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return _saved(figure, path)


def _saved(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return path
