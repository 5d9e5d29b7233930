"""The images that VMs boot from: published, listed, shown, verified, on the folder itself. Knows no socket and no VM."""

from __future__ import annotations

import getpass
import os
import socket
from argparse import Namespace
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from common.images.manifest import ImageFault, Manifest, Role, newest
from common.images.patience import Sign
from common.images.repository import Draft, Repository
from common.images.shelf import Missing
from vmctl.failure import Exit
from vmctl.image_folder import on_share, patiently_on, repository_of, split_words
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session
from vmctl.watch import Watch
from vmctl.wording import moment_text

NEW = "; if it is to become one, say --create"
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
LIST_COLUMNS = (
    Column("NAME"),
    Column("VERSION"),
    Column("NEWEST", keep=5),
    Column("HOLDS", keep=6),
    Column("SIZE", keep=7, right=True),
    Column("MADE", keep=4),
    Column("BY", keep=3),
    Column("NOTE", keep=2, flexible=True),
)
VERIFY_COLUMNS = (Column("IMAGE"), Column("STATE"), Column("SIZE", keep=5, right=True), Column("WHY", flexible=True, lines=4))


def add(session: Session, options: Namespace) -> int:
    """Publishes files as the newest version of an image."""
    repository = repository_of(session, options)
    if options.create:
        on_share(repository, lambda say: Repository.create(repository.path))
    given: dict[Role, str | None] = {"kernel": options.kernel, "initrd": options.initrd, "disk": options.disk}
    files = {role: Path(path) for role, path in given.items() if path}
    who = f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}"
    draft = Draft(options.name, files, who, options.version or "", options.note, options.cmdline, options.device)
    watch = Watch(session.screen, f"publishing {options.name}")
    watch.expect(sorted(files))
    watch.start()
    try:
        manifest = on_share(repository, lambda say: repository.add(draft, say), _passing(watch), hint=NEW)
    finally:
        watch.stop()
    if session.screen.as_json:
        session.screen.document(_row(manifest, manifest))
    else:
        session.screen.line(f"{manifest.image}: ", "published", f", {size_text(manifest.bytes)} in {repository.path}")
    return Exit.OK


def _passing(watch: Watch) -> Callable[[str], None]:
    """Progress names the file that is copied (`kernel of node: ...`): those before it are done."""
    at: list[str] = []

    def tell(text: str) -> None:
        role = text.partition(" ")[0]
        if at and at[-1] != role:
            watch.answered(at[-1])
        if not at or at[-1] != role:
            at.append(role)

    return tell


def listing(session: Session, options: Namespace) -> int:
    """All images, or those that a pattern matches: the newest version of each last."""
    repository = repository_of(session, options)
    rows, faults = _contents(repository, options.pattern)
    if session.screen.as_json:
        session.screen.document(rows + [{"name": name, "fault": fault} for name, fault in faults])
    else:
        nothing = f"no image is like {options.pattern}" if options.pattern else f"no image in {repository.path}"
        if rows or not faults:
            session.listing(rows, LIST_COLUMNS, lambda row: _cells(row, session.now), nothing)
        for _, fault in faults:
            session.screen.note("vmctl: ", fault)
    _note_unfinished(session, repository)
    return Exit.PARTIAL if faults else Exit.OK


def show(session: Session, options: Namespace) -> int:
    """One version of an image: its files, who made it, when."""
    repository = repository_of(session, options)
    split_words(options.image)
    manifest = on_share(repository, lambda say: repository.find(options.image, say))
    last = newest(on_share(repository, lambda say: repository.versions(manifest.name, say))[0])
    place = repository.place(manifest)
    if session.screen.as_json:
        session.screen.document(_row(manifest, last) | {"folder": str(place)})
        return Exit.OK
    files = [
        (role, [f"{size_text(file.bytes)}, SHA-256 {file.sha256}" + (f", as {file.device}" if file.device else "")])
        for role, file in sorted(manifest.files.items())
    ]
    session.screen.facts(
        [
            ("image", [manifest.image, " (the newest)" if manifest == last else ""]),
            ("note", [manifest.note or "-"]),
            ("made", [f"{moment_text(manifest.made_at, session.now)} by {manifest.made_by}, number {manifest.sequence}"]),
            ("folder", [str(place)]),
            ("cmdline", [manifest.cmdline or "-"]),
            *files,
        ]
    )
    return Exit.OK


def verify(session: Session, options: Namespace) -> int:
    """Reads every file of all images, of one, or of one version, and compares it with what was published."""
    repository = repository_of(session, options)
    chosen, faults = _chosen(repository, options.image)
    rows: list[Row] = [{"image": name, "ok": False, "bytes": None, "fault": fault} for name, fault in faults]
    watch = Watch(session.screen, "verifying")
    watch.expect([manifest.image for manifest in chosen])
    watch.start()
    try:
        for manifest in chosen:
            rows.append(_verified(repository, manifest))
            watch.answered(manifest.image)
    finally:
        watch.stop()
    session.listing(rows, VERIFY_COLUMNS, _verify_cells, f"no image in {repository.path}")
    _note_unfinished(session, repository)
    return Exit.OK if all(row["ok"] for row in rows) else Exit.PARTIAL


def _verified(repository: Repository, manifest: Manifest) -> Row:
    fault = ""
    try:
        patiently_on(repository, lambda say: repository.verify(manifest, say))
    except ImageFault as found:
        fault = str(found)
    return {"image": manifest.image, "ok": not fault, "bytes": manifest.bytes, "fault": fault}


def _verify_cells(row: Row) -> list[Cell]:
    size = size_text(row["bytes"]) if row["bytes"] is not None else "-"
    return [row["image"], state("ok") if row["ok"] else Styled("damaged", "bold red"), size, row["fault"]]


def _contents(repository: Repository, pattern: str | None) -> tuple[list[Row], list[tuple[str, str]]]:
    """What can be read, and (name, fault) of the rest."""

    def work(say: Sign) -> tuple[list[Row], list[tuple[str, str]]]:
        rows: list[Row] = []
        faults: list[tuple[str, str]] = []
        for name in repository.names():
            if pattern is None or fnmatchcase(name, pattern):
                found, bad = repository.versions(name, say)
                rows += [_row(manifest, newest(found)) for manifest in found]
                faults += [(name, fault) for fault in bad]
        return rows, faults

    return on_share(repository, work)


def _chosen(repository: Repository, image: str | None) -> tuple[list[Manifest], list[tuple[str, str]]]:
    """What is to be verified: all, the versions of a name, or one; and (name, fault) of what cannot be."""
    name, version = split_words(image) if image else ("", "")

    def work(say: Sign) -> tuple[list[Manifest], list[tuple[str, str]]]:
        if version:
            return [repository.find(f"{name}@{version}", say)], []
        every = [(each, repository.versions(each, say)) for each in ([name] if name else repository.names())]
        if name and not any(every[0][1]):
            raise Missing(f"there is no image {name} in {repository.path}")
        manifests = [manifest for _, (found, _) in every for manifest in found]
        return manifests, [(each, fault) for each, (_, bad) in every for fault in bad]

    return on_share(repository, work)


def _note_unfinished(session: Session, repository: Repository) -> None:
    """Somebody is publishing, or has died at it: for people only."""
    if not session.screen.as_json:
        for path in on_share(repository, lambda say: repository.unfinished_paths()):
            session.screen.note(f"unfinished, cleared away by `image add` when nobody has written to it for a day: {path}")


def _row(manifest: Manifest, last: Manifest | None) -> Row:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "newest": manifest == last,
        "sequence": manifest.sequence,
        "bytes": manifest.bytes,
        "files": {
            role: {"bytes": file.bytes, "sha256": file.sha256, "device": file.device}
            for role, file in sorted(manifest.files.items())
        },
        "cmdline": manifest.cmdline,
        "made_by": manifest.made_by,
        "made_at": manifest.made_at,
        "note": manifest.note,
        "fault": "",
    }


def _cells(row: Row, now: float) -> list[Cell]:
    return [
        row["name"],
        row["version"],
        "newest" if row["newest"] else "",
        ", ".join(row["files"]),
        size_text(row["bytes"]),
        moment_text(row["made_at"], now),
        row["made_by"],
        row["note"],
    ]


def size_text(count: int) -> str:
    """`812 bytes`, `34.2 MiB`."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {UNITS[unit]}" if unit else f"{count} bytes"
