"""What the user is told: each story in stories/*.txt is some files, and what loading them says.

`REWRITE=1 pytest tests/config/test_stories.py` writes anew what is said; the difference is for the commit to explain.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.config.load import load_client, load_manager, load_vms
from common.config.model import ConfigurationError

STORIES = Path(__file__).parent / "stories"
HOST = "host1.example"


@dataclass(frozen=True)
class Story:
    book: str
    title: str
    told: str  # as in the file, title and expectation left out
    files: tuple[tuple[str, str], ...]
    expected: str


def stories(book: str) -> list[Story]:
    chapters = (STORIES / f"{book}.txt").read_text().split("=== ")[1:]
    return [story(book, chapter) for chapter in chapters]


def story(book: str, chapter: str) -> Story:
    title, _, rest = chapter.partition("\n")
    told, _, expected = ("\n" + rest).partition("\n----")
    files = [part.partition("\n") for part in told.split("\n-- ")[1:]]
    return Story(book, title, told.lstrip("\n"), tuple((name, text) for name, _, text in files), expected.strip())


def said(one: Story, folder: Path) -> str:
    for name, text in one.files:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n")
        path.chmod(0o600)
    try:
        if one.book == "client":
            warnings = load_client(folder / "vmclient.ini", host_name=lambda: HOST).warnings
        elif one.book == "vms":
            load_vms(folder / "vms.ini")
            warnings = ()
        else:
            warnings = load_manager(folder / "vmmanager.ini", host_name=lambda: HOST).warnings
    except ConfigurationError as fault:
        return str(fault).replace(f"{folder}/", "")
    return "\n".join(["good", *(f"warning: {warning}" for warning in warnings)]).replace(f"{folder}/", "")


ALL = [one for book in ("client", "manager", "vms") for one in stories(book)]


@pytest.mark.parametrize("one", ALL, ids=[f"{one.book}: {one.title}" for one in ALL])
def test_the_user_is_told(one: Story, tmp_path: Path) -> None:
    if os.environ.get("REWRITE"):
        pytest.skip("the stories are being rewritten")
    assert said(one, tmp_path) == one.expected


@pytest.mark.skipif(not os.environ.get("REWRITE"), reason="only with REWRITE=1")
@pytest.mark.parametrize("book", ["client", "manager", "vms"])
def test_rewrite(book: str, tmp_path: Path) -> None:
    parts = []
    for number, one in enumerate(stories(book)):
        folder = tmp_path / str(number)
        folder.mkdir()
        told = one.told + "\n" if one.told else ""
        parts.append(f"=== {one.title}\n{told}----\n{said(one, folder)}\n")
    (STORIES / f"{book}.txt").write_text("\n".join(parts))
