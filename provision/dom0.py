"""A Xen host that lives in RAM: Xen, its kernel, and one archive with toolstack, ssh and the project's client. No host's own.

What makes it this host and no other (name, addresses, keys) is laid over it: see machine.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from provision import bytecode, debian, debs, kernel, project
from provision.apt import Apt
from provision.cpio import archive
from provision.debian import Linux
from provision.modules import Modules
from provision.project import FILES, Target
from provision.store import Store, sources
from provision.tree import Tree, report

PACKAGES = ("xen-system-amd64", "xenstore-utils", "python3", "busybox-static", "bash", "iproute2", "dropbear-bin")
FLOCK = ("util-linux", "usr/bin/flock")  # Xen's block script locks by it, and Debian's static busybox has none
MODULES = (
    "xen-evtchn", "xen-privcmd", "xen-gntdev", "xen-gntalloc", "xenfs", "llc", "stp", "bridge", "8021q", "xen-netback",
    "virtio_pci", "virtio_net", "virtio_console", "e1000", "9pnet_virtio", "9p", "loop", "xen-blkback", "xen_wdt", "softdog",
)  # fmt: skip
WITHOUT_FILES = (
    "boot", "usr/lib/xen-*/boot", "usr/lib/xen-*/bin/oxenstored", "usr/lib/xen-*/bin/test-*", "usr/lib/xen-*/bin/xentrace*",
    "usr/lib/xen-*/bin/xen-kdd", "usr/lib/xen-*/bin/xen-access", "usr/lib/xen-*/bin/xen-livepatch",
    "usr/lib/xen-*/bin/xen-memshare", "usr/lib/xen-*/bin/xenpaging", "usr/lib/xen-*/bin/xen-vmtrace",
    "usr/lib/xen-*/bin/xencov", "usr/lib/xen-*/bin/flask-*", "usr/lib/xen-*/bin/vchan-*", "usr/lib/xen-*/bin/xenlockprof",
    "usr/lib/xen-*/bin/xenperf", "usr/lib/xen-*/bin/xen-hvm*", "usr/lib/xen-*/bin/xen-mceinj", "usr/bin/bashbug",
    "usr/lib/xen-*/bin/pygrub", "usr/lib/xen-*/lib/python",
)  # fmt: skip
FOLDERS = (
    "etc/xen", "etc/dropbear", "usr/lib/xen/boot", "var/lib/xen/dump", "var/lib/xenstored", "var/log/xen/console",
)  # fmt: skip
# Debian's own are scripts that ask the running Xen for its version first, each time
XEN_PROGRAMS = ("xl", "xenstored", "xenconsoled", "xentop", "xenstore-read", "xenstore-ls", "xenstore-write", "xenstore-list")


@dataclass(frozen=True, slots=True)
class Dom0:
    """The files of a built image. `archives` follow each other in what the kernel unpacks; a machine's own comes last."""

    xen: Path
    kernel: Path
    archives: tuple[Path, ...]
    report: str
    target: Target


def build(
    apt: Apt,
    store: Store,
    linux: Linux,
    more_packages: tuple[str, ...] = (),
    more_modules: tuple[str, ...] = (),
    drivers: tuple[str, ...] = (),
) -> Dom0:
    """From what the repository has now; what is current already is not built again. `drivers`: modules that are loaded where a
    device wants them, not always. Raises NotToBeHad."""
    packages = debian.current(apt, (*PACKAGES, *more_packages))
    lender = apt.versions([FLOCK[0]])
    modules = (*MODULES, *more_modules)
    recipe: list[bytes | str] = [*sources(FILES.parent), *bytecode.inputs(), *more_modules, "for devices:", *drivers]

    def make_system(folder: Path) -> None:
        _system(folder, apt.fetch(packages), apt.fetch(lender), linux, modules, drivers)

    made = store.get("dom0", [*recipe, *(one.checksum for one in (*packages, *lender, *linux.downloads))], make_system)
    python, glibc = (made / "target").read_text().split()
    target = Target(python, int(glibc))

    def make_client(folder: Path) -> None:
        _write(project.client(store, target), folder / "client.cpio", folder / "report", "vmclient and what it needs")

    client = store.get("dom0-client", project.inputs(target), make_client)
    sizes = (made / "report").read_text() + (client / "report").read_text()
    return Dom0(made / "xen", made / "vmlinux", (made / "system.cpio", client / "client.cpio"), sizes, target)


def _system(
    folder: Path, packages: list[Path], lender: list[Path], linux: Linux, modules: tuple[str, ...], drivers: tuple[str, ...]
) -> None:
    tree = debian.system(packages)
    for package in lender:
        debs.unpack(tree, package, only=FLOCK[1:])
    (xen,) = [path for path in tree if path.startswith("boot/xen-") and path.endswith(".gz")]
    (folder / "xen").write_bytes(kernel.xen(tree.read(xen)))
    (folder / "vmlinux").write_bytes(linux.vmlinux)
    known = Modules(linux.tree)
    known.install(tree, (*modules, *(one for one in drivers if known.has(one))))
    python = debian.python_version(tree)
    _furnish(tree, python)
    project.module_list(tree, modules)
    (folder / "target").write_text(f"{python} {debian.glibc_minor(packages)}\n")
    _write(tree, folder / "system.cpio", folder / "report", "dom0 without the client")


def _furnish(tree: Tree, python: str) -> None:
    tree.remove(*WITHOUT_FILES)
    for path in FOLDERS:
        tree.folder(path)
    (toolstack,) = {"/".join(path.split("/")[:4]) for path in tree.matching("usr/lib/xen-[0-9]*/bin")}
    for name in XEN_PROGRAMS:
        if f"{toolstack}/{name}" in tree:
            tree.link(f"usr/sbin/{name}", f"/{toolstack}/{name}")
    debian.busybox(tree)
    for name in ("poweroff", "reboot", "halt"):
        tree.remove(f"usr/bin/{name}")
        project.install(tree, "poweroff", f"usr/sbin/{name}")
    project.install(tree, "dom0-init", "init")
    project.install(tree, "vmherd-reboot", "usr/sbin/vmherd-reboot")
    project.install(tree, "vmherd-ssh", "usr/sbin/vmherd-ssh")
    project.install(tree, "ssh", "usr/bin/ssh")
    project.service(tree, "sshd")
    bytecode.compile_sources(tree, python, f"usr/lib/python{python}")


def _write(tree: Tree, path: Path, sizes: Path, title: str) -> None:
    with path.open("wb") as file:
        file.writelines(archive(tree))
    sizes.write_text("\n".join(report(title, tree.sizes(), top=12)) + "\n")
