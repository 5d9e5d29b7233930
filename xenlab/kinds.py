"""What a lab has, and how a scenario asks for one: its first line, as `# lab: hosts=3 managers=3 fences lease=12`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from xenlab import network
from xenlab.files import MANAGERS_MAX
from xenlab.qemu import MEMORY_MIB
from xenlab.scenario import ScenarioFault, head

LEASE_MAX_S = 120


@dataclass(frozen=True, slots=True)
class Kind:
    """`fences`: with a fence device, by which a host may be switched off. `disks`: with a share, and domains with disks on it.
    `lease_s`: of [failover], with longer times for stop and watchdog than those shipped; 0: all as shipped.
    `memory_mib`: of each host."""

    hosts: int = 2
    managers: int = 1
    fences: bool = False
    disks: bool = False
    lease_s: int = 0
    memory_mib: int = MEMORY_MIB


def wanted(path: Path, plain: Kind) -> Kind:
    """By this scenario; `plain`: where it says nothing. Raises ScenarioFault."""
    kind = plain
    for text in head(path, "lab"):
        word, _, number = text.partition("=")
        count = int(number) if number.isdecimal() else 0
        if text in ("fences", "disks"):
            kind = replace(kind, **{text: True})
        elif word == "hosts" and 1 <= count <= network.HOSTS_MAX:
            kind = replace(kind, hosts=count)
        elif word == "managers" and 1 <= count <= MANAGERS_MAX:
            kind = replace(kind, managers=count)
        elif word == "lease" and 1 <= count <= LEASE_MAX_S:
            kind = replace(kind, lease_s=count)
        else:
            known = "hosts=1..3, managers=1..3, lease=1..120, fences, disks"
            raise ScenarioFault(f"{path.name}:1: there is no lab with {text}, only {known}")
    return kind


def grouped(paths: Iterable[Path], plain: Kind) -> dict[Kind, list[Path]]:
    """Those that want the same lab, in their order. Raises ScenarioFault."""
    groups: dict[Kind, list[Path]] = {}
    for path in paths:
        groups.setdefault(wanted(path, plain), []).append(path)
    return groups
