"""The project itself in an image: its packages as they lie here, the Python packages it needs, compiled. Knows no host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from provision import bytecode, wheels
from provision.store import Store, sources
from provision.tree import Tree

ROOT = Path(__file__).resolve().parent.parent  # a checkout, or the folder where pip has put us
FILES = Path(__file__).resolve().parent / "files"
PLACE = "opt/vmherd"
PATH_FILE = "usr/lib/python3/dist-packages/vmherd.pth"  # Debian's Python reads it; workers get no PYTHONPATH
CLIENT = ("common", "vmclient", "plugins")
ONLY_VMCTL = ("rich", "argcomplete")
WITHOUT = ("bin", "*.dist-info", "*/tests", "psutil/_psosx*", "psutil/_psbsd*", "psutil/_pswindows*", "pycparser")


@dataclass(frozen=True, slots=True)
class Target:
    """What the image's machine is: `python` as `3.11`, `glibc_minor` 36 for 2.36."""

    python: str
    glibc_minor: int


def inputs(target: Target) -> list[bytes | str]:
    """All that `client` depends on, for a digest."""
    return [repr(target), *sources(*(ROOT / one for one in CLIENT), FILES.parent), *requirements(), *bytecode.inputs()]


def requirements() -> list[str]:
    return wheels.requirements("vmherd", ONLY_VMCTL)


def client(store: Store, target: Target) -> Tree:
    """vmclient and what it needs, below /opt/vmherd, kept running as a service. Raises NotToBeHad."""
    tree = Tree()
    wheels.add(tree, _wheels(store, target), PLACE, WITHOUT)
    for folder in CLIENT:
        _sources(tree, folder)
    bytecode.compile_sources(tree, target.python, PLACE)
    tree.file(PATH_FILE, f"/{PLACE}\n")
    service(tree, "vmclient")
    return tree


def _wheels(store: Store, target: Target) -> Path:
    wanted = requirements()

    def make(folder: Path) -> None:
        wheels.fetch(folder / "site", wanted, target.python, target.glibc_minor)

    return store.get("wheels", [repr(target), *wanted], make) / "site"


def _sources(tree: Tree, folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            tree.file(f"{PLACE}/{path.relative_to(ROOT)}", path.read_bytes(), origin="the project")


def service(tree: Tree, name: str, text: str | None = None) -> None:
    """A program that the image keeps running; `text`: where it is none of ours."""
    tree.file(f"etc/vmherd-image/services/{name}", text or (FILES / f"service-{name}").read_text(), 0o755)


def install(tree: Tree, script: str, place: str) -> None:
    """One of the scripts of this folder."""
    tree.file(place, (FILES / script).read_text(), 0o755)


def module_list(tree: Tree, names: Iterable[str]) -> None:
    """What the image loads when it boots."""
    tree.file("etc/vmherd-image/modules", "".join(f"{name}\n" for name in names))
