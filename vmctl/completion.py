"""Shell completion: names come live from the manager, and nothing goes wrong aloud when it is not there."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vmctl.failure import Exit, Failure
from vmctl.link import Link, socket_path

if TYPE_CHECKING:
    from vmctl.session import Row, Session

SHELLS = ("bash", "zsh", "fish")
_PLAIN = re.compile(r"[\w.:@+-]+")  # a shell may evaluate what it completes: nothing of meaning to it is offered
ANSWER_S = 1.0  # a person waits with a finger on TAB


class Completer:
    """What argcomplete calls: `by` is the kind of names wanted, or the names themselves are given."""

    def __init__(self, by: str, names: Sequence[str] = ()) -> None:
        self.by = by
        self.names = names

    def __call__(self, prefix: str, parsed_args: Namespace, **kwargs: Any) -> list[str]:
        if self.names:
            return list(self.names)
        link = Link(socket_path(getattr(parsed_args, "socket", None)), answer_s=ANSWER_S)
        try:
            found = _NAMES[self.by](link)
        except Failure:
            return []
        finally:
            link.close()
        return sorted({name for name in found if name.startswith(prefix) and _PLAIN.fullmatch(name)})


class ImageCompleter:
    """Names of images, or their versions too; they stand in the folder of images, not with the manager."""

    def __init__(self, versions: bool) -> None:
        self.versions = versions

    def __call__(self, prefix: str, parsed_args: Namespace, **kwargs: Any) -> list[str]:
        from common.images.manifest import ImageFault
        from common.images.patience import Silent
        from vmctl.image_folder import known

        link = Link(socket_path(getattr(parsed_args, "socket", None)), answer_s=ANSWER_S)
        try:
            found = known(lambda: link.ask("settings"), getattr(parsed_args, "repository", None), ANSWER_S)
        except (Failure, ImageFault, Silent):
            return []
        finally:
            link.close()
        return [name for name in found if name.startswith(prefix) and (self.versions or "@" not in name)]


def _rows(link: Link, op: str) -> list[Row]:
    result = link.ask(op)
    return [row for row in result if isinstance(row, dict)] if isinstance(result, list) else []


def _column(link: Link, op: str, key: str) -> Iterable[str]:
    for row in _rows(link, op):
        value = row.get(key)
        yield from [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _clients(link: Link) -> Iterable[str]:
    return _column(link, "clients", "name")


def _groups(link: Link) -> Iterable[str]:
    return _column(link, "clients", "groups")


def _triggers(link: Link) -> Iterable[str]:
    return _column(link, "triggers", "name")


def _targets(link: Link) -> Iterable[str]:
    return ["all", *_clients(link), *_groups(link)]


def _silenceable(link: Link) -> Iterable[str]:
    return [
        "all",
        *_triggers(link),
        *(f"client:{name}" for name in _clients(link)),
        *(f"group:{name}" for name in _groups(link)),
    ]


def _keys(*states: str) -> Any:
    return lambda link: [str(row.get("name")) for row in _rows(link, "key-list") if not states or row.get("state") in states]


def _vms(link: Link) -> Iterable[str]:
    return _column(link, "vms", "name")


def _vm_groups(link: Link) -> Iterable[str]:
    return [str(row["group"]) for row in _rows(link, "vms") if row.get("group")]


def _environments(link: Link) -> Iterable[str]:
    result = link.ask("envs")
    rows = result.get("environments") if isinstance(result, dict) else None
    return [str(row.get("name")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _paused(link: Link) -> Iterable[str]:
    return [*_environments(link), *(str(row.get("slot")) for row in _rows(link, "env-slots") if row.get("state") == "broken")]


_NAMES: dict[str, Any] = {
    "client": _clients,
    "group": _groups,
    "target": _targets,
    "trigger": _triggers,
    "subject": lambda link: [*_clients(link), *_triggers(link)],
    "property": lambda link: _column(link, "props", "name"),
    "command": lambda link: (name.partition(":")[0] for name in _column(link, "clients", "commands")),
    "silence": _silenceable,
    "silence-id": lambda link: _column(link, "silences", "id"),
    "key-accept": _keys("pending", "changed", "rejected"),
    "key-reject": _keys("pending", "changed", "accepted"),
    "key-remove": _keys(),
    "vm": _vms,
    "vm-group": _vm_groups,
    "vm-target": lambda link: ["all", *_vms(link), *_vm_groups(link)],
    "host": lambda link: _column(link, "hosts", "name"),
    "env": _environments,
    "env-host": lambda link: _column(link, "env-slots", "host"),
    "env-paused": _paused,
    "env-request": lambda link: _column(link, "env-requests", "id"),
}


def print_completion(session: Session, options: Namespace) -> int:
    """The code that teaches a shell to complete vmctl."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["vmctl"], shell=options.shell))
    return Exit.OK


def complete(parser: Any) -> None:
    """Answer the shell and end the process."""
    import argcomplete

    argcomplete.autocomplete(parser, always_complete_options=False)
