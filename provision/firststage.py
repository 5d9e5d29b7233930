"""What a machine runs before its root is there: busybox, drivers of cards, and a script that gets and checks the root."""

from __future__ import annotations

from collections.abc import Iterable

from provision import debian, project
from provision.modules import Modules
from provision.tree import Tree

NETWORK = ("virtio_pci", "virtio_net", "e1000", "e1000e", "igb", "ixgbe", "tg3", "r8169", "bnx2")
BRIDGE = ("llc", "stp", "bridge")
NFS = ("nfs", "nfsv4", "overlay")
FOLDERS = ("proc", "sys", "dev", "tmp", "run", "root")


def tree(busybox: bytes, kernel: Tree, more: Iterable[str] = (), *, nfs: bool) -> Tree:
    """`kernel`: a tree with the modules of one kernel. Raises ValueError for a module that it has not, NotToBeHad."""
    made = Tree()
    made.file("usr/bin/busybox", busybox, 0o755, origin="busybox")
    for path in FOLDERS:
        made.folder(path)
    loaded = (*BRIDGE, *more, *(NFS if nfs else ()))
    modules = Modules(kernel)
    wanted = [*loaded, *(one for one in NETWORK if modules.has(one))]
    modules.install(made, wanted)
    project.module_list(made, loaded)
    debian.busybox(made)
    project.install(made, "boot-init", "init")
    return made
