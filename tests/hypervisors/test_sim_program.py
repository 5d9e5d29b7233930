"""`python -m plugins.sim`: what happens to a simulated farm by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.hypervisor import DomainConfig, HypervisorError
from plugins.hypervisor_sim import SimHypervisor
from plugins.sim import main
from plugins.sim_world import SimHost, SimWorld

MAIL1 = DomainConfig("mail1", 512 * 1024 * 1024, kernel="/boot/vmlinuz")


@pytest.fixture(name="xen1")
def _xen1(tmp_path: Path) -> SimHypervisor:
    SimWorld(tmp_path).add_host("xen1", SimHost())
    made = SimHypervisor("xen1", tmp_path)
    made.start(MAIL1, limit_s=5)
    return made


def states(host: SimHypervisor) -> dict[str, str]:
    return {one.name: one.state for one in host.domains()}


def test_a_guest_crashes_and_a_domain_is_destroyed_by_hand(xen1: SimHypervisor) -> None:
    assert main([str(xen1.folder), "xen1", "crash", "mail1"]) == 0
    assert states(xen1) == {"mail1": "crashed"}
    assert main([str(xen1.folder), "xen1", "destroy", "mail1"]) == 0
    assert states(xen1) == {}


def test_somebody_starts_a_domain_of_his_own(xen1: SimHypervisor) -> None:
    assert main([str(xen1.folder), "xen1", "foreign", "theirs"]) == 0
    assert [one.ours for one in xen1.domains()] == [True, False]


def test_the_next_operation_fails(xen1: SimHypervisor) -> None:
    assert main([str(xen1.folder), "xen1", "fail", "mail1", "pause", "--why", "no luck"]) == 0
    with pytest.raises(HypervisorError, match="no luck"):
        xen1.pause("mail1", limit_s=5)
    xen1.pause("mail1", limit_s=5)


def test_what_cannot_be_is_said(xen1: SimHypervisor, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(xen1.folder), "xen1", "crash", "nosuch"]) == 1
    assert main([str(xen1.folder), "xen9", "crash", "mail1"]) == 1
    said = capsys.readouterr().err
    assert "nosuch on xen1: there is no such domain" in said
    assert "xen9" in said
