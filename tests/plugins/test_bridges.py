"""Is a bridge there, and does it carry its VLAN? On folders as the kernel lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.hypervisor import Network
from plugins.bridges import fault

MAC = "00:16:3e:00:00:01"
VLANS = """\
VLAN Dev name\t | VLAN ID
Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD
eth0.12        | 12  | eth0
eth0.13        | 13  | eth0
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for bridge, ports in {
        "xenbr0": ["eth0"],
        "xenbr0.12": ["eth0.12", "vif3.0"],
        "xenbr0.14": ["eth0.13"],
        "xenbr0.15": [],
    }.items():
        (tmp_path / "net" / bridge / "bridge").mkdir(parents=True)
        for port in ports:
            (tmp_path / "net" / bridge / "brif" / port).mkdir(parents=True)
    (tmp_path / "net" / "eth0").mkdir()
    (tmp_path / "net" / "ovs0").mkdir()
    (tmp_path / "config").write_text(VLANS)
    return tmp_path


@pytest.mark.parametrize(
    ("bridge", "vlan", "said"),
    [
        ("xenbr0", 0, ""),
        ("xenbr0", 12, ""),
        ("xenbr0.12", 0, ""),
        ("ovs0", 12, ""),
        ("xenbr1", 0, "bridge xenbr1 does not exist on this host (there is xenbr0, xenbr0.12, xenbr0.14, xenbr0.15)"),
        ("eth0", 0, "bridge eth0 is no bridge (there is xenbr0, xenbr0.12, xenbr0.14, xenbr0.15)"),
        ("xenbr0", 13, "bridge xenbr0.13 does not exist on this host (there is xenbr0, xenbr0.12, xenbr0.14, xenbr0.15)"),
        ("xenbr0", 14, "bridge xenbr0.14 carries VLAN 13 (by eth0.13), not 14"),
        ("xenbr0", 15, "bridge xenbr0.15 has no card of VLAN 15 in it: nothing would leave this host"),
    ],
)
def test_what_is_said_of_a_bridge(host: Path, bridge: str, vlan: int, said: str) -> None:
    assert fault([Network("xenbr0", MAC), Network(bridge, MAC, vlan)], host / "net", host / "config") == said


def test_a_kernel_without_vlans(host: Path) -> None:
    (host / "config").unlink()
    assert "has no card of VLAN 12" in fault([Network("xenbr0", MAC, 12)], host / "net", host / "config")
