"""Provisioned hosts come to know each other's ssh keys through real daemons; what their programs do is in tests/provision."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.config.model import Where
from tests.farm.farm import Farm
from vmprovision import sshtrust
from vmprovision.model import Host, Inventory, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
KEYS = {name: ":".join(f"AAAAC3NzaC1lZDI1NTE5{kind * 24}{name[-1] * 24}" for kind in "hr") for name in ("xen1", "xen2", "xen9")}
PROGRAM = """\
#!/bin/sh
cd "$(dirname "$0")" || exit 1
case $1 in
    keys) cat keys ;;
    known) for one in known/*; do [ ! -e "$one" ] || printf '%s:%s ' "${one#known/}" "$(cat "$one")"; done; echo ;;
    trust) echo "$3" >"known/$2.new" && mv "known/$2.new" "known/$2" ;;
esac
"""


def host(farm: Farm, name: str) -> Path:
    """A client whose ssh is some files."""
    farm.client(name, start=False, groups=("dom0",), properties=sshtrust.PROPERTIES)
    folder = farm.folder / name
    (folder / "known").mkdir()
    (folder / "keys").write_text(KEYS[name] + "\n")
    (folder / "vmherd-ssh").write_text(PROGRAM)
    (folder / "vmherd-ssh").chmod(0o755)
    with (folder / "vmclient.ini").open("a") as config:
        config.write(sshtrust.PROGRAMS.replace("/usr/sbin/vmherd-ssh", str(folder / "vmherd-ssh")))
    farm.start_client(name)
    return folder / "known"


def test_hosts_of_the_inventory_are_told_each_others_keys_and_nobody_else(farm: Farm) -> None:
    where = Where("provision.ini", 1)
    hosts = {name: Host(name, where) for name in ("xen1", "xen2")}
    farm.manager("mgr1", triggers=sshtrust.triggers(Inventory(Server(), hosts=hosts)))
    known = {name: host(farm, name) for name in ("xen9", "xen1", "xen2")}
    for name, other in (("xen1", "xen2"), ("xen2", "xen1")):
        place = known[name] / other
        farm.wait(f"{name} knows {other}", place.exists)
        assert place.read_text().strip() == KEYS[other]
    assert not list(known["xen9"].iterdir())
    assert not [name for name in ("xen1", "xen2") if (known[name] / "xen9").exists()]
