"""Plugins of the site's own in a client's folder: the good ones work, a bad one costs only its own property."""

from __future__ import annotations

import psutil
import pytest

from tests.farm.farm import Farm
from tests.farm.files import write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

BAD = '''\
import os
import sys
import time

from common.plugin import Unknown, command, reader


@reader("hangs")
def hangs() -> int:
    while True:
        time.sleep(600)


@reader("raises")
def raises() -> int:
    raise ValueError("no such sensor")


@reader("knows_not")
def knows_not() -> int:
    raise Unknown("the sensor is not there")


@reader("floods")
def floods() -> int:
    while True:
        sys.stdout.write("x" * 65536)


@reader("forks")
def forks() -> int:
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(600)
    return 1


@reader("exits")
def exits() -> int:
    os._exit(3)


@reader("is_large")
def is_large() -> str:
    return "x" * 3_000_000


@reader("is_odd")
def is_odd() -> object:
    return object()


@command("greet")
def greet(name: str, times: int = 1) -> str:
    """Says hello."""
    return " ".join([f"hello {name}"] * times)
'''

NAMES = ("hangs", "raises", "knows_not", "floods", "forks", "exits", "is_large", "is_odd")
PROPERTIES = "".join(f"\n[{name}]\ncommand = {name}\nticks = 1\ntimeout = 1\n" for name in NAMES)
WHY = {
    "hangs": "1 s",
    "raises": "no such sensor",
    "knows_not": "the sensor is not there",
    "floods": "print",
    "exits": "3",
    "is_large": "bytes",
    "is_odd": "object",
}


def test_a_bad_reader_costs_only_its_own_property(farm: Farm) -> None:
    farm.manager("m1")
    farm.client("c1", allow=("greet",), properties=PROPERTIES, plugins={"bad.py": BAD, "broken.py": "import no_such_module\n"})
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    assert "no_such_module" in farm.logged("c1", "broken.py is not used")

    def rows() -> dict[str, dict[str, object]]:
        got = farm.vmctl("m1", "get", "--fetch", "--on", "c1", "--timeout", "20s", "--json")
        assert got.code in (0, 1), got
        return {row["name"]: row for row in farm.vmctl("m1", "props", "--json").json}

    shown = rows()
    for name, why in WHY.items():
        assert why in str(shown[name]["error"]), (name, shown[name])
        assert shown[name]["value"] is None
    assert shown["knob"]["error"] is None
    farm.turn("c1", 5)
    farm.wait("the good one goes on", lambda: farm.values("m1", "knob") == {"c1": 5})

    said = farm.vmctl("m1", "exec", "greet", "name=you", "times:=2", "--on", "c1", "--yes", "--json")
    assert said.code == 0, said
    assert "hello you hello you" in said.out
    wrong = farm.vmctl("m1", "exec", "greet", "name=you", "times=many", "--on", "c1", "--yes")
    assert wrong.code == 1
    assert "times" in wrong.out + wrong.err
    assert farm.vmctl("m1", "exec", "log", "text=x", "--on", "c1", "--yes").code == 1  # not in its closed list

    strays = "forks: its worker process is replaced: it left processes behind"
    assert len(farm.lines("c1", strays)) == 1, farm.log("c1")  # said once a minute, not at each read
    client = psutil.Process(farm.pid("c1"))
    assert client.is_running()
    assert len(client.children(recursive=True)) < 20
    assert farm.stop("c1") == 0


def test_a_plugin_that_is_dropped_in_is_used_after_a_reload(farm: Farm) -> None:
    farm.manager("m1")
    farm.client("c1")
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    folder = farm.folder / "c1"
    answer = 'from common.plugin import reader\n\n\n@reader("answer")\ndef answer() -> int:\n    return 42\n'
    write(folder / "plugins" / "answer.py", answer)
    write(folder / "properties.d" / "answer.ini", "[answer]\ncommand = answer\nticks = 1\npush = on_change\n")
    said = farm.vmctl("m1", "control", "reload", "--on", "c1", "--yes")
    assert said.code == 0, said
    farm.wait("it is read", lambda: farm.values("m1", "answer") == {"c1": 42})
    write(folder / "plugins" / "answer.py", answer.replace("42", "43"))
    assert farm.vmctl("m1", "control", "reload", "--on", "c1", "--yes").code == 0
    farm.wait("the new code is read", lambda: farm.values("m1", "answer") == {"c1": 43})
