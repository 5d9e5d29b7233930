"""What docs/plugins.md tells people to write works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from common.parameters import Signature
from common.plugin import Refused, Site, Unknown
from vmclient.loader import Found, Loader

DOCS = Path(__file__).resolve().parents[2] / "docs"


def loaded(folder: Path) -> dict[tuple[str, str], Found]:
    folder.chmod(0o755)
    for file in folder.glob("*.py"):
        file.chmod(0o644)
    loader = Loader(lambda module: None, {})
    loader.load((), str(folder))
    assert loader.faults == {}
    return loader.found


def test_the_twenty_lines_of_the_page(tmp_path: Path) -> None:
    page = (DOCS / "plugins.md").read_text()
    block = re.search(r"\n\n((?:    .*\n|\n)+?)\nand use it", page)
    assert block
    lines = [line[4:] for line in block[1].splitlines()]
    assert len(lines) <= 20
    (tmp_path / "queue.py").write_text("\n".join(lines) + "\n")
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "one").touch()
    found = loaded(tmp_path)["reader", "queue"]
    assert found.function(**found.signature.bind((str(tmp_path / "spool"),), {}, Site("xen1"))) == 1
    with pytest.raises(Unknown, match="is there a mail server here"):
        found.function("/nowhere")


def test_the_longer_example(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text((DOCS / "examples" / "queue.py").read_text())
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "one").touch()
    found = loaded(tmp_path)
    said: list[str] = []
    site = Site("xen1", log=lambda text, level: said.append(text))
    reader, command = found["reader", "queue"], found["command", "queue"]
    assert reader.function(**reader.signature.bind((str(tmp_path / "spool"),), {"older_than": "100"}, site)) == 0
    bound = command.signature.bind((), {"folder": str(tmp_path / "spool"), "action": "touch"}, site)
    assert bound["site"] is site
    if str(tmp_path).startswith("/tmp/"):
        assert command.function(**bound) == {"client": "xen1", "files": 1}
        assert said == [f"1 files touched in {tmp_path}/spool"]
    with pytest.raises(Refused):
        command.function(site, "/etc", "touch")
    assert command.plugin.subject == "folder"


def test_every_reader_and_command_of_the_page_exists_with_these_parameters() -> None:
    loader = Loader(lambda module: None, {})
    loader.load(("plugins.system", "plugins.exec", "plugins.service", "plugins.log"), "")
    page = (DOCS / "plugins.md").read_text()
    rows = {kind: re.findall(r"^\| `(\w+)` \| (.*?) \|", part, re.MULTILINE) for kind, part in parts(page).items()}
    for kind, documented in rows.items():
        known = {name: one for (of, name), one in loader.found.items() if of == kind}
        assert {name for name, _ in documented} == set(known)
        for name, parameters in documented:
            signature: Signature = known[name].signature
            assert all(f"`{one.name}`" in parameters for one in signature.parameters), (name, parameters)


def parts(page: str) -> dict[str, str]:
    readers, commands = page.split("## Readers that come with it")[1].split("## Commands that come with it")
    return {"reader": readers, "command": commands}
