"""The folder of images as vmctl's commands reach it: where it is, and work on it that may be broken off. Knows no command.

The work is done in a thread with a limit, so that Ctrl-C works on a share that hangs, and what is begun is taken back.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from common.images.manifest import ImageFault, split
from common.images.patience import Sign, Silent, patiently
from common.images.repository import Repository
from common.images.shelf import Gone, Missing
from vmctl.failure import Exit, Failure, usage
from vmctl.session import Session

VARIABLE = "VMHERD_IMAGES"
SILENT_S = 30.0  # a person is there and may wait longer than a start
WHOLE_S = 86_400.0  # the largest image on the slowest line

T = TypeVar("T")


def folder_of(link_settings: Callable[[], Any], option: str | None) -> Path:
    """--repository, else VMHERD_IMAGES, else what the manager says (`link_settings` asks it). Raises Failure."""
    given = option or os.environ.get(VARIABLE)
    if given:
        return Path(given)
    hint = f"name it with --repository or {VARIABLE}"
    try:
        settings = link_settings()
    except Failure as failure:
        raise Failure(f"{failure}; or, where the folder of images is known, {hint}", failure.exit, code=failure.code) from None
    told = settings.get("images") if isinstance(settings, dict) else None
    if not isinstance(told, str) or not told:
        raise usage(f"the manager's file does not say where images are (`images`); {hint}")
    return Path(told)


def known(link_settings: Callable[[], Any], option: str | None, silent_s: float) -> list[str]:
    """For a shell: every NAME and NAME@VERSION. Raises Failure, ImageFault, Silent."""
    repository = Repository(folder_of(link_settings, option))

    def work(say: Sign) -> list[str]:
        names = repository.names()
        return names + [manifest.image for name in names for manifest in repository.versions(name, say)[0]]

    return patiently(work, silent_s=silent_s, limit_s=silent_s)


def repository_of(session: Session, options: Namespace) -> Repository:
    return Repository(folder_of(lambda: session.row("settings"), options.repository).absolute())


def split_words(image: str) -> tuple[str, str]:
    try:
        return split(image)
    except ImageFault as fault:
        raise usage(str(fault)) from None


def on_share(
    repository: Repository,
    work: Callable[[Sign], T],
    progress: Callable[[str], None] = lambda text: None,
    *,
    hint: str = "",
) -> T:
    """As `patiently_on`, faults told as vmctl tells them. `hint`: what to do where the folder is none of images."""
    try:
        return patiently_on(repository, work, progress)
    except Missing as fault:
        raise Failure(str(fault), Exit.USAGE, code="no-such") from None
    except ImageFault as fault:
        raise Failure(str(fault) + (hint if isinstance(fault, Gone) else ""), Exit.PARTIAL, code="image") from None


def patiently_on(repository: Repository, work: Callable[[Sign], T], progress: Callable[[str], None] = lambda text: None) -> T:
    try:
        return patiently(work, progress, silent_s=SILENT_S, limit_s=WHOLE_S)
    except Silent as fault:
        raise Failure(f"{repository.path} {fault}: is the server of the share alive?", Exit.PARTIAL, code="image") from None
