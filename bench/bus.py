"""How fast `vmbus` is against real Spread: `python -m bench.bus [--quick]`. Prints tables, takes under two minutes.

The reference is a Spread 5.0.1 daemon (the newest release), measured with the same shape of load, on a machine of the same kind
(2 shared cores, loopback, clients = one Python epoll process, AGREED service). With VMHERD_SPREAD=PORT@HOST a live daemon is
measured too, in the same run, turn about with vmbus; then the ratios are against that one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil

from .busload import Address, connects, fan_in, fan_out, round_trips

KB = 1000
# (receivers, bytes) -> delivered messages/s of Spread 5.0.1; one sender, window of 150 messages, without it receivers are cut
SPREAD_FAN_OUT = {
    (1, 1 * KB): 53341,
    (1, 10 * KB): 21535,
    (1, 100 * KB): 2890,
    (10, 1 * KB): 177920,
    (10, 10 * KB): 47646,
    (10, 100 * KB): 5151,
    (100, 1 * KB): 92723,
    (100, 10 * KB): 21654,
    (100, 100 * KB): 3116,
    (300, 1 * KB): 96471,
    (300, 10 * KB): 19794,
    (300, 100 * KB): 3371,
}
SPREAD_FAN_IN_S = {10 * KB: 0.026, 100 * KB: 0.144}  # 300 clients, one message each, to one group member
SPREAD_ROUND_TRIP_S = {100: 80e-6, 10 * KB: 192e-6, 100 * KB: 452e-6}  # median, to oneself
SPREAD_CONNECTS_S = {300: 0.058, 990: 0.278}  # 0.28 s for 997, the most it takes
Measure = Callable[[Address], float]


@contextlib.contextmanager
def vmbus() -> Iterator[tuple[Address, psutil.Process]]:
    """A vmbus in a process of its own, as it is deployed."""
    command = [sys.executable, "-m", "common.bus.vmbus", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            started = re.search(r"listening on 127\.0\.0\.1:(\d+)", process.stderr.readline())
            if not started:
                raise SystemExit("vmbus did not start")
            yield ("127.0.0.1", int(started[1])), psutil.Process(process.pid)
        finally:
            process.terminate()


def live_spread() -> Address | None:
    """The daemon named by VMHERD_SPREAD."""
    text = os.environ.get("VMHERD_SPREAD")
    if not text:
        return None
    port, _, host = text.partition("@")
    return host or "127.0.0.1", int(port)


def machine() -> str:
    with open("/proc/cpuinfo") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{psutil.cpu_count()} cores, {model}, Python {platform.python_version()}, Linux {platform.release()}"


class Table:
    """Prints a line per point: ours, the reference, how many times better we are."""

    def __init__(self, title: str, unit: str, bigger_is_better: bool, live: Address | None, runs: int) -> None:
        self._bigger_is_better = bigger_is_better
        self._live = live
        self._runs = runs
        print(f"\n{title} ({unit}, median of {runs})")
        columns = f"{'':>20} {'vmbus':>12} {'Spread 5.0.1':>14}" + (f" {'live Spread':>12}" if live else "")
        print(f"{columns} {'ratio':>7} {'lowest..highest':>25}")

    def point(self, name: str, address: Address, measure: Measure, reference: float) -> float:
        ours, lives = [], []
        for _ in range(self._runs):
            ours.append(measure(address))
            if self._live:
                lives.append(measure(self._live))
        value = statistics.median(ours)
        against = statistics.median(lives) if lives else reference
        ratio = value / against if self._bigger_is_better else against / value
        live = f" {number(against):>12}" if lives else ""
        spread = f"{number(min(ours))}..{number(max(ours))}"
        print(f"{name:>20} {number(value):>12} {number(reference):>14}{live} {ratio:>6.1f}x {spread:>25}", flush=True)
        return ratio


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.4g}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="one short run of each point, to see that it works")
    quick = options.parse_args().quick
    live = None if quick else live_spread()
    print(machine())
    print("Reference: Spread 5.0.1 on 2 shared cores" + (f", and the live daemon at {live[1]}@{live[0]}" if live else ""))
    with vmbus() as (address, process):
        ratios = measure_all(address, live, 1 if quick else 3, 0.1 if quick else 0.5)
        used, memory_mb = process.cpu_times(), process.memory_info().rss / 1e6
    print(
        f"\nvmbus used {used.user:.1f} s of CPU in Python, {used.system:.1f} s in the kernel; it ends with {memory_mb:.0f} MB"
    )
    print(f"lowest ratio {min(ratios):.1f}x, median {statistics.median(ratios):.1f}x")


def measure_all(address: Address, live: Address | None, runs: int, seconds: float) -> list[float]:
    """Every table; returns the ratios."""
    ratios = []
    table = Table("One sender to N receivers", "messages delivered per second", True, live, runs)
    for (receivers, size), reference in SPREAD_FAN_OUT.items():

        def rate(at: Address, receivers: int = receivers, size: int = size) -> float:
            return fan_out(at, receivers, size, seconds).delivered_per_s

        ratios.append(table.point(f"{receivers} x {size // KB} KB", address, rate, reference))
    table = Table("300 senders, one message each, to one member", "milliseconds", False, live, runs)
    for size, reference_s in SPREAD_FAN_IN_S.items():

        def gather(at: Address, size: int = size) -> float:
            return fan_in(at, 300, size) * 1e3

        ratios.append(table.point(f"{size // KB} KB", address, gather, reference_s * 1e3))
    table = Table("Round trip to oneself", "microseconds, median of 1,000", False, live, runs)
    for size, reference_s in SPREAD_ROUND_TRIP_S.items():

        def trip(at: Address, size: int = size) -> float:
            return round_trips(at, size, 1000)[0] * 1e6

        ratios.append(table.point(f"{size:,} bytes", address, trip, reference_s * 1e6))
    table = Table("Connects, one after the other", "milliseconds", False, live, runs)
    for count, reference_s in SPREAD_CONNECTS_S.items():

        def connect(at: Address, count: int = count) -> float:
            return connects(at, count) * 1e3

        ratios.append(table.point(f"{count} sessions", address, connect, reference_s * 1e3))
    return ratios


if __name__ == "__main__":
    main()
