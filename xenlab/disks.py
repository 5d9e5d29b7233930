"""Domains with disks on a share that all hosts have mounted: NFS, by ganesha beside the managers, in a lab with `disks`.

vmherd itself knows of no share, only of the paths of disks.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from provision import domu
from provision.domu import DomU, Kind
from xenlab import files, network, remote, share
from xenlab.processes import Failed

if TYPE_CHECKING:
    from xenlab.lab import Lab

DISKS = {"disk1": 8, "disk2": 9}  # domain -> number of its address
PLACE = "/srv/disks"
DISK_BYTES = 32 << 20
MODULES = ("xen-blkfront", "ext4", "crc32c_generic")
MOUNT_S = 120.0
# sync: what a domain has written is at the server before it hears so, and so before another host opens the disk
MOUNT = (
    "grep -q ' {place} ' /proc/mounts && exit; modprobe -a nfs nfsv4; mkdir -p {place} && mount -i -t nfs4"
    " -o rw,hard,sync,vers=4.1,proto=tcp,addr={server},clientaddr=0.0.0.0 {server}:/disks {place}"
)
GANESHA = """\
NFS_CORE_PARAM { Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }
NFSv4 { Only_Numeric_Owners = true; }
NFS_KRB5 { Active_krb5 = false; }
"""
VM = """\

[{name}]
memory = 96M
image = disk
protect = yes
cmdline = "{words} host={name} ip4={address}/{bits} beat"
[[networks]]
eth0 = xenbr0
[[disks]]
xvda = {place}/{name}
"""


def missing() -> str:
    """Why there can be no such share here; empty where there can."""
    lacking = [f"{program} ({package})" for program, package in share.PROGRAMS.items() if not shutil.which(program)]
    return f"missing: {', '.join(lacking)}" if lacking else ""


def serve(lab: Lab) -> None:
    """The share, with a new disk for each domain. Raises Failed, NotToBeHad."""
    folder = lab.folder / "disks"
    folder.mkdir()
    for name in DISKS:
        share.disk(folder / name, DISK_BYTES)
    share.serve(lab.processes, lab.folder, GANESHA + share.export(folder, "/disks", 1))


def mount(lab: Lab, host: str) -> None:
    """On a host that has just booted. Raises Failed."""
    try:
        remote.wait(lab.guests[host].agent, MOUNT.format(place=PLACE, server=network.MANAGER), MOUNT_S)
    except remote.Unanswered as fault:
        raise Failed(f"{host}: {PLACE}: {fault}") from None


def image(lab: Lab) -> DomU:
    """The domains' kernel and archive. Raises NotToBeHad."""
    kind = Kind("disk", (), MODULES, start=(files.GUEST / "counter").read_bytes())
    kernel, initrd, report = domu.made(lab.images.apt, lab.images.linux, kind)
    folder = lab.folder / "disk-image"
    folder.mkdir()
    (folder / "kernel").write_bytes(kernel)
    (folder / "initrd").write_bytes(initrd)
    return DomU(folder / "kernel", folder / "initrd", report)


def vms_ini() -> str:
    return "".join(
        VM.format(name=name, words=files.DOMAIN_WORDS, address=network.domain_address(number), bits=network.BITS, place=PLACE)
        for name, number in DISKS.items()
    )
