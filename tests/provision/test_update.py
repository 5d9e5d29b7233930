"""A rolling update, against a program that stands where vmctl does and a farm that is some files: order, stops, undo."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.provision.tool import Tool
from vmprovision.farm import Farm, FarmFault

VMCTL = """\
import pathlib, re, sys
farm, words = pathlib.Path({farm!r}), sys.argv[1:]
(farm / "calls").open("a").write(" ".join(words) + "\\n")
if words[0] == "get":
    known = farm / "known"
    print(known.read_text() if known.exists() else "")
    if known.exists() and (farm / "later").exists():
        (farm / "later").replace(known)
    sys.exit()
at = words.index("--on") + 1 if "--on" in words else None
host = words[at] if at else words[2]
boots = farm / host
if (farm / "broken").exists() and (farm / "broken").read_text() == " ".join(words[:3]):
    sys.exit("vmctl: it cannot be done")
if (farm / f"{{host}}.silent").exists() and "exec" in words:
    (farm / f"{{host}}.silent").rename(farm / f"{{host}}.reset")
    sys.exit("vmctl: no answer")
if (farm / f"{{host}}.reset").exists():
    (farm / f"{{host}}.reset").unlink()
    words.append("program=reboot")
if "program=reboot" in words:
    boots.write_text(str(1 + (int(boots.read_text()) if boots.exists() else 0)))
    menu = next(p for p in pathlib.Path({menus!r}).glob("*.cfg") if f"vmherd.host={{host}} " in p.read_text())
    (farm / f"{{host}}.booted").write_text(menu.read_text())
if "program=booted" in words:
    count = int(boots.read_text()) if boots.exists() else 0
    menu = next(p for p in pathlib.Path({menus!r}).glob("*.cfg") if f"vmherd.host={{host}} " in p.read_text())
    digest = re.search(r"image=images/\\w+/(\\w+)/root", (farm / f"{{host}}.booted").read_text())[1]
    print(f"vmherd.host={{host}} vmherd.image=images/x/{{digest}}/root {{count:08x}}-0000-0000-0000-000000000000")
"""


class Hosts:
    """xen1 and xen2, in the profile ram, booted from what was written."""

    def __init__(self, folder: Path) -> None:
        self.tool = Tool(folder)
        self.tool.ini.write_text(self.tool.ini.read_text().replace("profile = shared", "profile = ram"))
        self.tool.build("ram")
        self.tool.run("write")
        self.farm = folder / "farm"
        self.farm.mkdir()
        menus = self.tool.target / "boot" / "grub" / "hosts"
        for path in menus.glob("*.cfg"):
            host = re.search(r"vmherd\.host=(\w+)", path.read_text())
            assert host
            (self.farm / f"{host[1]}.booted").write_text(path.read_text())
        self.program = folder / "vmctl.py"
        self.program.write_text(VMCTL.format(farm=str(self.farm), menus=str(menus)))

    def new_root(self, text: str) -> None:
        (self.tool.folder / "root" / "etc" / "motd").write_text(text)
        self.tool.build("ram")

    def update(self, *words: str, code: int = 0) -> str:
        return self.tool.run("update", "--vmctl", f"{sys.executable} {self.program}", *words, code=code)

    def orders(self, *, looks: bool = False) -> list[str]:
        """What was asked; `looks`: at ssh keys, too."""
        calls = (self.farm / "calls").read_text().splitlines() if (self.farm / "calls").exists() else []
        (self.farm / "calls").unlink(missing_ok=True)
        return [
            " ".join(call.split()[:3])
            for call in calls
            if "program=booted" not in call and (looks or not call.startswith("get"))
        ]

    def know(self, name: str, **known: str) -> None:
        """What hosts tell of ssh keys, in the file `name`: whom each knows; the keys of xen1 are k1."""
        clients = [
            {"client": host, "readings": [_reading("ssh_keys", f"k{host[-1]}"), _reading("ssh_known", whom)]}
            for host, whom in known.items()
        ]
        (self.farm / name).write_text(json.dumps({"clients": [*clients, {"client": "head", "readings": []}]}))

    def digests(self) -> list[str]:
        found = [re.search(r"ram/(\w+)/root", self.tool.menu(f"52:54:00:00:00:0{number}")) for number in (1, 2)]
        return [one[1] for one in found if one]


def _reading(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "value": {"code": 0, "text": text}, "error": None}


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def test_one_host_after_the_other_and_back(hosts: Hosts) -> None:
    old = hosts.digests()
    assert "every host has the root that it should have" in hosts.update()
    hosts.new_root("new\n")
    said = hosts.update()
    new = hosts.digests()
    assert old[0] == old[1] != new[0] == new[1]
    assert said.index("1 of 2: xen1") < said.index(f"xen1: runs {new[0]}") < said.index("2 of 2: xen2")
    each = [[f"host evacuate {host}", "exec exec program=reboot", f"host return {host}"] for host in ("xen1", "xen2")]
    assert hosts.orders() == each[0] + each[1]
    hosts.update("--undo")
    assert hosts.digests() == old


def test_the_first_that_fails_ends_it(hosts: Hosts) -> None:
    old = hosts.digests()
    hosts.new_root("new\n")
    (hosts.farm / "broken").write_text("host evacuate xen1")
    assert "xen1 was not emptied: vmctl: it cannot be done" in hosts.update(code=1)
    assert hosts.digests() == old
    assert hosts.orders() == ["host evacuate xen1"]
    hosts.update("xen2")
    assert hosts.digests()[0] == old[0] != hosts.digests()[1]


def test_a_host_that_comes_back_with_another_root_is_a_failure(hosts: Hosts) -> None:
    farm = Farm(lambda text: None, 20.0, (sys.executable, str(hosts.program)))
    with pytest.raises(FarmFault, match=r"^xen1 has restarted, but runs \w+, not 0123456789ab$"):
        farm.restart("xen1", "test", lambda: "0123456789ab")


def test_a_host_is_taken_back_when_hosts_know_its_ssh_keys(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmprovision.farm.LOOK_S", 0.01)
    farm = Farm(lambda text: None, 20.0, (sys.executable, str(hosts.program)))
    hosts.know("known", xen1="xen2:k2", xen2="xen1:old")
    hosts.know("later", xen1="xen2:k2", xen2="xen1:k1")
    farm.restart("xen1", "test", lambda: hosts.digests()[0])
    assert hosts.orders(looks=True)[-3:] == ["get ssh_keys ssh_known", "get ssh_keys ssh_known", "host return xen1"]


def test_a_host_whose_ssh_keys_stay_unknown_is_not_taken_back(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmprovision.farm.KNOWN_S", 0.0)
    farm = Farm(lambda text: None, 20.0, (sys.executable, str(hosts.program)))
    hosts.know("known", xen1="xen2:k2", xen2="xen1:old", xen3="xen1:k1")
    with pytest.raises(FarmFault, match=r"^xen1 runs \w+, but it and xen2, xen3 do not know each other's ssh keys"):
        farm.restart("xen1", "test", lambda: hosts.digests()[0])
    assert "host return xen1" not in hosts.orders()


def test_a_host_that_is_not_known_is_told(hosts: Hosts) -> None:
    assert hosts.update("xen9", code=2) == "vmprovision: there is no host xen9\n"


def test_an_undo_is_of_the_last_root_alone(hosts: Hosts) -> None:
    """xen1 has the third root and xen2 the second: only xen1 goes back, once."""
    hosts.new_root("second")
    hosts.update()
    second = hosts.digests()
    hosts.new_root("third")
    hosts.update("xen1")
    assert hosts.digests()[0] != second[0]
    assert "1 of 1: xen1" in hosts.update("--undo")
    assert hosts.digests() == second
    assert "every host has the root that it should have" in hosts.update("--undo")


def test_an_undo_waits_for_a_host_that_does_not_answer_to_be_reset(hosts: Hosts) -> None:
    old = hosts.digests()
    hosts.new_root("its client does not start")
    hosts.update("xen1")
    hosts.orders()
    (hosts.farm / "xen1.silent").touch()
    said = hosts.update("--undo")
    assert f"xen1 does not answer: reset it, it then boots {old[0]}; it is waited for\nxen1: runs {old[0]}" in said
    assert hosts.orders() == ["host return xen1"]
    assert hosts.digests() == old
