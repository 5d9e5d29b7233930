"""Domains without a disk: a kernel and an archive, from which `xl create` starts them. A tiny one, and one with the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provision import bytecode, debian, given, kernel, project
from provision.apt import Apt
from provision.cpio import archive, packed
from provision.debian import Linux, glibc_minor, python_version
from provision.modules import Modules
from provision.project import FILES, Target
from provision.store import Store, sources
from provision.tree import Tree, report

TINY = ("busybox-static",)
PYTHON = (*TINY, "python3")
MODULES = ("xen-netfront",)
PACK_LEVEL = 9
# of the standard library's extensions, what no reader of plugins/system.py wants
WITHOUT_FILES = ("usr/bin/python3*-config", "usr/share/terminfo", "usr/lib/terminfo", "usr/sbin/ld*", "usr/bin/ld*")


@dataclass(frozen=True, slots=True)
class DomU:
    """Kernel and initramfs of one kind of domain."""

    kernel: Path
    initrd: Path
    report: str


def tiny(apt: Apt, store: Store, linux: Linux) -> DomU:
    """Busybox alone: it boots, takes an address, answers pings, shuts down when asked. Raises NotToBeHad."""
    return _build(apt, store, linux, "domu-tiny", TINY, with_client=False)


def client(apt: Apt, store: Store, linux: Linux) -> DomU:
    """With Python and the project's client; what its files say is laid over it, see `seal`. Raises NotToBeHad."""
    return _build(apt, store, linux, "domu-client", PYTHON, with_client=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """A diskless domain of the user's own. `start`: a script that is kept running. `own`: more files, by place; no secrets."""

    name: str
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    overlay: Path | None = None
    start: bytes = b""
    own: Mapping[str, str] = field(default_factory=dict)


def made(apt: Apt, linux: Linux, kind: Kind) -> tuple[bytes, bytes, str]:
    """Kernel, initramfs and report: the same input gives the same bytes. Raises NotToBeHad, ValueError, OSError."""
    packages = debian.current(apt, (*TINY, *kind.packages))
    tree = _tree(apt.fetch(packages), linux, (*MODULES, *kind.modules))
    if kind.overlay:
        tree.merge(given.folder(kind.overlay))
    for place, text in sorted(kind.own.items()):
        tree.file(place, text, origin="provision.ini")
    if kind.start:
        tree.file(f"etc/vmherd-image/services/{kind.name}", kind.start, 0o755)
    initrd = packed(tree, PACK_LEVEL)
    lines = (*report(kind.name, tree.sizes(), top=6), f"  packed: {len(initrd) / 1e6:.1f} MB")
    return kernel.packed(linux.vmlinux), initrd, "\n".join(lines) + "\n"


def _build(apt: Apt, store: Store, linux: Linux, kind: str, wanted: tuple[str, ...], *, with_client: bool) -> DomU:
    packages = debian.current(apt, wanted)
    inputs: list[bytes | str] = [
        *sources(FILES.parent),
        *(one.checksum for one in (*packages, *linux.downloads)),
        *bytecode.inputs(),
    ]
    if with_client:
        inputs += project.inputs(Target("", 0))

    def make(folder: Path) -> None:
        paths = apt.fetch(packages)
        tree = _tree(paths, linux, MODULES)
        if with_client:
            tree.merge(_python(tree, store, paths))
        (folder / "kernel").write_bytes(kernel.packed(linux.vmlinux))
        (folder / "initrd").write_bytes(kernel.packed(b"".join(archive(tree))))
        (folder / "report").write_text("\n".join(report(kind, tree.sizes(), top=6)) + "\n")

    made = store.get(kind, inputs, make)
    return DomU(made / "kernel", made / "initrd", (made / "report").read_text())


def _tree(packages: list[Path], linux: Linux, modules: tuple[str, ...]) -> Tree:
    tree = debian.system(packages)
    tree.remove(*WITHOUT_FILES)
    Modules(linux.tree).install(tree, modules)
    debian.busybox(tree)
    for name in ("poweroff", "reboot", "halt"):
        tree.remove(f"usr/bin/{name}")
        project.install(tree, "poweroff", f"usr/sbin/{name}")
    project.install(tree, "domu-init", "init")
    project.install(tree, "udhcpc", "usr/share/vmherd-image/udhcpc")
    project.module_list(tree, modules)
    return tree


def _python(tree: Tree, store: Store, packages: list[Path]) -> Tree:
    target = Target(python_version(tree), glibc_minor(packages))
    bytecode.compile_sources(tree, target.python, f"usr/lib/python{target.python}")
    return project.client(store, target)


def seal(initrd: bytes, own: Tree) -> bytes:
    """One domain's own files behind the common ones: the kernel unpacks one archive after the other."""
    return initrd + kernel.packed(b"".join(archive(own)))
