"""Builds what the inventory asks for, and puts it into its place: roots below the target folder, images into the repository."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from common.images.manifest import Manifest, Role
from common.images.repository import Draft, Repository, unheard
from common.images.shelf import Missing
from provision import domu, roots
from provision.domu import Kind
from provision.roots import Recipe, Workshop
from vmprovision import gateway_image, grubs
from vmprovision.built import Build, Builds
from vmprovision.model import Image, Inventory, Profile
from vmprovision.target import Target

Say = Callable[[str], None]


def recipe(one: Profile) -> Recipe:
    return Recipe(one.root, one.packages, one.modules, one.overlay, one.start, one.from_, one.kernel, one.xen)


def build_profile(target: Target, shop: Workshop, one: Profile, say: Say) -> Build:
    """Becomes the profile's current build; hosts keep what they have until an update.

    Raises NotToBeHad, TargetFault, ValueError, OSError."""
    say(f"{one.name}: building ({one.root})")
    made = roots.build(shop, recipe(one))
    build = Build(one.name, made.digest, made.sums)
    known = target.builds()
    if (one.name, build.digest) in known.all:
        target.check(build, made.shared)
        say(f"{one.name}: {build.digest} is there already")
    else:
        target.add(build, made.files, made.shared)
        say(f"{one.name}: {build.digest} is new")
    say(made.report.rstrip())
    after = target.builds()
    target.keep(Builds({**after.current, one.name: build.digest}, after.all, after.chosen, after.before))
    return build


def loaders(target: Target, shop: Workshop, say: Say) -> None:
    """GRUB, for BIOS and UEFI. Raises NotToBeHad, TargetFault."""
    for name, data in grubs.build(shop).items():
        if target.put(f"boot/grub/{name}", data):
            say(f"GRUB: {name}, {len(data) / 1e6:.1f} MB")


def kinds(inventory: Inventory) -> Iterator[tuple[Kind, Image | None]]:
    """Every diskless domain of the inventory: those of [images], and a gateway each."""
    for image in inventory.images.values():
        start = image.start.read_bytes() if image.start else b""
        yield Kind(image.name, image.packages, image.modules, image.overlay, start), image
    for gateway in inventory.gateways.values():
        yield gateway_image.kind(gateway, inventory), None


def publish(repository: Repository, shop: Workshop, inventory: Inventory, names: Iterable[str], say: Say) -> Iterator[Manifest]:
    """Those that differ from their newest published version. Raises NotToBeHad, ImageFault, ValueError, OSError."""
    wanted = set(names)
    for kind, image in kinds(inventory):
        if wanted and kind.name not in wanted:
            continue
        say(f"{kind.name}: building")
        kernel, initrd, report = domu.made(shop.apt, shop.linux, kind)
        say(report.rstrip())
        if _published(repository, kind.name, kernel, initrd):
            say(f"{kind.name}: its newest version is the same; nothing to publish")
            continue
        with tempfile.TemporaryDirectory() as folder:
            paths: dict[Role, Path] = {"kernel": Path(folder) / "kernel", "initrd": Path(folder) / "initrd"}
            paths["kernel"].write_bytes(kernel)
            paths["initrd"].write_bytes(initrd)
            made = repository.add(_draft(kind, image, paths))
        say(f"{made.image}: published")
        yield made


def _draft(kind: Kind, image: Image | None, paths: dict[Role, Path]) -> Draft:
    who = f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"
    if image is None:
        return Draft(kind.name, paths, who, note="a gateway, made by vmprovision")
    return Draft(kind.name, paths, who, note=image.note, cmdline=image.cmdline)


def _published(repository: Repository, name: str, kernel: bytes, initrd: bytes) -> bool:
    sums = {"kernel": hashlib.sha256(kernel).hexdigest(), "initrd": hashlib.sha256(initrd).hexdigest()}
    try:
        newest = repository.find(name, unheard)
    except Missing:
        return False
    return {role: file.sha256 for role, file in newest.files.items()} == sums
