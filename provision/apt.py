"""Debian packages from the repositories that this machine uses: what needs what, and the files. Installs nothing.

Of another release than the machine's: the same sources with that release's name in place of this one's, in folders of our own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from provision import dependencies, progress
from provision.dependencies import Download
from provision.programs import NotToBeHad, output

ASK_S = 60.0
UPDATE_S = 300.0
DOWNLOAD_S = 900.0
SOURCES = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")


def running_release() -> str:
    """`bookworm`. Raises NotToBeHad."""
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", OS_RELEASE.read_text() if OS_RELEASE.exists() else "", re.MULTILINE)
    if not found or not shutil.which("apt-get"):
        raise NotToBeHad("this machine is no Debian: it has no apt-get, or /etc/os-release names no release")
    return found[1]


class Apt:
    """`folder`: where downloads and, for another release, its lists are kept."""

    def __init__(self, folder: Path, release: str = "") -> None:
        self.release = release or running_release()
        self.folder = folder / self.release
        self.folder.mkdir(parents=True, exist_ok=True)
        # apt's index, which some machines are told not to keep: without it each call costs a second
        self._options: tuple[str, ...] = tuple(
            f"-oDir::Cache::{name}={(self.folder / name).absolute()}" for name in ("pkgcache", "srcpkgcache")
        )
        if self.release != running_release():
            self._other_release()

    def closure(self, wanted: Iterable[str], without: Iterable[str] = ()) -> list[str]:
        """With all they need, but for what matches `without`. Raises NotToBeHad."""
        return dependencies.closure(wanted, without, self._depends)

    def _depends(self, names: list[str]) -> dict[str, list[str]]:
        return dependencies.parse_depends(self._ask("apt-cache", "depends", "--recurse", "--important", *names))

    def newest(self, name: str, pattern: str) -> str:
        """What a package that only points to another points to: linux-image-amd64 -> linux-image-6.1.0-56-amd64."""
        for one in self._depends([name])[name]:
            if re.fullmatch(pattern, one):
                return one
        raise NotToBeHad(f"{name} of {self.release} depends on nothing like {pattern}")

    def versions(self, names: Iterable[str]) -> list[Download]:
        """What would be fetched: names hold the versions, so these say whether an image is still current."""
        return dependencies.parse_uris(self._ask("apt-get", "download", "--print-uris", *names))

    def fetch(self, wanted: Iterable[Download]) -> list[Path]:
        """Files of packages, from the folder or the repository, their checksums looked at. Raises NotToBeHad."""
        downloads = list(wanted)
        missing = [one for one in downloads if not self._good(one)]
        if missing:
            # by name and version, as the file is called: NAME_VERSION_ARCHITECTURE.deb
            named = ["{}={}".format(*one.name.replace("%3a", ":").split("_")[:2]) for one in missing]
            with progress.watched("downloading", sum(one.bytes for one in missing), lambda: self._bytes(missing)):
                self._run("apt-get", "download", "-q", *named, limit_s=DOWNLOAD_S, cwd=self.folder)
        for one in missing:
            if not self._good(one):
                raise NotToBeHad(f"{one.name}: what was downloaded has another checksum than the repository says")
        return [self.folder / one.name for one in downloads]

    def _bytes(self, downloads: Iterable[Download]) -> int:
        """That are there already, of files which are being written."""
        paths = (self.folder / one.name for one in downloads)
        return sum(path.stat().st_size for path in paths if path.exists())

    def _good(self, one: Download) -> bool:
        path = self.folder / one.name
        kind, _, wanted = one.checksum.partition(":")
        if not path.exists():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, kind.lower()).hexdigest() == wanted

    def _other_release(self) -> None:
        lists, sources = self.folder / "lists", self.folder / "sources.list.d"
        for folder in (lists / "partial", sources, self.folder / "archives" / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        for path in [SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*"))]:
            if path.suffix in (".list", ".sources") and path.exists():
                text = re.sub(rf"\b{running_release()}\b", self.release, path.read_text())
                (sources / path.name).write_text(text)
        self._options += (
            f"-oDir::State::lists={lists.absolute()}",
            f"-oDir::Cache::archives={(self.folder / 'archives').absolute()}",
            "-oDir::Etc::sourcelist=/dev/null",
            f"-oDir::Etc::sourceparts={sources.absolute()}",
        )
        self._run("apt-get", "update", "-q", limit_s=UPDATE_S)

    def _ask(self, *words: str) -> str:
        with progress.watched("asking the repository"):
            return self._run(*words, limit_s=ASK_S)

    def _run(self, program: str, *words: str, limit_s: float, cwd: Path | None = None) -> str:
        return output([program, *self._options, *words], limit_s=limit_s, cwd=cwd, why=_error).decode()


def _error(errors: str) -> str:
    return next((line for line in errors.splitlines() if line.startswith("E:")), "")
