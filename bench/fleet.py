"""Fleet rounds and the manager's own cost: `python -m bench.fleet [--quick] [--plots DIR]`.

A real vmbus, a real vmmanager, and clients as bench/fleetclients.py has them (real cores, keys, sockets, in two processes), all
on this machine. A round is `vmctl get --fetch blob --on all`: FETCHPROP to every client, every answer verified and in the
manager's state, every client reported to the asker. With --plots, the prototype's four plots are measured and drawn.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.bus import machine, vmbus
from vmctl.link import Link

START_S = 120.0
CLIENT_PROCESSES = 2
ROUNDS = ((300, 10_000, 0.3), (300, 100_000, 1.5), (2000, 1_000, 2.0))  # clients, bytes, goal in s (DESIGN section 12)

COMMON_INI = """\
[bus]
daemon = {port}@127.0.0.1
[log]
target = stderr
level = ERROR
[paths]
state = state
run = run
local_keys = {keys}
"""

MANAGER_INI = f"""\
[manager]
name = mgr.bench
grace = 0
history_keep = 10
{COMMON_INI}"""

QUERY_INI = """\
[client_query]
expr = {{ len(manager.clients) != 0 }}
cmd = {{ sender.send_get_property() }}
ticks = {ticks}
on_update_check = no
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running farm."""

    link: Link
    manager: psutil.Process
    port: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What the manager used over a while: share of one core, bytes resident, bytes a second from and to the bus."""

    clients: int
    cpu_share: float
    rss_bytes: float
    in_per_s: float
    out_per_s: float


@contextlib.contextmanager
def fleet(clients: int, size: int, *, ticks: float = -1.0, query_s: float = 0.0) -> Iterator[Fleet]:
    """`clients` of them, each with one property of `size` bytes; with `query_s` the trigger client_query asks that often."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmherd-bench-")))
        address, _ = stack.enter_context(vmbus())
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        (folder / "vmmanager.ini").write_text(MANAGER_INI.format(port=address[1], keys=keys))
        if query_s:
            (folder / "triggers.d").mkdir(mode=0o700)
            (folder / "triggers.d" / "query.ini").write_text(QUERY_INI.format(ticks=query_s))
            (folder / "triggers.d" / "query.ini").chmod(0o600)
        manager = stack.enter_context(daemon("vmmanager", "--config", str(folder / "vmmanager.ini")))
        link = Link(folder / "run" / "vmmanager.sock", answer_s=START_S)
        wait(lambda: (folder / "run" / "vmmanager.sock").exists() and link.ask("status")["leading"], "the manager leads")
        share = -(-clients // CLIENT_PROCESSES)
        starting = [
            stack.enter_context(_clients(address[1], first, min(share, clients - first), size, ticks, keys))
            for first in range(0, clients, share)
        ]
        for process in starting:
            assert process.stdout is not None
            process.stdout.readline()
        wait(lambda: link.ask("status")["clients"]["connected"] == clients, f"{clients} clients are connected")
        yield Fleet(link, psutil.Process(manager.pid), address[1])


@contextlib.contextmanager
def daemon(module: str, *words: str, stdout: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-m", module, *words], stdout=stdout, env=os.environ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _clients(port: int, first: int, count: int, size: int, ticks: float, keys: Path) -> contextlib.AbstractContextManager:  # type: ignore[type-arg]
    return daemon(
        "bench.fleetclients",
        *("--daemon", f"{port}@127.0.0.1", "--first", str(first), "--count", str(count)),
        *("--bytes", str(size), "--ticks", str(ticks), "--local-keys", str(keys)),
        stdout=subprocess.PIPE,
    )


def wait(ready: object, what: str) -> None:
    assert callable(ready)
    end = time.monotonic() + START_S
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"after {START_S:.0f} s it is still not so that {what}")
        time.sleep(0.1)


def fetch_all(farm: Fleet) -> int:
    """Every client reads its property now; how many answered."""
    result = farm.link.ask("get", {"targets": ["all"], "names": ["blob"], "fetch": True, "timeout": 60})
    return len(result["answered"])


def rounds(clients: int, size: int, goal_s: float, runs: int) -> None:
    """Prints the median of some rounds."""
    with fleet(clients, size) as farm:
        took: list[float] = []
        for at in range(runs + 1):
            started = time.perf_counter()
            if (answered := fetch_all(farm)) != clients:
                raise SystemExit(f"{answered} of {clients} answered")
            if at:  # the first one warms up
                took.append(time.perf_counter() - started)
        rss = farm.manager.memory_info().rss / 1e6
        verdict = "" if statistics.median(took) <= goal_s else "  (over the goal)"
        print(
            f"{clients:>7} {size:>9,} {statistics.median(took):>9.3f} {min(took):>8.3f}..{max(took):.3f} {goal_s:>7}"
            f" {clients / statistics.median(took):>12,.0f} {rss:>9.0f}{verdict}",
            flush=True,
        )


def cost(clients: int, size: int, seconds: float, query_s: float) -> Cost:
    """The manager's use while `client_query` asks all clients for everything each `query_s`."""
    with fleet(clients, size, ticks=60.0, query_s=query_s) as farm:
        fetch_all(farm)
        before, bytes_before, started = farm.manager.cpu_times(), bus_bytes(farm), time.monotonic()
        time.sleep(seconds)
        after, bytes_after, took = farm.manager.cpu_times(), bus_bytes(farm), time.monotonic() - started
        cpu = (after.user + after.system - before.user - before.system) / took
        return Cost(
            clients,
            cpu,
            farm.manager.memory_info().rss,
            (bytes_after[0] - bytes_before[0]) / took,
            (bytes_after[1] - bytes_before[1]) / took,
        )


def bus_bytes(farm: Fleet) -> tuple[int, int]:
    """Payload bytes that the manager received and sent."""
    bus = farm.link.ask("status")["bus"]
    return int(bus["received_bytes"]), int(bus["sent_bytes"])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="one small fleet, to see that it works")
    options.add_argument("--plots", type=Path, help="measure and draw the prototype's four plots into this folder")
    options.add_argument("--seconds", type=float, default=60.0, help="how long each point of the plots is measured")
    given = options.parse_args()
    print(machine())
    if given.plots:
        from bench.plots import draw

        draw(given.plots, given.seconds)
        return
    print(f"\nFleet rounds (FETCHPROP to all, every answer in the manager's state; s, {CLIENT_PROCESSES} processes of clients)")
    print(f"{'clients':>7} {'bytes':>9} {'median':>9} {'lowest..highest':>15} {'goal':>7} {'answers/s':>12} {'RSS MB':>9}")
    for clients, size, goal_s in ((20, 1_000, 1.0),) if given.quick else ROUNDS:
        rounds(clients, size, goal_s, 1 if given.quick else 7)


if __name__ == "__main__":
    main()
