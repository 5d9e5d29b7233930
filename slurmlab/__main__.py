"""`python -m slurmlab run|up`: the story of the lab, or the lab left running."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from provision.programs import NotToBeHad
from slurmlab import story
from slurmlab.cluster import LabFault
from slurmlab.lab import Lab
from xenlab.commandline import INTERRUPTED, MISSING, interrupted_by_signals, say
from xenlab.processes import Failed


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m slurmlab", description="A real Slurm whose worker nodes vmherd switches.")
    made.add_argument("--keep", action="store_true", help="leave files and logs where they are")
    what = made.add_subparsers(dest="what", required=True)
    what.add_parser("run", help="play the whole story")
    what.add_parser("up", help="leave the lab running until Ctrl-C")
    return made


def main(argv: Sequence[str]) -> int:
    """0: went well, 1: it did not, 77: cannot be run here, 130: Ctrl-C."""
    options = parser().parse_args(argv)
    interrupted_by_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="slurmlab-", dir="/tmp", ignore_cleanup_errors=True) as name:
            return _play(Path(name), options)  # a socket's path is short, so not in $TMPDIR
    except NotToBeHad as fault:
        print(f"slurmlab: {fault}", file=sys.stderr)
        return MISSING
    except (Failed, LabFault) as fault:
        print(f"slurmlab: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return INTERRUPTED


def _play(folder: Path, options: argparse.Namespace) -> int:
    try:
        with Lab(folder, say) as lab:
            lab.up("static" if options.what == "run" else "waterfill")
            if options.what == "up":
                _leave(lab)
            story.tell(lab)
    except BaseException:
        if options.keep:
            _keep(folder)
        raise
    say("the whole story went well")
    return 0


def _keep(folder: Path) -> None:
    """When nothing runs in it any more."""
    kept = Path(tempfile.mkdtemp(prefix="slurmlab-kept-")) / "lab"
    folder.rename(kept)
    folder.mkdir()
    say(f"files and logs: {kept}")


def _leave(lab: Lab) -> NoReturn:
    vmctl = Path(sys.executable).parent / "vmctl"
    say("the lab runs until you press Ctrl-C. In another terminal:")
    print(f"  export VMHERD_SOCKET={lab.folder}/{lab.leader()}/run/vmmanager.sock SLURM_CONF={lab.cluster.layout.conf}")
    print("  sbatch -p debian --array=1-40 --output=/dev/null --wrap 'sleep 10'")
    for words in ("env list", "env show", "env plan"):
        print(f"  {vmctl} {words}")
    print(f"Logs: {lab.folder}/log", flush=True)
    while True:
        lab.processes.check()
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
