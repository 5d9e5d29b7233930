"""Copies of images on a host's own disk: laid like the repository, held while a start needs them, trimmed. Knows no repository.

Who starts a domain from a version holds a shared lock (flock(2)) on its folder, which the kernel ends with the process at the
latest; who takes a version away needs the lock for itself alone. Locks follow the folder when it is renamed. For local file
systems only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.images.manifest import MANIFEST, ImageFault, Manifest, is_version, newest
from common.images.patience import Sign
from common.images.shelf import INCOMING, Missing, Shelf
from common.images.writing import erase, leftovers, put, unfinished, write_whole

UNLOCKED_S = 60.0  # what lies unfinished and unlocked for so long has lost its process; to lock a new folder takes microseconds
TRIES_MAX = 5  # others may bring or take away the same version at the same time


class Hold:
    """A shared lock on one folder; nobody trims it. Given back by `close`, or with the process."""

    _number = -1

    def __init__(self, path: Path) -> None:
        """Raises OSError: not there, or being taken away at this moment (BlockingIOError)."""
        self._number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(self._number, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if os.fstat(self._number).st_ino != path.stat().st_ino:
                raise FileNotFoundError(path)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Cache(Shelf):
    """One folder on the host's own disk. Any number of processes of this host may use it at once."""

    @classmethod
    def ready(cls, path: Path) -> Cache:
        """Makes the folder where it is missing, and clears away what dead processes left. Raises ImageFault."""
        with naming(path):
            (path / INCOMING).mkdir(parents=True, exist_ok=True)
            for old in leftovers(path, UNLOCKED_S)[1]:
                with contextlib.suppress(OSError), _alone(old):
                    erase(old)
        return cls(path)

    @contextlib.contextmanager
    def incoming(self, name: str) -> Iterator[tuple[Path, Hold]]:
        """A new folder to be filled, held; the hold stays when the folder is put into its place. Raises ImageFault."""
        with naming(self.path), unfinished(self.path, name) as made:
            yield made, Hold(made)

    def held(self, manifest: Manifest, raw: bytes, say: Sign) -> Hold | None:
        """A hold on our copy, if we have one that is whole and of this very publication (`raw`: its manifest)."""
        hold = self._hold(manifest)
        if hold is None:
            return None
        try:
            if self.manifest_bytes(manifest.name, manifest.version) == raw:
                self.verify(manifest, say)
                return hold
        except ImageFault:
            pass  # it is brought anew
        hold.close()
        return None

    def found(self, image: str, say: Sign) -> tuple[Manifest, Hold]:
        """Our copy of NAME@VERSION, or the newest that we have of NAME, whole and held. Raises ImageFault."""
        for _ in range(TRIES_MAX):
            manifest = self.find(image, say)
            hold = self._hold(manifest)
            if hold is not None:
                self.verify(manifest, say)
                return manifest, hold
        raise Missing(f"{image} is being taken out of {self.path} at this moment")

    def keep(self, made: Path, hold: Hold, manifest: Manifest, raw: bytes, say: Sign) -> Hold:
        """Puts a filled folder into its place, or uses the whole copy that another start has brought. Raises ImageFault."""
        with naming(self.path):
            write_whole(made / MANIFEST, raw)
            for _ in range(TRIES_MAX):
                if put(made, self.path, manifest.name, manifest.version):
                    return hold
                other = self.held(manifest, raw, say)
                if other is not None:
                    return other
                self._take_away(manifest.name, manifest.version)
        raise ImageFault(f"{self.path} takes no copy of {manifest.image}: others change it all the time")

    def trim(self, used: Callable[[], Collection[str]]) -> list[str]:
        """Takes away what `used` does not name (NAME@VERSION), no start holds, and is not the newest of its name. Says what.

        safety: `used` is asked when the rest is locked, so that a start that has just ended is in it. Raises ImageFault."""
        gone: list[str] = []
        with naming(self.path), contextlib.ExitStack() as locks:
            spare = [image for image in self._old() if _locked(self.path.joinpath(*image), locks)]
            needed = used() if spare else ()
            for name, version in spare:
                if f"{name}@{version}" not in needed:
                    self._take_away(name, version)
                    gone.append(f"{name}@{version}")
        return gone

    def _old(self) -> list[tuple[str, str]]:
        """All but the newest of each name; what cannot be read is old."""
        old: list[tuple[str, str]] = []
        for name in self.names():
            last = newest(self.versions(name, lambda text: None)[0])
            there = [entry.name for entry in sorted((self.path / name).iterdir()) if is_version(entry.name)]
            old += [(name, version) for version in there if last is None or version != last.version]
        return old

    def _take_away(self, name: str, version: str) -> None:
        with unfinished(self.path, f"old-{name}") as aside, contextlib.suppress(FileNotFoundError):
            os.rename(self.path / name / version, aside / version)

    def _hold(self, manifest: Manifest) -> Hold | None:
        try:
            return Hold(self.place(manifest))
        except OSError:
            return None


def _locked(path: Path, locks: contextlib.ExitStack) -> bool:
    try:
        locks.enter_context(_alone(path))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """The lock for ourselves alone. Raises OSError where somebody holds it."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


@contextlib.contextmanager
def naming(cache: Path) -> Iterator[None]:
    """What the system says of the cache, as one sentence."""
    try:
        yield
    except OSError as fault:
        raise ImageFault(f"the cache {cache} cannot be written: {fault.strerror or fault}") from None
