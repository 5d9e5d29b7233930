"""What the user is told of provision.ini: each story in stories.txt is a file, and what loading it says.

`REWRITE=1 pytest tests/provision/test_inventory.py` writes anew what is said; the difference is for the commit to explain.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from common.config.keys import Table
from common.config.model import ConfigurationError
from tests.provision.given import farm
from vmprovision import keys
from vmprovision.edits import added, removed, summary
from vmprovision.inventory import load

BOOK = Path(__file__).parent / "stories.txt"
EXAMPLE = Path(__file__).resolve().parents[2] / "conf" / "examples" / "provision.ini"
CHAPTERS = BOOK.read_text().split("=== ")[1:]
TABLES = (keys.SERVER, keys.NETWORK, keys.PROFILE, keys.HOST, keys.GATEWAY, keys.IMAGE)


def said(text: str, folder: Path) -> str:
    path = folder / "provision.ini"
    path.write_text(text)
    path.chmod(0o600)
    try:
        return f"good: {summary(load(path))}"
    except ConfigurationError as fault:
        return str(fault).replace(f"{folder}/", "")


@pytest.mark.parametrize("number", range(len(CHAPTERS)), ids=[one.partition("\n")[0] for one in CHAPTERS])
def test_story(number: int, tmp_path: Path) -> None:
    told, _, expected = CHAPTERS[number].partition("\n----\n")
    found = said(told.partition("-- provision.ini\n")[2], tmp_path)
    if os.environ.get("REWRITE"):
        chapters = BOOK.read_text().split("=== ")[1:]
        chapters[number] = f"{told}\n----\n{found}\n\n"
        BOOK.write_text("".join(f"=== {one}" for one in chapters).rstrip("\n") + "\n")
    else:
        assert found == expected.strip()


def test_a_host_that_is_added_and_removed_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = farm(tmp_path)
    before = path.read_text()
    path.write_text(
        added(before, "xen3", {"mac": "52:54:00:00:00:03", "address": "10.77.0.13", "profile": "ram", "groups": ""})
    )
    known = load(path)
    assert list(known.hosts) == ["xen1", "xen2", "xen3"]
    assert removed(path.read_text(), known.hosts["xen3"]) == before
    path.write_text(removed(before, load(farm(tmp_path / "again")).hosts["xen2"]))
    assert list(load(path).hosts) == ["xen1"]
    assert "cellar" not in path.read_text()


def test_the_shipped_example_loads_and_shows_every_key() -> None:
    text = EXAMPLE.read_text()
    assert summary(load(EXAMPLE)) == "3 networks, 2 profiles, 3 hosts, 1 gateway, 1 image"
    for table in TABLES:
        for key in table.keys:
            assert re.search(rf"(?m)^#?\s*{key.name} =", text), f"the example does not show {key.name}"


@pytest.mark.parametrize("table", TABLES, ids=lambda one: one.model.__name__)
def test_every_field_has_a_key(table: Table) -> None:
    names = {key.targets[0] for key in table.keys}
    assert names | {"name", "where"} >= {field.name for field in fields(table.model)}
    assert names <= {field.name for field in fields(table.model)}
