"""What an operator and a program see, for every command: golden files at two widths and as JSON.

VMHERD_REWRITE=1 writes them anew; a changed screen is a diff that somebody explains in the commit."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.vmctl.conftest import Vmctl
from tests.vmctl.farm import FARM, ScriptedManager, pieces, refuses, says
from tests.vmctl.farm_vms import VM_COMMANDS

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = (
    "status",
    "clients",
    "clients web* --group dom0",
    "props",
    "props ram* --on xen1",
    "history xen1.pg.infn.it ram_free --since 2h",
    "get ram_free --fetch --on all",
    "exec restart service=httpd times:=2 --on dom0 --timeout 1m",
    "control ping --on all",
    "triggers",
    "trigger show ram_low",
    "trigger test ram_low --over 1h",
    "trigger disable ram_low",
    "silence ram_low --for 2h --why memory",
    "silence list",
    "silence remove 4",
    "events -n 3",
    "key list",
    "key accept new1.pg.infn.it",
    "key accept new*.pg.infn.it --yes",
    "reload",
)


def story(vmctl: Vmctl, commands: Sequence[str], *more: str) -> str:
    parts = []
    for command in commands:
        code, out, err = vmctl(*command.split(), *more)
        parts += [
            f"$ vmctl {' '.join([command, *more])}",
            out.rstrip("\n"),
            *(f"2> {line}" for line in err.splitlines()),
            f"[{code}]",
            "",
        ]
    return "\n".join(parts)


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("VMHERD_REWRITE"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("width", [80, 120])
def test_every_table_at_a_terminals_width(
    vmctl: Vmctl, manager: ScriptedManager, world: pytest.MonkeyPatch, width: int
) -> None:
    world.setenv("COLUMNS", str(width))
    text = story(vmctl, COMMANDS)
    too_wide = [line for line in text.splitlines() if len(line) > width and not line.startswith(("$", "2>"))]
    assert [line for line in too_wide if "silenced until" not in line and "connected -> silent" not in line] == []
    check(f"{width}.txt", text)


def test_every_answer_as_json(vmctl: Vmctl, manager: ScriptedManager) -> None:
    check("json.txt", story(vmctl, COMMANDS, "--json"))


def test_not_on_a_terminal_a_row_is_one_whole_line(vmctl: Vmctl, manager: ScriptedManager) -> None:
    _, out, err = vmctl("props")
    assert len(out.splitlines()) == 5
    assert "Mail system is down, and it said so at some length" in out
    assert err == ""


def test_what_is_sent_to_the_manager(vmctl: Vmctl, manager: ScriptedManager) -> None:
    vmctl("exec", "restart", "service=httpd", "times:=2", "note=a=b", "--on", "dom0", "web*", "--timeout", "1m")
    vmctl("--json", "events", "-n", "3", "--kind", "firing")
    assert manager.asked == [
        (
            "exec",
            {
                "targets": ["dom0", "web*"],
                "command": "restart",
                "parameters": {"service": "httpd", "times": 2, "note": "a=b"},
                "timeout": 60.0,
            },
        ),
        ("events", {"limit": 3, "kind": "firing", "follow": False}),
    ]


def test_arguments_of_verbs_that_look_like_numbers_are_numbers(vmctl: Vmctl, manager: ScriptedManager) -> None:
    vmctl("control", "set-ticks", "ticks=-1", "name=load", 'names:=["a"]', "x=1.5", "--on", "a")
    assert manager.asked[-1][1]["arguments"] == {"ticks": -1, "name": "load", "names": ["a"], "x": 1.5}


def test_following_events_as_json_gives_one_line_each(vmctl: Vmctl, manager: ScriptedManager) -> None:
    code, out, _ = vmctl("events", "-f", "--json")
    assert code == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 2, 3]


def test_a_trigger_file_is_tested_without_being_installed(vmctl: Vmctl, manager: ScriptedManager, tmp_path: Path) -> None:
    file = tmp_path / "new.ini"
    file.write_text("[a]\nexpr = { True }\n")
    vmctl("trigger", "test", "--file", str(file))
    assert manager.asked == [("trigger-test", {"source": "[a]\nexpr = { True }\n", "file": str(file)})]


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("clients", ["clients"]), ("props", ["props"]), ("triggers", ["triggers"]), ("silences", ["silence"]),
        ("key-list", ["key", "list"]), ("history", ["history", "a", "b"]),
        ("vms", ["vm", "list"]), ("hosts", ["host", "list"]),
    ],
)  # fmt: skip
def test_nothing_to_show_is_said(vmctl: Vmctl, manager: ScriptedManager, op: str, words: list[str]) -> None:
    manager.scripts[op] = says([])
    code, out, err = vmctl(*words)
    assert (code, out) == (0, "")
    assert len(err.splitlines()) == 1
    assert json.loads(vmctl(*words, "--json")[1]) == []


def test_a_standby_that_lost_its_bus_and_disk_says_so(vmctl: Vmctl, manager: ScriptedManager) -> None:
    manager.scripts["status"] = says(
        {
            "name": "m2", "leading": False, "leader": "", "managers": [], "epoch": 0, "version": "0.1.0",
            "bus": {"engine": "spread", "daemon": "4803@127.0.0.1", "connected": False},
            "store": {"ok": False, "error": "database or disk is full"}, "clients": {"total": 0, "connected": 0},
            "triggers": {},
        }
    )  # fmt: skip
    out = vmctl("status")[1]
    assert "m2, stands by" in out
    assert "not connected to spread at 4803@127.0.0.1" in out
    assert "not written: database or disk is full" in out


def test_version_works_without_a_manager(vmctl: Vmctl, manager: ScriptedManager) -> None:
    assert "vmmanager 0.1.0" in vmctl("version")[1]
    code, out, _ = vmctl("version", "--socket", "/nonexistent/s")
    assert code == 0
    assert "vmmanager not reachable" in out


def test_an_answer_of_another_shape_is_no_traceback(vmctl: Vmctl, manager: ScriptedManager) -> None:
    odd: list[Any] = [
        None,
        3,
        "x",
        [],
        {},
        [[1]],
        [{}],
        [{"name": None, "groups": 3, "age": "x", "since": "y", "operands": 4, "until": "z"}],
    ]
    for result in odd:
        for op in FARM:
            manager.scripts[op] = pieces(result, *(result if isinstance(result, list) else [result]))
        for command in (*COMMANDS, *VM_COMMANDS):
            assert vmctl(*command.split())[0] in (0, 1, 2, 3)


def test_faults_of_the_configuration_are_listed(vmctl: Vmctl, manager: ScriptedManager) -> None:
    faults = [
        "/etc/vmherd/triggers.d/a.ini:3: [a] ticks: `x` is not a number",
        "/etc/vmherd/vmmanager.ini:1: [bus] engin: unknown key",
    ]
    manager.scripts["reload"] = refuses("bad-config", "2 faults, the old configuration stays in force", faults=faults)
    code, out, err = vmctl("reload")
    assert (code, out) == (2, "")
    assert err.splitlines() == ["vmctl: 2 faults, the old configuration stays in force", f"  {faults[0]}", f"  {faults[1]}"]
    assert json.loads(vmctl("reload", "--json")[1]) == {
        "error": "2 faults, the old configuration stays in force",
        "code": "bad-config",
        "faults": faults,
    }
