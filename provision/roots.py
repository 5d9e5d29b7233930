"""A host's root and all that starts it, from packages or from what is given: bytes and a tree, nothing on disk.

What it is for (RAM, NFS) is said by `kind`; which host it is for, nobody knows here.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provision import cpio, dom0, firststage, flash, given, kernel
from provision.apt import Apt
from provision.debian import Linux
from provision.debs import unpack
from provision.store import Store
from provision.tree import Tree, report

NFS_MODULES = ("nfs", "nfsv4")  # a root in RAM mounts the image repository
STATE_MODULES = ("ext4", "crc32c_generic")  # ext4 asks for crc32c by itself, and names it nowhere
STATE_DRIVERS = ("virtio_blk", "sd_mod", "ahci", "nvme", "xhci_pci", "ehci_pci", "usb_storage", "uas")
PACK_LEVEL = 6
BUSYBOX = "busybox-static"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is wanted. `kind`: ram, nfs-flash, nfs-overlay. `given`, `kernel`, `xen`: in place of packages."""

    kind: str
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    overlay: Path | None = None
    start: Path | None = None
    given: Path | None = None
    kernel: Path | None = None
    xen: Path | None = None


@dataclass(frozen=True, slots=True)
class Root:
    """`files`: xen, kernel, initrd, and `root`: the packed root, or an NFS root's list of checksums. `shared`: its tree."""

    files: Mapping[str, bytes]
    shared: Tree | None
    report: str

    @property
    def sums(self) -> dict[str, str]:
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}

    @property
    def digest(self) -> str:
        """The same for the same contents: an NFS root's links and modes count, which its list of checksums does not have."""
        total = hashlib.sha256("".join(f"{name}{one}" for name, one in sorted(self.sums.items())).encode())
        for piece in cpio.archive(self.shared) if self.shared else ():
            total.update(piece)
        return total.hexdigest()[:12]


class Workshop:
    """Where packages and intermediate builds are kept. Nothing is asked of a repository before something needs it."""

    def __init__(self, folder: Path, release: str = "") -> None:
        self._folder = folder
        self._release = release
        self.store = Store(folder / "images")
        self._apt: Apt | None = None
        self._linux: Linux | None = None

    @property
    def apt(self) -> Apt:
        """Raises NotToBeHad."""
        self._apt = self._apt or Apt(self._folder / "packages", self._release)
        return self._apt

    @property
    def linux(self) -> Linux:
        """Raises NotToBeHad."""
        self._linux = self._linux or Linux(self.apt)
        return self._linux

    def busybox(self) -> bytes:
        """Raises NotToBeHad."""
        tree = Tree()
        (package,) = self.apt.fetch(self.apt.versions([BUSYBOX]))
        unpack(tree, package, only=("bin/busybox", "usr/bin/busybox"))
        return tree.read("usr/bin/busybox")


def build(shop: Workshop, recipe: Recipe) -> Root:
    """Raises NotToBeHad, ValueError, OSError."""
    tree, image, xen, modules, sizes = _given(recipe) if recipe.given else _debian(shop, recipe)
    if fault := kernel.xen_fault(kernel.vmlinux(image)):
        raise ValueError(f"{recipe.kernel or 'kernel'}: {fault}")
    if recipe.overlay:
        tree.merge(given.folder(recipe.overlay))
    if recipe.start:
        tree.file("etc/vmherd-image/start", recipe.start.read_bytes(), 0o755)
    nfs = recipe.kind != "ram"
    busybox = tree.read("usr/bin/busybox") if recipe.given and "usr/bin/busybox" in tree else shop.busybox()
    first = firststage.tree(busybox, modules, recipe.modules, nfs=nfs)
    tree.file("etc/fstab", "")
    if recipe.kind == "nfs-flash":
        flash.linked(tree)
    files = {"xen": xen, "kernel": image, "initrd": cpio.packed(first, PACK_LEVEL)}
    files["root"] = checksums(tree).encode() if nfs else cpio.packed(tree, PACK_LEVEL)
    sent = {name: len(data) for name, data in files.items()}
    lines = [*sizes, *report("first stage", first.sizes(), top=4), *report("what a machine fetches to boot", sent, top=4)]
    return Root(files, tree if nfs else None, "\n".join(lines) + "\n")


def _debian(shop: Workshop, recipe: Recipe) -> tuple[Tree, bytes, bytes, Tree, list[str]]:
    modules = (*NFS_MODULES, *STATE_MODULES, *recipe.modules)
    made = dom0.build(shop.apt, shop.store, shop.linux, recipe.packages, modules, STATE_DRIVERS)
    tree = Tree()
    for path in made.archives:
        tree.merge(cpio.read(path.read_bytes()))
    (image,) = [shop.linux.tree.read(path) for path in shop.linux.tree.matching("boot/vmlinuz-*")]
    return tree, image, made.xen.read_bytes(), shop.linux.tree, made.report.splitlines()


def _given(recipe: Recipe) -> tuple[Tree, bytes, bytes, Tree, list[str]]:
    if not (recipe.given and recipe.kernel and recipe.xen):
        raise ValueError("a root that is given needs a kernel and a Xen")
    tree = given.root(recipe.given)
    if "init" not in tree and "usr/sbin/init" not in tree:
        raise ValueError(f"{recipe.given} has neither /init nor /sbin/init")
    xen = kernel.xen(recipe.xen.read_bytes())
    modules = given.root(recipe.given)
    return tree, recipe.kernel.read_bytes(), xen, modules, list(report(str(recipe.given), tree.sizes(), top=12))


def checksums(tree: Tree) -> str:
    """As `sha256sum -c` reads them, of every file."""
    rows = (
        f"{hashlib.sha256(tree[path].content).hexdigest()}  {path}\n" for path in tree if stat.S_ISREG(tree[path].mode)
    )  # fmt: skip
    return "".join(rows)
