"""How QEMU is called for one Xen host. Values in, a command line out; starts nothing.

Emulation only (`tcg`): Xen dies in its start-up under nested KVM. `qemu64` with SVM: other processors crash dom0 at boot, and
without SVM there is no PVH domain, hence no live migration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = "qemu-system-x86_64"
CPU = "qemu64,+svm,+npt,+nrip-save"
XEN_WORDS = (
    "console=com1 com1=115200,8n1 loglvl=info guest_loglvl=info no-real-mode noreboot spec-ctrl=no xpti=no ucode=no "
    "sched=credit watchdog=0"
)
LINUX_WORDS = "console=hvc0 mitigations=off quiet"
MEMORY_MIB = 2048
AGENT = "vmherd.agent"  # the channel by which the lab speaks to the host, whatever its network does


@dataclass(frozen=True, slots=True)
class Guest:
    """One emulated host. `shares`: tag -> (folder, read only). `sockets`: of console, agent and monitor, in this folder."""

    name: str
    xen: Path
    kernel: Path
    initrd: Path
    tap: str
    mac: str
    sockets: Path
    console_log: Path
    memory_mib: int = MEMORY_MIB
    dom0_mib: int = 768
    shares: dict[str, tuple[Path, bool]] = field(default_factory=dict)

    @property
    def console(self) -> Path:
        return self.sockets / f"{self.name}.console"

    @property
    def agent(self) -> Path:
        return self.sockets / f"{self.name}.agent"

    @property
    def monitor(self) -> Path:
        return self.sockets / f"{self.name}.monitor"


def command(one: Guest) -> list[str]:
    xen_words = f"{XEN_WORDS} dom0_mem={one.dom0_mib}M,max:{one.dom0_mib}M dom0_max_vcpus=1"
    return [
        PROGRAM, "-accel", "tcg", "-cpu", CPU, "-machine", "pc", "-smp", "1", "-m", str(one.memory_mib),
        "-display", "none", "-vga", "none", "-no-reboot", "-nodefaults",
        "-chardev", f"socket,id=console,path={one.console},server=on,wait=off,logfile={one.console_log},logappend=on",
        "-serial", "chardev:console",
        "-monitor", f"unix:{one.monitor},server=on,wait=off",
        "-chardev", f"socket,id=agent,path={one.agent},server=on,wait=off",
        "-device", "virtio-serial", "-device", f"virtserialport,chardev=agent,name={AGENT}",
        "-netdev", f"tap,id=net,ifname={one.tap},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=net,mac={one.mac},romfile=",
        *(word for tag, share in one.shares.items() for word in _share(tag, *share)),
        "-kernel", str(one.xen), "-append", xen_words,
        "-initrd", f"{one.kernel} {_doubled(LINUX_WORDS)},{one.initrd}",
    ]  # fmt: skip


def _share(tag: str, folder: Path, read_only: bool) -> list[str]:
    """security_model=none: whoever runs the lab owns what the host writes."""
    return ["-virtfs", f"local,path={folder},mount_tag={tag},security_model=none{',readonly=on' if read_only else ''}"]


def _doubled(text: str) -> str:
    """A comma parts QEMU's multiboot modules; two are one."""
    return text.replace(",", ",,")
