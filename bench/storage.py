"""What one look of a leader at the storage heartbeat costs: `python -m bench.storage [--hosts 2000] [--folder DIR]`.

A beat and a claim of every host are read as the manager reads them, past the cache and with their checksums, beside
the same files read plainly in the same run. Give a folder of the share that you have: there each read is a round trip or more.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from bench.bus import machine
from common.blockfile import write_block
from common.storagebeat import Beat, Claim, beat_path, claim_path
from vmmanager.claimfiles import ClaimFiles
from vmmanager.events import ClaimWritten, LookAtStorage, StorageSeen

RUNS = 7
LIMIT_S = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=None, help="on the storage; default: the system's temporary folder")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), options.hosts)


def measure(folder: Path, hosts: int) -> None:
    """Prints medians of looks and of plain reads of the same files."""
    names = [f"host{number}" for number in range(hosts)]
    paths = [Path(path) for name in names for path in (beat_path(folder, name), claim_path(folder, name))]
    for parent in {path.parent for path in paths}:
        parent.mkdir(parents=True)
    for name in names:
        write_block(Path(beat_path(folder, name)), Beat(name, "boot", 1).encode())
        write_block(Path(claim_path(folder, name)), Claim(name, 0, 1, "mgr1").encode())
    seen: SimpleQueue[StorageSeen | ClaimWritten] = SimpleQueue()
    files = ClaimFiles(seen.put, time.monotonic)

    def look() -> None:
        files.do(LookAtStorage(folder))
        told = seen.get(timeout=LIMIT_S)
        assert isinstance(told, StorageSeen), told
        assert len(told.beats) == hosts, told.error

    def plain() -> None:
        for path in paths:
            path.read_bytes()

    wall_s, cpu_s = median(look)
    plain_s, _ = median(plain)
    print(f"a look at {hosts} hosts, {len(paths)} files: {wall_s:.2f} s ({cpu_s:.2f} s of a core); plainly: {plain_s:.2f} s")


def median(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and seconds of a core."""
    times = []
    for _ in range(RUNS):
        wall, cpu = time.monotonic(), time.process_time()
        work()
        times.append((time.monotonic() - wall, time.process_time() - cpu))
    return statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times)


if __name__ == "__main__":
    main()
