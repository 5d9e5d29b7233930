"""`python -m bootlab run|up`: the boot lab's scenarios played, or a boot server left running with machines to power on."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bootlab.lab import Lab, missing
from bootlab.machines import MACHINES
from provision.programs import NotToBeHad
from xenlab import images, network, scenario
from xenlab.commandline import INTERRUPTED, MISSING, interrupted_by_signals, say
from xenlab.processes import Failed

SCENARIOS = Path(__file__).resolve().parent / "scenarios"
CACHE = images.ROOT / ".cache"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bootlab", description="Empty machines in emulation that boot from the network."
    )
    made.add_argument("--folder", type=Path, default=CACHE / "bootlab", help="of the lab's files and logs")
    what = made.add_subparsers(dest="what", required=True)
    what.add_parser("up", help="the boot server, and all machines powered on, until Ctrl-C")
    run = what.add_parser("run", help="play scenarios, all of them or those named")
    run.add_argument("scenarios", nargs="*", type=Path, metavar="FILE")
    return made


def main(argv: Sequence[str]) -> int:
    """0: went well, 1: it did not, 77: cannot be run here, 130: Ctrl-C."""
    options = parser().parse_args(argv)
    interrupted_by_signals()
    try:
        if why := missing():
            raise NotToBeHad(why)
        return _run(options) if options.what == "run" else _up(options)
    except (NotToBeHad, Failed, scenario.ScenarioFault) as fault:
        print(f"bootlab: {fault}", file=sys.stderr)
        return MISSING if isinstance(fault, NotToBeHad) else 1
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    with _lab(options) as lab:
        try:
            for path in options.scenarios or sorted(SCENARIOS.glob("*.txt")):
                scenario.play(path, lab.vmctl, say, lab.do)
        finally:
            (lab.folder / "figures.json").write_text(json.dumps(lab.figures, indent=1) + "\n")
        say(f"all scenarios went well: {lab.figures}")
    return 0


def _up(options: argparse.Namespace) -> int:
    with _lab(options) as lab:
        for name in MACHINES:
            lab.power_on(name)
        say(f"until you press Ctrl-C: export VMHERD_SOCKET={lab.socket}; consoles are in {lab.folder}/machines")
        while True:
            lab.processes.check()
            time.sleep(0.5)


@contextmanager
def _lab(options: argparse.Namespace) -> Iterator[Lab]:
    """Raises Failed, NotToBeHad."""
    folder: Path = options.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Lab(folder, images.CACHE, say) as lab:
        lab.prepare()
        network.enter()  # only now: packages come from outside
        lab.serve()
        yield lab


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
