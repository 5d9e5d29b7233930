"""A real vmclient at rest: 20 properties at ticks 60 on a real bus; its CPU share and memory, over its whole process tree.

    python -m bench.client_rest [--seconds 120] [--ticks 60] [--properties 20]

CPU is the growth of utime + stime of all processes of the tree (proc(5), clock ticks of 10 ms, so a short run has an error of
one tick per process; the figure is printed with that error). Memory counts each page once, as this machine alone would: pages
that two processes of the tree share count once, those shared with strangers count in full (PSS would divide them by the
strangers as well).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
READY_S = 30.0
GOAL_CPU, GOAL_BYTES = 0.001, 40_000_000
READERS = (
    ("ram", "MemFree"), ("ram", "MemAvailable"), ("ram", "SwapFree"), ("ram", "Cached"), ("ram", "Dirty"),
    ("cpu", "percent"), ("cpu", "iowait"), ("cpu", "steal"), ("load", "1"), ("load", "5"), ("load", "15"),
    ("disk", "/, percent"), ("disk", "/, free"), ("disk", "/, inodes_percent"), ("net", "lo, rate_recv"),
    ("net", "lo, rate_sent"), ("uptime", ""), ("users", ""), ("file", "/etc/passwd, mtime"), ("process", "vmclient"),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--ticks", type=float, default=60.0)
    parser.add_argument("--properties", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.seconds, options.ticks, options.properties)
    if options.json:
        print(json.dumps(figures))
    else:
        report(figures)
    return 0


def report(figures: dict[str, float]) -> None:
    share, error = figures["cpu_share"], figures["cpu_error"]
    print(f"client at rest, {figures['properties']:.0f} properties at ticks {figures['ticks']:g}, {figures['seconds']:.0f} s:")
    verdict = "met" if share <= GOAL_CPU else "missed"
    print(f"  CPU      {share:.4%} of a core (+- {error:.4%}); goal < {GOAL_CPU:.1%}: {verdict}")
    verdict = "met" if figures["bytes_once"] <= GOAL_BYTES else "missed"
    print(f"  memory   {figures['bytes_once'] / 1e6:.1f} MB, each page once; goal < {GOAL_BYTES / 1e6:.0f} MB: {verdict}")
    pss, rss, private = (figures[name] / 1e6 for name in ("pss", "rss", "private_dirty"))
    print(f"           {pss:.1f} MB PSS, {rss:.1f} MB sum of RSS, {private:.1f} MB private")
    threads, processes = figures["threads"], figures["processes"]
    print(f"  wake-ups {figures['wakeups_per_s']:.2f} per second, {threads:.0f} threads in {processes:.0f} processes")


def measure(folder: Path, seconds: float, ticks: float, count: int) -> dict[str, float]:
    bus = subprocess.Popen(
        [sys.executable, "-m", "common.bus.vmbus", "--listen", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True
    )
    client: subprocess.Popen[bytes] | None = None
    try:
        conf = configuration(folder, port_of(bus), ticks, count)
        client = subprocess.Popen([sys.executable, "-m", "vmclient", "-c", str(conf)], stderr=(folder / "log").open("wb"))
        settle(client, folder / "log", ticks)
        before, switches, start = cpu_s(client.pid), wakeups(client.pid), time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - start
        tree = family(client.pid)
        return {
            "properties": count,
            "ticks": ticks,
            "seconds": passed,
            "cpu_share": (cpu_s(client.pid) - before) / passed,
            "cpu_error": len(tree) * TICK_S / passed,
            "wakeups_per_s": (wakeups(client.pid) - switches) / passed,
            "processes": len(tree),
            "threads": sum(len(os.listdir(f"/proc/{pid}/task")) for pid in tree),
            **memory(tree),
        }
    finally:
        for process in (client, bus):
            if process is not None:
                process.terminate()
                process.wait(15)


def port_of(bus: subprocess.Popen[str]) -> int:
    """vmbus says where it listens on its log."""
    assert bus.stderr is not None
    for line in bus.stderr:
        for word in line.replace(",", " ").split():
            host, colon, port = word.rpartition(":")
            if colon and host.endswith("127.0.0.1") and port.isdigit() and port != "0":
                return int(port)
    raise SystemExit("vmbus did not start")


def configuration(folder: Path, port: int, ticks: float, count: int) -> Path:
    (folder / "properties.d").mkdir()
    sections = []
    for number in range(count):
        command, parameters = READERS[number % len(READERS)]
        given = f"parameters = {parameters}\n" if parameters else ""
        sections.append(f"[p{number}]\ncommand = {command}\n{given}ticks = {ticks:g}\npush = on_change\n")
    (folder / "properties.d" / "p.ini").write_text("\n".join(sections))
    conf = folder / "vmclient.ini"
    conf.write_text(f"[client]\nname = rest\n[bus]\ndaemon = {port}@127.0.0.1\n[paths]\nstate = {folder}/state\n")
    return conf


def settle(client: subprocess.Popen[bytes], log: Path, ticks: float) -> None:
    """Until every property was read once: the first reads come within 5 s of the start."""
    deadline = time.monotonic() + READY_S
    while b"readers" not in log.read_bytes():
        if time.monotonic() > deadline or client.poll() is not None:
            raise SystemExit(f"vmclient did not start:\n{log.read_text()}")
        time.sleep(0.1)
    time.sleep(8.0)


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
            found += family(int(child))
    return found


def cpu_s(pid: int) -> float:
    """utime + stime of the tree, with children that were waited for; fields 14 to 17 of /proc/PID/stat."""
    total = 0
    for one in family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11:15])
    return total * TICK_S


def wakeups(pid: int) -> int:
    """Voluntary context switches of all threads: each is one wait that ended."""
    total = 0
    for one in family(pid):
        for task in os.listdir(f"/proc/{one}/task"):
            for line in Path(f"/proc/{one}/task/{task}/status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
    return total


def memory(tree: list[int]) -> dict[str, float]:
    sums: dict[str, int] = defaultdict(int)
    files: dict[str, int] = defaultdict(int)
    for pid in tree:
        clean: dict[str, int] = defaultdict(int)
        name = ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            words = line.split()
            if "-" in words[0] and not words[0].endswith(":"):
                name = " ".join([words[2], *words[5:]])
            elif words[0] in ("Rss:", "Pss:", "Private_Dirty:", "Shared_Dirty:"):
                sums[words[0]] += int(words[1]) * 1024
            elif words[0] in ("Private_Clean:", "Shared_Clean:"):
                clean[name] += int(words[1]) * 1024
        for mapping, size in clean.items():
            files[mapping] = max(files[mapping], size)
    once = sums["Private_Dirty:"] + sums["Shared_Dirty:"] + sum(files.values())
    return {"rss": sums["Rss:"], "pss": sums["Pss:"], "private_dirty": sums["Private_Dirty:"], "bytes_once": once}


if __name__ == "__main__":
    sys.exit(main())
