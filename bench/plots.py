"""The prototype's four plots: what the manager uses as the number of clients grows. Measured by bench/fleet.py."""

from __future__ import annotations

import time
from pathlib import Path

import matplotlib

from bench.fleet import Cost, bus_bytes, cost, fetch_all, fleet

COUNTS = (10, 50, 100, 200, 300, 500, 1000)
SIZES = (10_000, 100_000)
QUERY_S = 30.0  # the prototype's client_query
INSTANT_CLIENTS = 100
INSTANT_STEP_S = 0.25


def draw(folder: Path, seconds: float) -> None:
    """Measures every point, prints it, and writes four PNGs into `folder`."""
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    curves: dict[int, list[Cost]] = {}
    print(f"\nThe manager while client_query asks all clients each {QUERY_S:.0f} s, {seconds:.0f} s a point")
    print(f"{'clients':>7} {'bytes':>9} {'% of core':>10} {'RSS MB':>8} {'in KB/s':>10} {'out KB/s':>9}")
    for size in SIZES:
        for clients in COUNTS:
            point = cost(clients, size, seconds, QUERY_S)
            curves.setdefault(size, []).append(point)
            print(
                f"{clients:>7} {size:>9,} {100 * point.cpu_share:>10.2f} {point.rss_bytes / 1e6:>8.0f}"
                f" {point.in_per_s / 1e3:>10.1f} {point.out_per_s / 1e3:>9.2f}",
                flush=True,
            )
    _curve(folder / "cpu.png", curves, "Manager CPU", "% of one core", lambda point: 100 * point.cpu_share)
    _curve(folder / "memory.png", curves, "Manager memory", "MB resident", lambda point: point.rss_bytes / 1e6)
    _curve(
        folder / "network.png",
        curves,
        "Manager network use, mean",
        "KB/s",
        lambda point: (point.in_per_s + point.out_per_s) / 1e3,
    )
    _instant(folder / "network-instant.png", seconds)


def _curve(path: Path, curves: dict[int, list[Cost]], title: str, unit: str, value: object) -> None:
    from matplotlib import pyplot

    assert callable(value)
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for size, points in sorted(curves.items()):
        axes.plot(
            [point.clients for point in points], [value(point) for point in points], "o-", label=f"{size // 1000} KB a client"
        )
    axes.axvline(300, color="grey", linewidth=0.8, linestyle=":")
    axes.annotate(
        "the prototype's test ended here", (300, 0.96), xycoords=("data", "axes fraction"), fontsize=8, ha="left", va="top"
    )
    axes.set(title=f"{title}, asked each {QUERY_S:.0f} s", xlabel="clients", ylabel=unit)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _instant(path: Path, seconds: float) -> None:
    """What comes in, by quarter seconds, with INSTANT_CLIENTS."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for size in SIZES:
        with fleet(INSTANT_CLIENTS, size, ticks=60.0, query_s=10.0) as farm:
            fetch_all(farm)
            times, rates = [], []
            before, at = sum(bus_bytes(farm)), time.monotonic()
            begun = at
            while at - begun < min(seconds, 40.0):
                time.sleep(INSTANT_STEP_S)
                now, total = time.monotonic(), sum(bus_bytes(farm))
                times.append(now - begun)
                rates.append((total - before) / (now - at) / 1e6)
                before, at = total, now
        axes.plot(times, rates, label=f"{size // 1000} KB a client")
    axes.set(title=f"Manager network use, instant, {INSTANT_CLIENTS} clients asked each 10 s", xlabel="s", ylabel="MB/s")
    axes.set_yscale("symlog", linthresh=0.01)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
