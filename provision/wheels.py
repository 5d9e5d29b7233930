"""Python packages of the index for an image's own Python, whatever Python this is: wheels only, nothing is built or run."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from provision import progress
from provision.programs import NotToBeHad, output
from provision.tree import Tree

INSTALL_S = 600.0
GLIBC_OLDEST = 17  # manylinux2014 is glibc 2.17 (PEP 599)


def requirements(distribution: str, without: Iterable[str] = ()) -> list[str]:
    """What an installed distribution needs, none of its extras. Raises NotToBeHad."""
    try:
        listed = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        raise NotToBeHad(
            f"{distribution} is not installed in this Python (pip install), so nobody says what it needs"
        ) from None
    names = {one: re.split(r"[^\w-]", one)[0] for one in listed if "extra ==" not in one}
    return [one for one, name in names.items() if name not in set(without)]


def platforms(glibc_minor: int) -> list[str]:
    """The wheels that a machine with glibc 2.N can use (PEP 600), the newest first."""
    newer = [f"manylinux_2_{minor}_x86_64" for minor in range(glibc_minor, GLIBC_OLDEST - 1, -1)]
    return [*newer, "manylinux2014_x86_64"]


def fetch(folder: Path, wanted: Iterable[str], python: str, glibc_minor: int) -> None:
    """Installs the packages into a folder that does not exist yet: all of them, or nothing. Raises NotToBeHad."""
    tags = [f"--platform={one}" for one in platforms(glibc_minor)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as fresh:
        target = Path(fresh) / folder.name
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        argv += [f"--target={target}", "--only-binary=:all:", f"--python-version={python}", *tags, *wanted]
        try:
            with progress.watched("packages for Python"):
                output(argv, limit_s=INSTALL_S)
        except NotToBeHad as fault:
            raise NotToBeHad(f"packages for Python {python}: {fault}") from None
        target.rename(folder)


def add(tree: Tree, folder: Path, place: str, without: Iterable[str] = ()) -> None:
    """The files of a folder below `place`; `without`: patterns, counted from the folder."""
    held = Tree(merged=False)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            held.file(name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644, origin=name.split("/")[0])
    held.remove("*/__pycache__", *without)
    for name in held:
        tree.add(f"{place}/{name}", held[name])
