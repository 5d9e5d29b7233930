"""`python -m xenlab up|run|measure|shell`: the lab left running, its stories, how long VMs are away, a command in a host."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from provision.programs import NotToBeHad
from xenlab import deaths, disks, images, kinds, network, remote, scenario
from xenlab.commandline import INTERRUPTED, MISSING, interrupted_by_signals, say
from xenlab.files import MANAGERS_MAX
from xenlab.images import Images
from xenlab.kinds import Kind
from xenlab.lab import Lab
from xenlab.measure import DEATHS
from xenlab.processes import Failed

SCENARIOS = Path(__file__).resolve().parent / "scenarios"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m xenlab", description="Real Xen hosts in emulation, with the project on them."
    )
    made.add_argument("--folder", type=Path, default=images.CACHE / "lab", help="of the lab's files and logs")
    made.add_argument("--release", default="", help="of Debian, for the images; default: this machine's")
    made.add_argument("--fences", action="store_true", help="with a fence device for every host")
    made.add_argument("--disks", action="store_true", help="with a share, and domains whose disks lie on it")
    made.add_argument("--hosts", type=int, default=2, choices=range(1, network.HOSTS_MAX + 1))
    made.add_argument("--managers", type=int, default=1, choices=range(1, MANAGERS_MAX + 1))
    what = made.add_subparsers(dest="what", required=True)
    what.add_parser("build", help="build the images, and say what takes the room")
    what.add_parser("up", help="leave the lab running until Ctrl-C")
    run = what.add_parser("run", help="play scenarios, all of them or those named")
    run.add_argument("scenarios", nargs="*", type=Path, metavar="FILE")
    times = what.add_parser("measure", help="how long a protected VM is away")
    times.add_argument("--runs", type=int, default=20)
    times.add_argument("--death", default="", help="only those with this in their name")
    shell = what.add_parser("shell", help="one command in a host")
    shell.add_argument("host")
    shell.add_argument("command")
    return made


def main(argv: Sequence[str]) -> int:
    """0: went well, 1: it did not, 77: cannot be run here, 130: Ctrl-C."""
    options = parser().parse_args(argv)
    try:
        return _do(options)
    except (NotToBeHad, Failed, remote.Unanswered, scenario.ScenarioFault) as fault:
        print(f"xenlab: {fault}", file=sys.stderr)
        return MISSING if isinstance(fault, NotToBeHad) else 1
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return INTERRUPTED


def _do(options: argparse.Namespace) -> int:
    if options.what == "shell":
        done = remote.run(agent_of(options.folder, options.host), options.command)
        print(done.output, end="")
        return done.status
    if why := images.missing():
        raise NotToBeHad(why)
    if options.what == "build":
        built = images.build(say, options.release)
        print(built.dom0.report, built.tiny.report, built.client.report, sep="")
        return 0
    interrupted_by_signals()
    built = images.build(say, options.release)
    plain = Kind(options.hosts, options.managers, options.fences, options.disks)
    if options.what == "run":
        for kind, paths in kinds.grouped(options.scenarios or sorted(SCENARIOS.glob("*.txt")), plain).items():
            if kind.disks and (why := disks.missing()):
                say(f"skipped: {', '.join(path.name for path in paths)}: {why}")
                continue
            with _lab(options, built, kind) as lab:
                for path in paths:
                    scenario.play(path, lab.vmctl, say, lab.do)
        say("all scenarios went well")
    elif options.what == "measure":
        chosen = (one for one in DEATHS if options.death in one.name)
        print(deaths.measure(chosen, options.runs, lambda kind: _safe(options, built, kind), say))
    else:
        with _lab(options, built, plain) as lab:
            _tell(lab)
            while True:
                lab.processes.check()
                time.sleep(0.5)
    return 0


@contextmanager
def _lab(options: argparse.Namespace, built: Images, kind: Kind) -> Iterator[Lab]:
    """Up. Raises Failed, NotToBeHad."""
    folder: Path = options.folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    network.enter()
    with Lab(folder, built, kind, say) as lab:
        say(f"{kind}")
        lab.up()
        yield lab


@contextmanager
def _safe(options: argparse.Namespace, built: Images, kind: Kind) -> Iterator[Lab]:
    """The same, and its protected domain runs. Raises Failed, NotToBeHad."""
    with _lab(options, built, kind) as lab:
        lab.protect()
        yield lab


def _tell(lab: Lab) -> None:
    vmctl = Path(sys.executable).parent / "vmctl"
    say("the lab runs until you press Ctrl-C. In another terminal:")
    print(f"  export VMHERD_SOCKET={lab.operator.socket()}")
    for words in ("host list", "vm start web1", "vm console-log web1", "vm list"):
        print(f"  {vmctl} {words}")
    print(f"  python -m xenlab shell {lab.names[0]} 'xl list'")
    print(f"Logs: {lab.folder}/log", flush=True)


def agent_of(folder: Path, host: str) -> Path:
    """Of a host of the lab that is up. Raises Failed."""
    try:
        hosts = json.loads((folder / "lab.json").read_text())["hosts"]
    except (OSError, ValueError, KeyError):
        raise Failed(f"no lab is up in {folder}") from None
    if host not in hosts:
        raise Failed(f"there is no host {host} here, only {', '.join(hosts)}")
    return Path(hosts[host]["agent"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
