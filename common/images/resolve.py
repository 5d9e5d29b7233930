"""From the name of an image to checked files that a hypervisor can boot, and back from a file to the image. Starts nothing.

The share is read in a thread with a limit (patience.py); the host's own disk is not. Where the share is gone or hangs, the
cache stands in: it alone decides then which version is the newest. For a damaged image in the share it does not: somebody must
see to that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from common.config.vms import ImageFiles
from common.hypervisor import Disk
from common.images.cache import Cache, Hold
from common.images.manifest import ImageFault, Manifest, is_name, is_version, split
from common.images.patience import LIMIT_S, SILENT_S, Sign, Silent, patiently
from common.images.shelf import Gone, Missing, Shelf
from common.images.writing import NewFile

Progress = Callable[[str], None]
Source = Literal["repository", "cache"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """`image`: NAME@VERSION; `why`: why the cache had to stand in for the repository, else empty.

    As long as it is not closed the cache keeps the files, so close it when the domain runs, or has not started:
    `with resolve(...) as found:`. The end of the process closes it as well."""

    image: str
    files: ImageFiles
    source: Source
    why: str = ""
    hold: Hold | None = field(default=None, repr=False, compare=False)

    def __enter__(self) -> Resolved:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()

    def close(self) -> None:
        if self.hold is not None:
            self.hold.close()


def resolve(
    repository: Path | None,
    cache: Path | None,
    image: str,
    progress: Progress,
    *,
    silent_s: float = SILENT_S,
    limit_s: float = LIMIT_S,
) -> Resolved:
    """The files of `image` (NAME: its newest version; NAME@VERSION), their SHA-256 just checked. Raises ImageFault.

    `silent_s`: a share that gives nothing for so long is taken for gone; `limit_s`: for all reading of the share. Choose both
    so that the cache can still be used within the time that the start has."""
    split(image)
    if cache is None:
        if repository is None:
            raise ImageFault(f"{image}: this host is told neither where images are nor where copies of them are")
        return _straight(Shelf(repository), image, progress, silent_s, limit_s)
    copies = Cache.ready(cache)
    if repository is None:
        return _copy_of(copies, image, "", progress)
    try:
        return _brought(Shelf(repository), copies, image, progress, silent_s, time.monotonic() + limit_s)
    except Gone as fault:
        return _copy_of(copies, image, str(fault), progress)
    except Silent as fault:
        return _copy_of(copies, image, f"{repository} {fault}", progress)


def image_of(path: str, repository: Path | None, cache: Path | None) -> str:
    """NAME@VERSION of a file in the repository or the cache, else empty. Looks at the words alone, never at the share."""
    for root in (repository, cache):
        if root is not None and PurePosixPath(path).is_relative_to(root):
            parts = PurePosixPath(path).relative_to(root).parts
            if len(parts) == 3 and is_name(parts[0]) and is_version(parts[1]) and ".." not in parts:
                return f"{parts[0]}@{parts[1]}"
    return ""


def _straight(share: Shelf, image: str, progress: Progress, silent_s: float, limit_s: float) -> Resolved:
    """Without a cache."""

    def work(say: Sign) -> Manifest:
        manifest = share.find(image, say)
        share.verify(manifest, say)
        return manifest

    try:
        manifest = patiently(work, progress, silent_s=silent_s, limit_s=limit_s)
    except Silent as fault:
        raise ImageFault(f"{image}: {share.path} {fault}, and there is no cache on this host") from None
    return _resolved(share, manifest, "repository")


def _brought(share: Shelf, copies: Cache, image: str, progress: Progress, silent_s: float, end_at: float) -> Resolved:
    """What the share says is to be started, from the cache; copied where it is not there."""

    def known(say: Sign) -> tuple[Manifest, bytes]:
        manifest = share.find(image, say)
        return manifest, share.manifest_bytes(manifest.name, manifest.version)

    manifest, raw = patiently(known, progress, silent_s=silent_s, limit_s=end_at - time.monotonic())
    hold = copies.held(manifest, raw, progress)
    if hold is not None:
        return _resolved(copies, manifest, "cache", hold=hold)
    with copies.incoming(manifest.name) as (made, hold):

        def copy(say: Sign) -> None:
            for role in sorted(manifest.files):
                with NewFile(made / role) as file:
                    share.copy(manifest, role, say, file)

        patiently(copy, progress, silent_s=silent_s, limit_s=end_at - time.monotonic())
        hold = copies.keep(made, hold, manifest, raw, progress)
    return _resolved(copies, manifest, "repository", hold=hold)


def _copy_of(copies: Cache, image: str, why: str, progress: Progress) -> Resolved:
    """From the cache alone. `why`: what is the matter with the share; empty where there is none."""
    try:
        manifest, hold = copies.found(image, progress)
    except Missing:
        reason = why or "this host is not told where images are"
        raise ImageFault(f"{image}: {reason}, and there is no copy of it in {copies.path}") from None
    except ImageFault as fault:
        raise ImageFault(f"{why}, and its copy is no use: {fault}" if why else str(fault)) from None
    return _resolved(copies, manifest, "cache", why, hold)


def _resolved(shelf: Shelf, manifest: Manifest, source: Source, why: str = "", hold: Hold | None = None) -> Resolved:
    place = shelf.place(manifest)
    paths = {role: str(place / role) for role in manifest.files}
    disk = manifest.files.get("disk")
    files = ImageFiles(
        kernel=paths.get("kernel", ""),
        initrd=paths.get("initrd", ""),
        cmdline=manifest.cmdline,
        disks=(Disk(disk.device, paths["disk"], read_only=True),) if disk else (),
    )
    return Resolved(manifest.image, files, source, why, hold)
