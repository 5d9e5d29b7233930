"""GRUB as a card's firmware fetches it: one file for BIOS, one for UEFI, each with all the modules that a menu of ours uses."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.debs import unpack
from provision.programs import NotToBeHad, output
from provision.roots import Workshop
from provision.tree import Tree
from vmprovision.target import write_tree

PROGRAM = "grub-mkimage"
MODULES = (
    "net", "tftp", "http", "normal", "configfile", "multiboot2", "gzio", "echo", "sleep", "serial", "terminal", "test",
    "reboot", "minicmd", "chain",
)  # fmt: skip
MAKE_S = 60.0
PREFIX = "/grub"


@dataclass(frozen=True, slots=True)
class Kind:
    """One firmware: GRUB's file for it, the package and folder of its modules, and which it needs besides."""

    file: str
    package: str
    folder: str
    format: str
    own: tuple[str, ...]


KINDS = (
    Kind("core.0", "grub-pc-bin", "i386-pc", "i386-pc-pxe", ("pxe", "biosdisk", "halt")),
    Kind("core.efi", "grub-efi-amd64-bin", "x86_64-efi", "x86_64-efi", ("efinet", "efi_gop", "halt")),
)


def build(shop: Workshop) -> Mapping[str, bytes]:
    """File below boot/grub -> its bytes; the same packages give the same. Raises NotToBeHad."""
    if not shutil.which(PROGRAM):
        raise NotToBeHad(f"the program {PROGRAM} is missing (package grub-common)")
    downloads = shop.apt.versions([kind.package for kind in KINDS])
    recipe = [*(one.checksum for one in downloads), " ".join(MODULES), *(" ".join(kind.own) for kind in KINDS), PREFIX]

    def make(folder: Path) -> None:
        packages = {package.name.split("_")[0]: package for package in shop.apt.fetch(downloads)}
        for kind in KINDS:
            _make(kind, packages[kind.package], folder / kind.file)

    made = shop.store.get("grub", recipe, make)
    return {kind.file: (made / kind.file).read_bytes() for kind in KINDS}


def _make(kind: Kind, package: Path, place: Path) -> None:
    tree = Tree()
    unpack(tree, package, only=(f"usr/lib/grub/{kind.folder}",))
    with tempfile.TemporaryDirectory() as folder:
        write_tree(tree, Path(folder))
        modules = f"{folder}/usr/lib/grub/{kind.folder}"
        argv = [PROGRAM, "-d", modules, "-O", kind.format, "-o", str(place), "-p", PREFIX, *MODULES, *kind.own]
        output(argv, limit_s=MAKE_S)
