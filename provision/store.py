"""What was built, kept by content: a folder whose name says what went into it. Nothing half built is ever seen there."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

KEPT_MAX = 3  # builds of one kind; older ones go
DIGITS = 16


class Store:
    """`folder`: of all builds, each in KIND-DIGEST."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, kind: str, inputs: Iterable[bytes | str], make: Callable[[Path], None]) -> Path:
        """The folder that `make` fills, from an earlier time or now. `inputs`: all that the result depends on."""
        place = self.folder / f"{kind}-{digest(inputs)}"
        if place.is_dir():
            place.touch()
            return place
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{kind}-", dir=self.folder) as fresh:
            built = Path(fresh) / "built"
            built.mkdir()
            make(built)
            if not place.is_dir():  # another may have been quicker
                built.rename(place)
        self._forget(kind)
        return place

    def _forget(self, kind: str) -> None:
        builds = [path for path in self.folder.glob(f"{kind}-*") if len(path.name) == len(kind) + 1 + DIGITS]
        for old in sorted(builds, key=lambda path: path.stat().st_mtime)[:-KEPT_MAX]:
            shutil.rmtree(old, ignore_errors=True)


def digest(inputs: Iterable[bytes | str]) -> str:
    total = hashlib.sha256()
    for one in inputs:
        data = one.encode() if isinstance(one, str) else one
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:DIGITS]


def sources(*folders: Path) -> list[bytes]:
    """Names and contents of all files below folders of ours, for a digest; no bytecode."""
    found: list[bytes] = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found += [str(path.relative_to(folder)).encode(), path.read_bytes()]
    return found
