"""A root of another distribution, as a user gives it: tiny, but with all that vmprovision looks at. Needs no repository."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

from provision.kernel import XEN_GUEST

RELEASE = "6.1.0-test"
MODULES = ("virtio_pci", "virtio_net", "llc", "stp", "bridge", "nfs", "nfsv4", "overlay")
INI = """\
[server]
address = 10.77.0.1
folder = boot
[networks]
[[lab]]
subnet = 10.77.0.0/24
[[physics]]
subnet = 10.78.0.0/24
vlan = 12
gateway = 10.78.0.1
range = 10.78.0.100-10.78.0.199
[profiles]
[[ram]]
from = root
kernel = vmlinuz
xen = xen.gz
[[shared]]
root = nfs-flash
from = root
kernel = vmlinuz
xen = xen.gz
[hosts]
[[xen1]]
mac = 52:54:00:00:00:01
address = 10.77.0.11
profile = ram
# the one in the cellar
[[xen2]]
mac = 52:54:00:00:00:02
address = 10.77.0.12
profile = shared
groups = dom0, cellar
[gateways]
[[gw1]]
outside = lab
address = 10.77.0.9
inside = physics
"""


def kernel_image(elf: bytes) -> bytes:
    """A bzImage around it (Documentation/x86/boot.rst of Linux)."""
    payload = gzip.compress(elf, mtime=0)
    head = bytearray(1024)
    head[0x1F1] = 1
    head[0x202:0x206] = b"HdrS"
    head[0x248:0x250] = struct.pack("<II", 0, len(payload))
    return bytes(head) + payload


def farm(folder: Path) -> Path:
    """All files that the inventory names, and provision.ini, whose path comes back."""
    root = folder / "root"
    modules = root / "lib" / "modules" / RELEASE
    (modules / "kernel").mkdir(parents=True)
    (modules / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in MODULES))
    for place in ("bin", "etc/vmherd-image", "var/log", "root", "dev", "proc", "sys"):
        (root / place).mkdir(parents=True)
    (root / "bin" / "busybox").write_text("#!/bin/sh\necho sh\necho mount\n")
    (root / "bin" / "daemon").write_bytes(b"\x7fELF opens /var/spool/daemon/queue and /var/log/daemon.log\0")
    (root / "init").write_text("#!/bin/sh\n")
    for name in ("init", "bin/busybox", "bin/daemon"):
        (root / name).chmod(0o755)
    (root / "etc" / "vmherd-image" / "modules").write_text("")
    (folder / "vmlinuz").write_bytes(kernel_image(b"\x7fELF" + XEN_GUEST))
    (folder / "xen.gz").write_bytes(gzip.compress(b"\x7fELF xen"))
    path = folder / "provision.ini"
    path.write_text(INI)
    path.chmod(0o600)
    return path
