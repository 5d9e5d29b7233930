"""Files with faults, given to the real daemons: one clear message with file and line, exit code 2, and nothing lost."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.farm.farm import BUS, Farm, run
from tests.farm.files import ClientFiles, ManagerFiles, write, write_client, write_manager

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

GOOD_RULE = """\
[calm]
expr = { len(manager.clients) > 1000 }
cmd = { print("many") }
ticks = 30
"""


@dataclass(frozen=True)
class Case:
    """`old` -> `new` in a good file; the message must name `file:line` and hold `words`."""

    daemon: str
    file: str
    old: str
    new: str
    line: int
    words: tuple[str, ...]


CASES = {
    "unknown key": Case("vmmanager", "vmmanager.ini", "grace = 0.0", "grase = 0", 4, ("grase", "grace")),
    "wrong type": Case("vmmanager", "vmmanager.ini", "grace = 0.0", "grace = soon", 4, ("[manager]", "grace", "soon")),
    "impossible value": Case("vmmanager", "vmmanager.ini", "grace = 0.0", "grace = -5", 4, ("[manager]", "grace", "-5")),
    "duplicate section": Case("vmmanager", "vmmanager.ini", "[log]", "[bus]", 13, ("[bus]", "twice")),
    "client unknown key": Case("vmclient", "vmclient.ini", "heartbeat = 15.0", "hartbeat = 15", 4, ("hartbeat", "heartbeat")),
    "client wrong type": Case("vmclient", "vmclient.ini", "heartbeat = 15.0", "heartbeat = often", 4, ("heartbeat", "often")),
    "client impossible value": Case(
        "vmclient", "properties.d/all.ini", "ticks = 0.2", "ticks = 0.0001", 5, ("[knob]", "ticks")
    ),
    "unbalanced brace": Case("vmmanager", "triggers.d/all.ini", "> 1000 }", "> 1000", 2, ("[calm]", "expr")),
    "python error in expr": Case("vmmanager", "triggers.d/all.ini", "> 1000 }", "> > 1000 }", 2, ("[calm]", "expr")),
    "python error in cmd": Case(
        "vmmanager", "triggers.d/all.ini", '{ print("many") }', "{\n    x = 1\n    x +* 2\n}", 5, ("[calm]", "cmd")
    ),
    "python 2 print": Case(
        "vmmanager", "triggers.d/all.ini", '{ print("many") }', '{\n    x = 1\n    print "many", x\n}', 5, ('print("many", x)',)
    ),
    "trigger twice": Case(
        "vmmanager", "triggers.d/all.ini", "ticks = 30", "ticks = 30\n[calm]\nexpr = { 1 > 2 }", 5, ("calm",)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_faulty_file_is_refused_with_its_line_by_the_check_and_at_the_start(tmp_path: Path, case: Case) -> None:
    write_manager(tmp_path, ManagerFiles("m1", ("m1",), triggers=GOOD_RULE), 4803)
    write_client(tmp_path, ClientFiles("c1"), 4803)
    path = tmp_path / case.file
    text = path.read_text()
    assert text.count(case.old) == 1
    write(path, text.replace(case.old, case.new))
    config = str(tmp_path / f"{case.daemon}.ini")
    checked, started = run(case.daemon, "--check-config", "--config", config), run(case.daemon, "--config", config)
    for said in (checked, started):
        assert said.code == 2, said
        assert f"{path}:{case.line}" in said.err, said.err
        assert all(word in said.err for word in case.words), said.err
        assert len([line for line in said.err.splitlines() if str(path) in line]) == 1, said.err
        assert "Traceback" not in said.err
    assert not (tmp_path / "state").exists()


def test_a_trigger_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    write_manager(tmp_path, ManagerFiles("m1", ("m1",), triggers=GOOD_RULE), 4803)
    path = tmp_path / "triggers.d" / "all.ini"
    path.chmod(0o666)
    said = run("vmmanager", "--config", str(tmp_path / "vmmanager.ini"))
    assert said.code == 2
    assert str(path) in said.err
    assert "chmod" in said.err or "writ" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("daemon", ["vmmanager", "vmclient"])
def test_a_file_that_is_not_there_or_not_readable_is_named(tmp_path: Path, daemon: str) -> None:
    absent = run(daemon, "--config", str(tmp_path / "absent.ini"))
    folder = run(daemon, "--config", str(tmp_path))
    for said, name in ((absent, "absent.ini"), (folder, str(tmp_path))):
        assert said.code == 2, said
        assert name in said.err
        assert len(said.err.splitlines()) == 1, said.err
    if os.geteuid() != 0:
        secret = tmp_path / "secret.ini"
        secret.touch(mode=0o000)
        said = run(daemon, "--config", str(secret))
        assert (said.code, "ermission denied" in said.err) == (2, True)


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write_manager(tmp_path, ManagerFiles("m1", ("m1",), triggers=GOOD_RULE), 4803)
    rules, main = tmp_path / "triggers.d" / "all.ini", tmp_path / "vmmanager.ini"
    write(rules, GOOD_RULE.replace("> 1000", "> >").replace("ticks = 30", "tiks = 30"))
    write(main, main.read_text().replace("grace = 0.0", "grace = soon"))
    said = run("vmmanager", "--check-config", "--config", str(main))
    assert said.code == 2
    places = [line.split(": ")[0] for line in said.err.splitlines()]
    assert {f"{rules}:2", f"{rules}:4", f"{main}:4"} <= set(places)
    assert len(places) == len(set(places)), said.err


def test_a_port_in_use_ends_vmbus_with_exit_code_2_and_says_which(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = run("vmbus", "--listen", f"127.0.0.1:{port}")
    assert said.code == 2
    assert f"127.0.0.1:{port}" in said.err
    assert "in use" in said.err
    assert len(said.err.splitlines()) == 1


def test_daemons_that_start_without_a_bus_wait_for_it(farm: Farm) -> None:
    farm.kill(BUS)
    farm.manager("m1")
    farm.client("c1")
    assert farm.vmctl("m1", "exec", "exec", "program=note", "text=x", "--on", "all", "--yes").code == 3
    assert "not connected" in farm.vmctl("m1", "status").out
    farm.logged("c1", "plugins:")
    farm.logged("m1", "bus")  # that there is none is said
    farm.logged("c1", "bus")
    farm.start_bus()
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    assert farm.vmctl("m1", "get", "knob", "--fetch", "--on", "all").code == 0


def test_a_reload_of_a_faulty_file_keeps_what_runs_and_says_why(farm: Farm) -> None:
    farm.manager("m1", triggers=GOOD_RULE)
    farm.client("c1")
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    rules = farm.folder / "m1" / "triggers.d" / "all.ini"
    write(rules, GOOD_RULE.replace("> 1000", "> > 1000"))
    said = farm.vmctl("m1", "reload")
    assert said.code == 2
    assert f"{rules}:2" in said.err
    assert [row["name"] for row in farm.vmctl("m1", "triggers", "--json").json] == ["calm"]
    farm.signal("m1", signal.SIGHUP)
    farm.wait("the log says it twice", lambda: len(farm.lines("m1", f"{rules}:2")) == 2)
    write(rules, GOOD_RULE.replace("[calm]", "[calmer]"))
    farm.signal("m1", signal.SIGHUP)
    farm.wait("the good one is used", lambda: [row["name"] for row in farm.ask("m1", "triggers")] == ["calmer"])

    properties = farm.folder / "c1" / "properties.d" / "all.ini"
    good = properties.read_text()
    write(properties, good.replace("ticks = 0.2", "ticks = often"))
    farm.signal("c1", signal.SIGHUP)
    assert f"{properties}:5" in farm.logged("c1", "the running one stays")
    refused = farm.vmctl("m1", "control", "reload", "--on", "c1", "--yes", "--json")
    assert refused.code == 1
    assert f"{properties}:5" in refused.out + refused.err
    write(properties, good.replace("[knob]", "[button]"))
    assert farm.vmctl("m1", "control", "reload", "--on", "c1", "--yes").code == 0
    farm.wait("the new property is read", lambda: farm.values("m1", "button") == {"c1": 0})
