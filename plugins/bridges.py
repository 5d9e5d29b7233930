"""The bridges of this host, looked at before a domain is started: is each there, and does a VLAN's carry that VLAN?

Read from the kernel's own files; nothing is changed. What Open vSwitch makes is no bridge of the kernel's, and left to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from common.hypervisor import Network

CARDS = Path("/sys/class/net")
VLANS = Path("/proc/net/vlan/config")  # a row for each VLAN interface: `eth0.12 | 12 | eth0`


def fault(networks: Iterable[Network], cards: Path = CARDS, vlans: Path = VLANS) -> str:
    """Why a domain with these networks would not get them here; empty where it would."""
    return next((text for one in networks if (text := _one(one, cards, vlans))), "")


def _one(network: Network, cards: Path, vlans: Path) -> str:
    name = network.bridge_name
    trunk = cards / network.bridge
    if network.vlan and trunk.exists() and not (trunk / "bridge").is_dir():
        return ""  # BRIDGE.VLAN on a switch of Open vSwitch's: no device of that name ever exists
    if not (cards / name / "bridge").is_dir():
        what = "is no bridge" if (cards / name).exists() else "does not exist on this host"
        there = ", ".join(sorted(path.parent.name for path in cards.glob("*/bridge"))) or "no bridge at all"
        return f"bridge {name} {what} (there is {there})"
    if not network.vlan:
        return ""
    ports = {path.name for path in (cards / name / "brif").glob("*")}
    carried = {port: vlan for port, vlan in _ids(vlans).items() if port in ports}
    wrong = {port: vlan for port, vlan in carried.items() if vlan != network.vlan}
    if wrong:
        port, vlan = min(wrong.items())
        return f"bridge {name} carries VLAN {vlan} (by {port}), not {network.vlan}"
    return "" if carried else f"bridge {name} has no card of VLAN {network.vlan} in it: nothing would leave this host"


def _ids(vlans: Path) -> dict[str, int]:
    """VLAN interface -> id; none where the kernel has no VLANs."""
    try:
        rows = [row.split("|") for row in vlans.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0].strip(): int(row[1]) for row in rows if len(row) == 3 and row[1].strip().isdigit()}
