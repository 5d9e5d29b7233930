"""Who uses an image, as the manager knows it, and its removal, which nobody's use may forbid. Knows no socket."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from common.images.manifest import newest
from vmctl.failure import Exit, Failure, usage
from vmctl.image_folder import on_share, repository_of, split_words
from vmctl.screen import Cell, Column, state
from vmctl.session import Row, Session, count_text

USER_COLUMNS = (Column("VM"), Column("USE"), Column("HOST"), Column("VERSION"))


def who_uses(session: Session, options: Namespace) -> int:
    """The VMs that run from an image, and those that are defined with it."""
    name, version = split_words(options.image)
    users = _users(session, name, version)
    running = {str(row.get("vm")) for row in users["running"]}
    rows = users["running"] + [{"vm": vm} for vm in users["defined"] if vm not in running]
    if session.screen.as_json:
        session.screen.document(users)
    elif rows or not users["unknown"]:
        session.listing(rows, USER_COLUMNS, _user_cells, f"nobody uses {options.image}")
    for host, why in sorted(users["unknown"].items()):
        session.screen.note(f"what runs on {host} is unknown: {why}")
    return Exit.PARTIAL if users["unknown"] else Exit.OK


def _user_cells(row: Row) -> list[Cell]:
    host = row.get("host")
    return [str(row.get("vm")), state("running" if host else "defined"), str(host or "-"), str(row.get("version") or "-")]


def remove(session: Session, options: Namespace) -> int:
    """Takes one version away, if nobody runs from it or is defined with it, and that is known of every host."""
    name, version = split_words(options.image)
    if not version:
        raise usage(f"say which version of {name}: {name}@VERSION")
    repository = repository_of(session, options)
    found, _ = on_share(repository, lambda say: repository.versions(name, say))
    rest = [manifest for manifest in found if manifest.version != version]
    before, after = newest(found), newest(rest)
    _refuse_if_used(options.image, _users(session, name, version))
    if after is None:  # then `image = NAME` has nothing left to start from
        _refuse_if_used(f"{options.image}, the last version,", _users(session, name, ""))
    elif before is not None and before.version == version:
        session.screen.note(f"{after.image} becomes the newest: what is defined with `image = {name}` starts from it")
    session.confirm(f"vmctl: remove {options.image} from {repository.path} for good?", yes=options.yes)
    on_share(repository, lambda say: repository.remove(name, version))
    if session.screen.as_json:
        session.screen.document({"removed": options.image, "newest": after.image if after else None})
    else:
        session.screen.line(f"{options.image}: ", "removed")
    return Exit.OK


def _refuse_if_used(what: str, users: dict[str, Any]) -> None:
    """safety: a domain that reboots reads its kernel again, and one with a disk reads it all the time."""
    lines = [f"{row.get('vm')} runs from it on {row.get('host')}" for row in users["running"]]
    lines += [f"{vm} is defined with it" for vm in users["defined"]]
    if lines:
        text = f"{what} is in use, nothing was removed"
        raise Failure(text, Exit.REFUSED, code="refused", faults=tuple(lines))
    if users["unknown"]:
        lines = [f"{host}: {why}" for host, why in sorted(users["unknown"].items())]
        text = f"whether {what} is in use is unknown on {count_text(len(lines), 'host')}, nothing was removed"
        raise Failure(text, Exit.REFUSED, code="refused", faults=tuple(lines))


def _users(session: Session, name: str, version: str) -> dict[str, Any]:
    """{defined [vm], running [{vm, host, version}], unknown {host: why}}, as the manager knows it."""
    answer = session.row("image-users", name=name, version=version or None)
    defined, running, unknown = answer.get("defined"), answer.get("running"), answer.get("unknown")
    good = isinstance(defined, list) and isinstance(running, list) and isinstance(unknown, dict)
    if not good or not all(isinstance(row, dict) for row in running or ()):
        # safety: an answer that is not understood is no reason to take nobody for a user
        text = "the manager's answer to `image-users` has another form than this vmctl knows: are both of one version?"
        raise Failure(text, Exit.UNREACHABLE, code="unreachable")
    return {"defined": [str(vm) for vm in defined or ()], "running": running, "unknown": unknown}
