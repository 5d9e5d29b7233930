"""The lab's machines: empty, but for a card that boots and a small disk for their keys. Values in, QEMU's command line out.

QEMU's own words are those of xenlab/qemu.py, with the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xenlab.qemu import CPU, PROGRAM

MEMORY_MIB = 1536
OVMF = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
ROM = Path("/usr/lib/ipxe/qemu/efi-virtio.rom")  # of every virtio card: BIOS finds its half in it, too


@dataclass(frozen=True, slots=True)
class Machine:
    number: int
    profile: str
    uefi: bool = False
    disk: str = "virtio"  # what its keys lie on, of DISKS

    @property
    def mac(self) -> str:
        return f"52:54:00:4c:42:{self.number:02x}"


DISKS = {
    "virtio": ("virtio-blk-pci,drive=state",),
    "sata": ("ahci,id=sata", "ide-hd,drive=state,bus=sata.0"),
    "nvme": ("nvme,drive=state,serial=state",),
    "usb": ("qemu-xhci", "usb-storage,drive=state"),
}
MACHINES = {
    "xen1": Machine(1, "ram"),
    "xen2": Machine(2, "shared", disk="sata"),
    "xen3": Machine(3, "ram", uefi=True, disk="nvme"),
    "xen4": Machine(4, "layered", disk="usb"),
}


def command(name: str, one: Machine, tap: str, folder: Path, sockets: Path) -> list[str]:
    """`folder`: of its disk, its firmware's variables, its console's log."""
    firmware = [
        "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF}",
        "-drive", f"if=pflash,format=raw,unit=1,file={folder}/{name}.vars",
    ]  # fmt: skip
    log = f"logfile={folder}/{name}.console,logappend=on"
    return [
        PROGRAM, "-accel", "tcg", "-cpu", CPU, "-machine", "pc,graphics=off", "-smp", "1", "-m", str(MEMORY_MIB),
        "-display", "none", "-vga", "none", "-nodefaults",
        *(firmware if one.uefi else []),
        "-chardev", f"socket,id=console,path={sockets}/{name}.console,server=on,wait=off,{log}",
        "-serial", "chardev:console",
        "-drive", f"if=none,id=state,format=raw,file={folder}/{name}.disk",
        *(word for device in DISKS[one.disk] for word in ("-device", device)),
        "-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=net,mac={one.mac},bootindex=0" + (",romfile=" if one.uefi else ""),
    ]  # fmt: skip
