"""`python -m halab run|measure`: the scenarios on a farm in network namespaces, or how long VMs are away when hosts die."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from halab import network
from halab.files import Kind
from halab.lab import Lab
from halab.measure import DEATHS
from provision.programs import NotToBeHad
from xenlab import deaths, scenario
from xenlab.commandline import INTERRUPTED, MISSING, interrupted_by_signals, say
from xenlab.processes import Failed

SCENARIOS = Path(__file__).resolve().parent / "scenarios"


def main(argv: Sequence[str]) -> int:
    """0: went well, 1: it did not, 77: cannot be run here, 130: Ctrl-C."""
    words = argparse.ArgumentParser(prog="python -m halab", description="A farm in network namespaces, to kill and to cut.")
    what = words.add_subparsers(dest="what", required=True)
    run = what.add_parser("run", help="play scenarios, all of them or those named")
    run.add_argument("scenarios", nargs="*", type=Path, metavar="FILE")
    run.add_argument("--jobs", type=int, default=6, metavar="N", help="so many farms at a time; they mostly wait")
    times = what.add_parser("measure", help="how long VMs are away")
    times.add_argument("--runs", type=int, default=20)
    times.add_argument("--death", default="", help="only those with this in their name")
    options = words.parse_args(argv)
    interrupted_by_signals()
    try:
        if why := network.missing():
            raise NotToBeHad(why)
        paths = (options.scenarios or sorted(SCENARIOS.glob("*.txt"))) if options.what == "run" else []
        if len(paths) > 1:
            return _each(paths, options.jobs)
        network.enter()
        if options.what == "measure":
            print(deaths.measure((one for one in DEATHS if options.death in one.name), options.runs, _measured, say))
        else:
            _run(paths[0])
    except (NotToBeHad, Failed, scenario.ScenarioFault) as fault:
        print(f"halab: {fault}", file=sys.stderr)
        return MISSING if isinstance(fault, NotToBeHad) else 1
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return INTERRUPTED
    return 0


def _each(paths: Sequence[Path], jobs: int) -> int:
    """Each in a process and a network of its own. 0: all went well."""

    def play(path: Path) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "halab", "run", str(path)]
        return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=Path(__file__).resolve().parents[1])

    worst = 0
    with ThreadPoolExecutor(jobs) as pool:
        for path, done in zip(paths, pool.map(play, paths), strict=True):
            say(f"{path.stem}: {'went well' if done.returncode == 0 else f'ended with {done.returncode}'}")
            if done.returncode:
                print(done.stdout, done.stderr, sep="", flush=True)
                worst = max(worst, done.returncode)
    return worst


def _run(path: Path) -> None:
    wanted = scenario.head(path, "farm")
    kind = Kind(storage="storage" in wanted, watchdog="no-watchdog" not in wanted, fence="fence" in wanted)
    with up(kind, path.stem) as lab:
        scenario.play(path, lab.vmctl, say, lab.do)


def _measured(kind: Kind) -> AbstractContextManager[Lab]:
    return up(kind, "measure")


@contextmanager
def up(kind: Kind, name: str) -> Iterator[Lab]:
    """Raises Failed or ScenarioFault with the ends of all logs."""
    with tempfile.TemporaryDirectory(prefix="vmherd-halab-", dir="/tmp") as folder, Lab(Path(folder), kind, say) as lab:
        say(f"{name}: {kind}")
        try:
            lab.up()
            yield lab
        except (Failed, scenario.ScenarioFault) as fault:
            tails = [lab.processes.tail(path.stem) for path in sorted(lab.processes.logs.glob("*.log"))]
            raise type(fault)("\n".join([str(fault), *tails])) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
