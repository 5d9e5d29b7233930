"""A host dies, and its protected VMs run elsewhere: real daemons, simulated hypervisors with their watchdogs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failover.farm import VM, Guarded, guarded

pytestmark = pytest.mark.slow


@pytest.fixture(name="made")
def _made(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path) as one:
        yield one


def _three_hosts(made: Guarded, **files: str) -> str:
    """mail1 runs, protected, on one of three hosts. Which."""
    made.manager("m1", vms=VM.format(name="mail1"), **files)
    for name in ("xen1", "xen2", "xen3"):
        made.host(name)
    return made.wait_runs("mail1")


def test_the_vms_of_a_host_that_dies_run_elsewhere(made: Guarded) -> None:
    host = _three_hosts(made)
    died = made.die(host)
    other = made.wait_runs("mail1", off=host)
    took_s = time.monotonic() - died
    assert made.runs("mail1") == [other]
    assert took_s < 15.0
    assert made.states()[host] == "dead"
    made.farm.start_client(host)
    made.wait_state(host, "online")
    assert made.runs("mail1") == [other]
