"""What README and the pages of docs/ show is so: command lines parse, links lead somewhere, snippets load."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from common.bus.vmbus import __main__ as vmbus
from common.config.load import load_client, load_manager
from tests.docs.pages import PAGES, blocks, code
from tests.docs.sentences import ROOT
from vmclient import __main__ as vmclient
from vmctl import arguments as vmctl
from vmmanager import __main__ as vmmanager

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "vmctl": vmctl.parser,
    "vmbus": vmbus.parser,
    "vmmanager": vmmanager.parser,
    "vmclient": vmclient.parser,
}
WITH_COMMANDS = ("README.md", "docs/operations.md")
WITH_SNIPPETS = ("README.md", "docs/operations.md", "docs/triggers.md", "docs/plugins.md", "docs/configuration.md")
NOT_OPTIONS = ("[", "...", "|")  # an outline, not a command line


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands() -> list[tuple[str, int, str]]:
    """Whole command lines of our programs: (page, line, text). One with nothing behind its name is a name."""
    found = []
    for page in WITH_COMMANDS:
        for number, text in code(page):
            text = re.sub(r"\s+#.*", "", text.strip())
            words = text.split()
            whole = len(words) > 1 and not any(mark in text for mark in NOT_OPTIONS)
            if whole and words[0] in PARSERS:
                found.append((page, number, text))
    return found


def test_the_pages_show_command_lines() -> None:
    assert {text.split()[0] for _, _, text in commands()} == set(PARSERS)
    assert len(commands()) > 30


@pytest.mark.parametrize(("page", "line", "text"), commands())
def test_each_command_line_parses(page: str, line: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(text)
    words = vmctl.with_silence_add(words) if program == "vmctl" else words
    refused: object = 0
    try:
        PARSERS[program]().parse_args(words)
    except SystemExit as end:  # --help ends with 0
        refused = end.code
    assert not refused, f"{page}:{line}: {text}\n{capsys.readouterr().err}"


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_each_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{names(page)}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{names(page)}: {target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_each_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {found for _, text in code(names(page)) for found in re.findall(r"^make ([a-z-]+)", text)}
    assert shown <= targets, f"{names(page)}: make {shown - targets}"


def snippets() -> list[tuple[str, int, str]]:
    """Blocks that begin with a section, whole properties, triggers or files: (page, line, text)."""
    return [
        (page, began, "\n".join(lines) + "\n")
        for page in WITH_SNIPPETS
        if (ROOT / page).exists()
        for began, lines in blocks(page)
        if re.match(r"\[\w+\]$", lines[0])
        and re.search(r"^command =|^expr =|^\[(client|manager|bus|log)\]$", "\n".join(lines), re.MULTILINE)
    ]


def load(text: str, folder: Path) -> None:
    """Each section in the file where it belongs, as the daemon to which it belongs would. Raises ConfigurationError."""
    client, manager = folder / "vmclient.ini", folder / "vmmanager.ini"
    files = {client: "", manager: "", folder / "triggers.d/shown.ini": "", folder / "properties.d/shown.ini": ""}
    is_managers = re.search(r"^(\[manager\]|expr *=)", text, re.MULTILINE) is not None
    for section in re.split(r"^(?=\[\w+\])", text, flags=re.MULTILINE):
        name = section.partition("]")[0].removeprefix("[")
        if name in ("client", "manager", "programs", "bus", "log", "paths"):
            files[manager if is_managers else client] += section
        else:
            kind = "triggers" if re.search(r"^expr *=", section, re.MULTILINE) else "properties"
            files[folder / f"{kind}.d/shown.ini"] += section
    for path, held in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(held)
    load_client(client)
    load_manager(manager)


@pytest.mark.parametrize(("page", "line", "text"), snippets())
def test_each_snippet_loads(page: str, line: int, text: str, tmp_path: Path) -> None:
    load(text, tmp_path)


def test_the_shipped_and_shown_paths_are_those_of_one_place() -> None:
    from common import paths

    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    for name in ("PREFIX", "CONF", "STATE", "RUN", "CLIENT_STATE", "CLIENT_RUN", "LOG"):
        assert f"| `{name}` | `{getattr(paths, name)}` |" in text
