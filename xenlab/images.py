"""The lab's images, built or taken from the cache: the hosts' and those of their domains."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provision import dom0 as dom0s
from provision import domu
from provision.apt import Apt
from provision.debian import Linux
from provision.dom0 import Dom0
from provision.domu import DomU
from provision.roots import NFS_MODULES
from provision.store import Store
from xenlab import network
from xenlab.qemu import PROGRAM

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "xenlab"


@dataclass(frozen=True, slots=True)
class Images:
    """`apt`, `linux`: for what a lab builds besides."""

    apt: Apt
    linux: Linux
    dom0: Dom0
    tiny: DomU
    client: DomU


def missing() -> str:
    """Why there can be no lab here; empty where there can."""
    for program in (PROGRAM, "apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(program):
            return f"the program {program} is missing (package {'qemu-system-x86' if program == PROGRAM else 'apt'})"
    return network.missing()


def build(say: Callable[[str], None], release: str = "", cache: Path = CACHE) -> Images:
    """Raises NotToBeHad."""
    apt, store = Apt(cache / "packages", release), Store(cache / "images")
    say(f"images of Debian {apt.release}, kept below {cache}")
    linux = Linux(apt)
    built = Images(
        apt,
        linux,
        dom0s.build(apt, store, linux, more_modules=NFS_MODULES),
        domu.tiny(apt, store, linux),
        domu.client(apt, store, linux),
    )
    for report in (built.dom0.report, built.tiny.report, built.client.report):
        for line in report.splitlines():
            if not line.startswith(" "):
                say(f"  {line}")
    return built
