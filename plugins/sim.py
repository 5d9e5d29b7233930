"""`python -m plugins.sim FARM HOST crash VM`: what happens to a simulated farm by itself, for learning and for tests.

FARM is the folder that `farm` of [hypervisor] names. A guest crashes, somebody destroys a domain by hand or starts one of his
own, the next operation fails. Needs no daemon, and asks none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.config.values import size
from common.hypervisor import HypervisorError
from plugins.hypervisor_sim import SimHypervisor
from plugins.sim_world import Failure, SimWorld

BY_HAND_S = 10.0
FOREIGN = "256M"


def main(words: Sequence[str] | None = None) -> int:
    """0: done, 1: it cannot be, 2: wrong usage."""
    given = parser().parse_args(words)
    try:
        given.run(given)
    except HypervisorError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser("python -m plugins.sim", description="What happens to a simulated farm by itself.")
    top.add_argument("farm", type=Path, metavar="FARM", help="the folder of the farm")
    top.add_argument("host", metavar="HOST")
    below = top.add_subparsers(required=True, metavar="WHAT")
    for name, help, run in (
        ("crash", "the guest's kernel panics", _crash),
        ("destroy", "somebody destroys the domain by hand", _destroy),
        ("foreign", "somebody starts a domain of his own", _foreign),
        ("fail", "the next operation on the VM fails", _fail),
    ):
        made = below.add_parser(name, help=help)
        made.add_argument("vm", metavar="VM")
        made.set_defaults(run=run)
        if name == "fail":
            made.add_argument("operation", metavar="OPERATION", help="start, shutdown, save, migrate, ..., or list for all VMs")
            made.add_argument("--how", choices=("error", "hang", "unavailable"), default="error")
            made.add_argument("--why", default="it was told to fail", metavar="TEXT")
            made.add_argument("--times", type=int, default=1, metavar="N")
    return top


def _sim(given: argparse.Namespace) -> SimHypervisor:
    return SimHypervisor(given.host, given.farm)


def _crash(given: argparse.Namespace) -> None:
    _sim(given).crash(given.vm)


def _destroy(given: argparse.Namespace) -> None:
    _sim(given).destroy(given.vm, limit_s=BY_HAND_S)


def _foreign(given: argparse.Namespace) -> None:
    _sim(given).add_foreign(given.vm, size(FOREIGN))


def _fail(given: argparse.Namespace) -> None:
    SimWorld(given.farm).add_failure(
        Failure(given.operation, given.host, given.vm, given.how, given.why, times=max(1, given.times))
    )


if __name__ == "__main__":
    sys.exit(main())
