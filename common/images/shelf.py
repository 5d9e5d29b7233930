"""A folder of images, NAME/VERSION/manifest.json and files, read without following a link: the repository, or a cache.

Knows nothing of how a version gets there. Every fault names the file. What is called `say` is told of each piece read: it shows
progress, and it may raise to end the work (patience.py).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from common.images.manifest import (
    MANIFEST,
    MANIFEST_BYTES_MAX,
    ImageFault,
    Manifest,
    Role,
    decoded,
    is_name,
    is_version,
    newest,
    split,
)
from common.images.patience import Sign

INCOMING = ".incoming"
"""What is not finished lies here, on the same file system. That it is there marks the folder as one of images: an empty mount
point has none."""
PIECE_BYTES = 1 << 20  # between two signs of life
ENTRIES_MAX = 100_000  # in one folder
MIB = 1024 * 1024
_VANISHED = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a fifo must not hold us


class Sink(Protocol):
    """Where a copy goes."""

    def write(self, data: bytes, /) -> object: ...


class Missing(ImageFault):
    """There is no such image here, or no longer."""


class Gone(ImageFault):
    """The folder itself cannot be read: not mounted, server dead, no right."""


class Damaged(ImageFault):
    """A file is not what its manifest says."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """`path`: the folder. Nothing is kept in memory; every question reads it anew."""

    path: Path

    def place(self, manifest: Manifest) -> Path:
        return self.path / manifest.name / manifest.version

    def check(self) -> None:
        """Raises Gone."""
        try:
            with folder(self.path) as root, folder(INCOMING, root):
                return
        except FileNotFoundError:
            raise Gone(f"{self.path} is no folder of images: there is no {INCOMING} in it (is it mounted?)") from None
        except OSError as fault:
            raise Gone(f"{self.path} cannot be read: {fault.strerror or fault}") from None

    def names(self) -> list[str]:
        """Raises Gone."""
        self.check()
        return [name for name in self._folders(self.path) if is_name(name)]

    def versions(self, name: str, say: Sign) -> tuple[list[Manifest], list[str]]:
        """What can be read, oldest first, and the faults of the rest. Raises Gone."""
        found: list[Manifest] = []
        faults: list[str] = []
        for version in self._folders(self.path / name):
            if not is_version(version):
                continue
            say(f"reading {name}@{version}")
            try:
                found.append(self.manifest(name, version))
            except Missing as fault:
                if (self.path / name / version).is_dir():  # otherwise it was removed at this moment
                    faults.append(str(fault))
            except Gone:
                raise
            except ImageFault as fault:
                faults.append(str(fault))
        return sorted(found, key=lambda each: (each.sequence, each.version)), faults

    def find(self, image: str, say: Sign) -> Manifest:
        """Of NAME@VERSION that one, of NAME the newest. Raises Missing, Gone, ImageFault; never guesses which is the newest."""
        self.check()
        name, version = split(image)
        if version:
            return self.manifest(name, version)
        found, faults = self.versions(name, say)
        if faults:
            raise ImageFault(f"which version of {name} is the newest cannot be told: {faults[0]}")
        last = newest(found)
        if last is None:
            raise Missing(f"there is no image {name} in {self.path}")
        return last

    def manifest(self, name: str, version: str) -> Manifest:
        """Raises Missing, Gone, ImageFault."""
        return decoded(self.manifest_bytes(name, version), str(self.path / name / version / MANIFEST), name, version)

    def manifest_bytes(self, name: str, version: str) -> bytes:
        """As it lies there, at most one byte more than it may have."""
        where = self.path / name / version / MANIFEST
        with self._naming(where, f"there is no image {name}@{version} in {self.path}"), self._version(name, version) as at:
            try:
                number = opened(where, at)
            except FileNotFoundError:
                raise Missing(f"{where} is missing") from None
            with os.fdopen(number, "rb") as file:
                return file.read(MANIFEST_BYTES_MAX + 1)

    def copy(self, manifest: Manifest, role: Role, say: Sign, sink: Sink | None = None) -> None:
        """Reads a file to its end and checks it; what was read goes into `sink`. Raises ImageFault, or as the sink does."""
        path = self.place(manifest) / role
        wanted = manifest.files[role]
        with self._naming(path), self._version(manifest.name, manifest.version) as at:
            number = opened(path, at)
        digest, count = hashlib.sha256(), 0
        with os.fdopen(number, "rb", buffering=0) as file:
            while count <= wanted.bytes:
                with self._naming(path):
                    piece = file.read(PIECE_BYTES)
                if not piece:
                    break
                count += len(piece)
                digest.update(piece)
                if sink is not None and count <= wanted.bytes:
                    sink.write(piece)
                say(f"{role} of {manifest.image}: {count // MIB} of {-(-wanted.bytes // MIB)} MiB")
        if count != wanted.bytes:
            has = f"more than {wanted.bytes}" if count > wanted.bytes else str(count)
            raise Damaged(f"{path} has {has} bytes, and its manifest says {wanted.bytes}")
        if digest.hexdigest() != wanted.sha256:
            is_now = f"its SHA-256 is {digest.hexdigest()}, its manifest says {wanted.sha256}"
            raise Damaged(f"{path} is not what was published: {is_now}")

    def verify(self, manifest: Manifest, say: Sign) -> None:
        """All files of one version. Raises as `copy`."""
        for role in sorted(manifest.files):
            self.copy(manifest, role, say)

    def _folders(self, path: Path) -> list[str]:
        """The folders in a folder; none where it is not there. A link is none."""
        with self._naming(path):
            try:
                with os.scandir(path) as entries:
                    found = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            except (FileNotFoundError, NotADirectoryError):
                return []
        if len(found) > ENTRIES_MAX:
            raise ImageFault(f"{path} holds more than {ENTRIES_MAX} folders")
        return found

    @contextlib.contextmanager
    def _version(self, name: str, version: str) -> Iterator[int]:
        with folder(self.path) as root, folder(name, root) as above, folder(version, above) as at:
            yield at

    @contextlib.contextmanager
    def _naming(self, path: Path, missing: str = "") -> Iterator[None]:
        """What the system says, as a fault that names the file."""
        try:
            yield
        except OSError as fault:
            if fault.errno in (errno.ELOOP, errno.ENOTDIR) and (link := self._link_in(path)):
                raise ImageFault(f"{link} is a symbolic link, and an image has none") from None
            if fault.errno in _VANISHED:
                self.check()  # is the whole folder gone?
                raise Missing(missing or f"{path} is missing, or was removed just now") from None
            if fault.errno in (errno.EACCES, errno.EPERM):
                raise ImageFault(f"{path} cannot be read: {fault.strerror}") from None
            raise Gone(f"{path} cannot be read: {fault.strerror or fault}") from None

    def _link_in(self, path: Path) -> Path | None:
        return next((each for each in (path, *path.parents) if self.path in each.parents and each.is_symlink()), None)


@contextlib.contextmanager
def folder(name: str | Path, at: int | None = None) -> Iterator[int]:
    """The folder opened, to name files in it. Below `at` it may be no link; the root itself may be one. Raises OSError."""
    flags = _DIRECTORY if at is not None else _DIRECTORY & ~os.O_NOFOLLOW
    number = os.open(name, flags, dir_fd=at)
    try:
        yield number
    finally:
        os.close(number)


def opened(path: Path, at: int) -> int:
    """A plain file in its open folder, to be read. Raises OSError, ImageFault where it is something else."""
    number = os.open(path.name, _FILE, dir_fd=at)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise ImageFault(f"{path} is no plain file")
    return number
