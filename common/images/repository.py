"""The repository: the folder of images that every host sees. Publishes, lists, verifies, removes. Knows no cache and no VM.

The number of a publication is claimed by creating the file NAME/.order/NUMBER, which a server grants once: what two hosts have
in their directory caches (up to a minute on NFS) and what their clocks say has no part in which version is the newest. Numbers
are not used again; nor are versions: a removed one leaves the empty file NAME/.removed/VERSION, so that NAME@VERSION always
meant one content.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.images.manifest import (
    FILE_BYTES_MAX,
    MANIFEST,
    ImageFault,
    ImageFile,
    Manifest,
    Role,
    checked_name,
    checked_version,
    encoded,
    sealed,
)
from common.images.patience import Sign
from common.images.shelf import INCOMING, MIB, PIECE_BYTES, Missing, Shelf, folder
from common.images.writing import NewFile, put, sweep, sync, unfinished, write_whole

ORDER = ".order"
REMOVED = ".removed"
TRIES_MAX = 1000  # publications of one image by others while we look for a free number or version
QCOW2 = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be published. `files`: where they lie now. `version` empty: one is made, of the date and a counter.

    `device`: as which the guest sees the disk."""

    name: str
    files: Mapping[Role, Path]
    made_by: str
    version: str = ""
    note: str = ""
    cmdline: str = ""
    device: str = "xvda"


def unheard(text: str) -> None:
    """A sign of life that nobody waits for."""


@dataclass(frozen=True, slots=True)
class Repository(Shelf):
    """One folder; any number of processes on any number of hosts may use it at once. `say` as in shelf.py."""

    @classmethod
    def create(cls, path: Path) -> Repository:
        """Makes an empty folder (or a new one) the repository; one that is it already stays as it is. Raises ImageFault."""
        made = cls(path)
        with _written(path):
            path.mkdir(exist_ok=True)
            if (path / INCOMING).is_dir():
                return made
            if any(entry.name != "lost+found" for entry in path.iterdir()):
                raise ImageFault(f"{path} holds something else already: a new repository begins in an empty folder")
            (path / INCOMING).mkdir(exist_ok=True)
            sync(path)
        return made

    def add(self, draft: Draft, say: Sign = unheard) -> Manifest:
        """Publishes, whole or not at all. Raises ImageFault. After a crash something is left in `.incoming`."""
        self.check()
        self._check(draft)
        with _written(self.path):
            sweep(self.path)
            with unfinished(self.path, draft.name) as made:
                files = {role: _copied(path, made / role, role, draft, say) for role, path in sorted(draft.files.items())}
                return self._published(draft, files, made)

    def remove(self, name: str, version: str) -> None:
        """Takes a version away for good. Whether somebody uses it is for the caller to know. Raises ImageFault."""
        self.check()
        missing = Missing(f"there is no image {checked_name(name)}@{checked_version(version)} in {self.path}")
        if not os.path.lexists(self.path / name / version):
            raise missing
        with _written(self.path / name), unfinished(self.path, f"removed-{name}") as aside:
            self._note(name, REMOVED, version)
            with folder(self.path) as root, folder(name, root) as above, folder(aside) as into:
                try:
                    os.rename(version, version, src_dir_fd=above, dst_dir_fd=into)
                except FileNotFoundError:
                    raise missing from None
                os.fsync(above)

    def unfinished_paths(self) -> list[Path]:
        """What somebody is publishing now, or what a crash of the last day left. Raises Gone."""
        self.check()
        with contextlib.suppress(FileNotFoundError):
            return [path for path in sorted((self.path / INCOMING).iterdir()) if not path.name.startswith(".")]
        return []

    def _published(self, draft: Draft, files: dict[Role, ImageFile], made: Path) -> Manifest:
        """Finds number and version, and moves it there."""
        sequence = self._claimed(draft.name)
        for version in self._candidates(draft):
            manifest = sealed(_manifest(draft, version, sequence, files), draft.name)
            (made / MANIFEST).unlink(missing_ok=True)
            write_whole(made / MANIFEST, encoded(manifest))
            if put(made, self.path, draft.name, version):
                return manifest
        raise ImageFault(f"{draft.name}@{draft.version or 'of today'} exists already; a published version is never changed")

    def _candidates(self, draft: Draft) -> Iterator[str]:
        if draft.version:
            yield draft.version
            return
        day = time.strftime("%Y.%m.%d")
        for counter in range(1, TRIES_MAX):
            if not self._was_used(draft.name, version := f"{day}-{counter}"):
                yield version

    def _claimed(self, name: str) -> int:
        """The next number of this name, ours alone. Raises OSError, ImageFault."""
        given = os.listdir(self.path / name / ORDER) if (self.path / name / ORDER).is_dir() else []
        highest = max((int(entry) for entry in given if entry.isascii() and entry.isdigit()), default=0)
        for number in range(highest + 1, highest + TRIES_MAX):
            if self._note(name, ORDER, str(number)):
                return number
        raise ImageFault(f"{self.path / name / ORDER}: {TRIES_MAX} others publish {name} at this moment; try again")

    def _note(self, name: str, kind: str, word: str) -> bool:
        """Makes the empty file NAME/KIND/WORD. False: it was there before. No folder on the way is a link. Raises OSError."""
        with folder(self.path) as root, _made(name, root) as above, _made(kind, above) as at:
            try:
                os.close(os.open(word, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=at))
            except FileExistsError:
                return False
            os.fsync(at)
        return True

    def _was_used(self, name: str, version: str) -> bool:
        return any(os.path.lexists(self.path / name / each / version) for each in ("", REMOVED))

    def _check(self, draft: Draft) -> None:
        """What would be refused at the end is refused before anything is copied; of two at once, the rename decides."""
        name, version = checked_name(draft.name), checked_version(draft.version) if draft.version else ""
        files = {role: ImageFile(1, "0" * 64, draft.device if role == "disk" else "") for role in draft.files}
        sealed(_manifest(draft, version or "1", 1, files), name)
        if not version:
            return
        if os.path.lexists(self.path / name / version):
            raise ImageFault(f"{name}@{version} exists already; a published version is never changed")
        if os.path.lexists(self.path / name / REMOVED / version):
            raise ImageFault(f"{name}@{version} was there and was removed; a version is not used again for something else")


def _manifest(draft: Draft, version: str, sequence: int, files: dict[Role, ImageFile]) -> Manifest:
    return Manifest(
        name=draft.name,
        version=version,
        sequence=sequence,
        files=files,
        made_by=draft.made_by,
        made_at=round(time.time(), 3),
        note=draft.note,
        cmdline=draft.cmdline,
    )


@contextlib.contextmanager
def _made(name: str, at: int) -> Iterator[int]:
    """The folder, opened; made where it is missing. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=at)
        os.fsync(at)
    with folder(name, at) as number:
        yield number


def _copied(source: Path, target: Path, role: Role, draft: Draft, say: Sign) -> ImageFile:
    with _read(source) as number, NewFile(target) as file, os.fdopen(number, "rb", buffering=0, closefd=False) as data:
        whole = os.fstat(number).st_size
        while piece := data.read(PIECE_BYTES):
            if role == "disk" and not file.bytes and piece.startswith(QCOW2):
                # safety: a qcow2 may name other files of the host that opens it
                raise ImageFault(f"{source} is a qcow2 disk: make it raw with `qemu-img convert -O raw`")
            file.write(piece)
            say(f"{role} of {draft.name}: {file.bytes // MIB} of {-(-whole // MIB)} MiB")
        if not file.bytes or file.bytes > FILE_BYTES_MAX:
            raise ImageFault(f"{source} is empty" if not file.bytes else f"{source} has more than {FILE_BYTES_MAX} bytes")
    return ImageFile(file.bytes, file.sha256, draft.device if role == "disk" else "")


@contextlib.contextmanager
def _read(source: Path) -> Iterator[int]:
    """The operator's own file; a link is good, as /boot/vmlinuz is one."""
    try:
        number = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as fault:
        raise ImageFault(f"{source} cannot be read: {fault.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ImageFault(f"{source} is no plain file")
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """What the system says while we write, as one sentence."""
    try:
        yield
    except OSError as fault:
        where = fault.filename if str(fault.filename).startswith("/") else path
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ImageFault(f"there is no room left in {path}; nothing was changed") from None
        if fault.errno in (errno.ENOTDIR, errno.ELOOP):
            what = "a symbolic link or a file where a folder belongs"
            raise ImageFault(f"{where} is, or holds, {what}; nothing was changed") from None
        raise ImageFault(f"{where} cannot be written: {fault.strerror or fault}") from None
