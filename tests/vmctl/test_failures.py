"""Exit codes and error sentences: what a script can branch on and what an operator reads when something is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.config.model import PathsConfig
from tests.vmctl.conftest import Vmctl
from tests.vmctl.farm import Line, ScriptedManager, pieces, refuses, says
from vmctl.link import DEFAULT_FOLDER, LINE_BYTES_MAX, SOCKET_NAME, Link, _why_unreachable, socket_path


@pytest.mark.parametrize(
    ("code", "exit"),
    [
        ("usage", 2), ("unknown-op", 2), ("no-such", 2), ("bad-config", 2), ("not-leader", 4), ("refused", 4),
        ("bus-down", 3), ("partial", 1), ("store", 1), ("from-the-future", 1),
    ],
)  # fmt: skip
def test_each_code_of_the_manager_has_its_exit_code(vmctl: Vmctl, manager: ScriptedManager, code: str, exit: int) -> None:
    manager.scripts["reload"] = refuses(code, "mgr1 leads, ask there")
    assert vmctl("reload") == (exit, "", "vmctl: mgr1 leads, ask there\n")


WELL: dict[str, Any] = {"answered": ["a"], "late": [], "silent": [], "unreachable": [], "errors": {}, "elapsed": 1.0}


@pytest.mark.parametrize(
    ("more", "exit"),
    [
        ({}, 0),
        ({"late": ["b"]}, 1),
        ({"silent": ["b"]}, 1),
        ({"unreachable": ["b"]}, 1),
        ({"errors": {"b": "no such command"}}, 1),
    ],
)
@pytest.mark.parametrize("words", [["get"], ["exec", "c"], ["control", "ping"]])
def test_whoever_did_not_do_it_is_named(
    vmctl: Vmctl, manager: ScriptedManager, words: list[str], more: Line, exit: int
) -> None:
    manager.scripts[words[0]] = pieces(WELL | more)
    code, _, err = vmctl(*words, "--on", "g")
    assert code == exit
    assert "1 client answered in 1.0s" in err
    assert (" b" in err) == bool(more)
    assert vmctl(*words, "--on", "g", "--json")[0] == exit


def test_a_reading_that_was_asked_for_by_name_and_failed_counts(vmctl: Vmctl, manager: ScriptedManager) -> None:
    reading = {"name": "p", "value": None, "error": "no such file"}
    manager.scripts["get"] = pieces(WELL, {"client": "a", "state": "answered", "readings": [reading]})
    assert vmctl("get", "p", "--on", "a")[0] == 1
    assert vmctl("get", "--on", "a")[0] == 0


def test_no_socket_says_which_and_how_to_start(vmctl: Vmctl, tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    code, out, err = vmctl("status", "--socket", str(path))
    assert (code, out) == (3, "")
    assert f"there is no socket {path}" in err
    assert "systemctl start vmmanager" in err
    assert "VMHERD_SOCKET" in err


def test_a_socket_that_nobody_listens_at_any_more(vmctl: Vmctl, tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    code, _, err = vmctl("status", "--socket", str(path))
    assert code == 3
    assert f"the manager of {path} has died" in err


def test_a_path_that_is_no_socket_or_too_long(vmctl: Vmctl, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert vmctl("status", "--socket", str(file))[0] == 3
    assert vmctl("status", "--socket", "/" + "x" * 200)[0] == 3


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_without_permission_it_says_whose_it_is(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "m.sock"
    path.touch(mode=mode)
    path.chmod(mode)
    text = str(_why_unreachable(path, PermissionError()))
    if mode == 0o600:
        assert "control_group" in text
    else:
        assert "usermod -aG" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_a_stranger_is_told_which_group_he_lacks(world: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        served = ScriptedManager(Path(folder) / "m.sock", {})
        os.chmod(served.path, 0o660)
        ended = as_nobody(served.path)
        served.close()
    assert ended.returncode == 3, ended.stderr
    assert "you may not use" in ended.stderr
    assert "usermod -aG root USER" in ended.stderr


def as_nobody(path: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import os, sys; from vmctl.__main__ import run;"
        "run(['--socket', '/nonexistent', 'status'], 0);"  # loads all that a stranger may not read in our private folder
        "os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        f"sys.exit(run(['--socket', {str(path)!r}, 'status'], 0))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def broken(*lines: Line | bytes) -> Any:
    def script(args: Line) -> Iterator[Line | bytes]:
        yield from lines

    return script


@pytest.mark.parametrize(
    ("lines", "says_what"),
    [
        ((b"",), "closed the connection before it had answered"),
        (({"more": {"client": "a"}},), "closed the connection before it had answered"),
        ((b"HTTP/1.1 400 Bad Request\r\n",), "does not speak vmmanager's language"),
        ((b"[1]\n",), "does not speak vmmanager's language"),
        ((b"[" * 100_000 + b"\n",), "does not speak vmmanager's language"),
        ((b"\xff\xfe\n",), "does not speak vmmanager's language"),
        ((b'{"o' + b"x" * (LINE_BYTES_MAX + 10),), "sent a line of more than"),
    ],
)
def test_a_manager_that_breaks_off_or_babbles(
    vmctl: Vmctl, manager: ScriptedManager, lines: tuple[Line | bytes, ...], says_what: str
) -> None:
    manager.scripts["status"] = broken(*lines)
    code, out, err = vmctl("status")
    assert (code, out) == (3, "")
    assert says_what in err
    assert str(manager.path) in err


def test_a_manager_that_hangs_is_given_up(manager: ScriptedManager, tmp_path: Path) -> None:
    path = tmp_path / "hung.sock"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen()
        link = Link(path, answer_s=0.2)
        with pytest.raises(Exception, match="said nothing for 0 s: it hangs or is stopped"):
            link.ask("status")


def test_the_wait_for_clients_is_added_to_the_patience_with_the_manager(manager: ScriptedManager) -> None:
    import threading

    release = threading.Event()

    def script(args: Line) -> Iterator[Line | bytes]:
        yield {"more": {"targets": ["a"], "timeout": 30}}
        release.wait(20)
        yield {"ok": True, "result": {}}

    manager.scripts["get"] = script
    link = Link(manager.path, answer_s=0.1)
    seen: list[Line] = []
    assert link.ask("get", on_more=seen.append, on_slow=release.set) == {}  # slower than answer_s, and not given up
    link.close()
    assert seen == [{"targets": ["a"], "timeout": 30}]


@pytest.mark.parametrize(
    ("words", "says_what"),
    [
        (["get", "ram"], "--on"),
        (["exec", "c", "novalue", "--on", "a"], "'novalue' is not a parameter"),
        (["exec", "c", "=v", "--on", "a"], "is not a parameter"),
        (["exec", "c", "a=1", "a=2", "--on", "a"], "parameter a is given twice"),
        (["exec", "c", "a:={", "--on", "a"], "is not JSON"),
        (["exec", "c", "--on", "a", "--timeout", "soon"], "'soon' is not a length of time"),
        (["silence", "ram_low", "--why", "x"], "--for"),
        (["silence", "ram_low", "--for", "2h"], "--why"),
        (["silence", "ram_low", "--for", "2 hours", "--why", "x"], "'2 hours' is not a length of time"),
        (["silence", "ram_low", "--until", "2001-01-01", "--why", "x"], "lies in the past"),
        (["silence", "ram_low", "--until", "someday", "--why", "x"], "neither a time nor"),
        (["trigger", "test"], "say which"),
        (["trigger", "test", "--file", "/nonexistent/f"], "cannot read /nonexistent/f: No such file"),
        (["trigger"], "usage"),
        (["events", "-n", "0"], "above zero"),
        (["key", "accept", "zzz*"], "no pending key matches zzz*"),
        (["frobnicate"], "invalid choice"),
        ([], "usage"),
    ],
)
def test_a_wrong_command_line_is_exit_2(vmctl: Vmctl, manager: ScriptedManager, words: list[str], says_what: str) -> None:
    code, out, err = vmctl(*words)
    assert code == 2
    assert says_what in out + err


@pytest.mark.parametrize(
    "words", [["exec", "c", "--on", "all"], ["exec", "c", "--on", "a", "*"], ["control", "shutdown", "--on", "clients"],
              ["key", "accept", "new*"]],
)  # fmt: skip
def test_what_concerns_everybody_is_not_done_without_a_yes(
    vmctl: Vmctl, manager: ScriptedManager, world: pytest.MonkeyPatch, words: list[str]
) -> None:
    with open(os.devnull) as nobody:
        world.setattr(sys, "stdin", nobody)
        code, _, err = vmctl(*words)
        assert code == 2
        assert "say --yes" in err
        assert {op for op, _ in manager.asked} <= {"clients", "key-list"}
        assert vmctl(*words, "--yes")[0] in (0, 1)
    assert {op for op, _ in manager.asked} & {"exec", "control", "key-accept"}


def test_a_ping_to_all_harms_nobody(vmctl: Vmctl, manager: ScriptedManager) -> None:
    assert vmctl("control", "ping", "--on", "all")[0] == 0


def test_the_socket_may_be_named_by_its_folder(vmctl: Vmctl, tmp_path: Path) -> None:
    served = ScriptedManager(tmp_path / "vmmanager.sock", {"reload": says({"changed": []})})
    try:
        assert vmctl("reload", "--socket", str(tmp_path)) == (0, "read again, nothing has changed\n", "")
    finally:
        served.close()


def test_whoever_stops_reading_us_gets_no_traceback(manager: ScriptedManager) -> None:
    command = f"{sys.executable} -m vmctl events --json; echo $? >&2"
    manager.scripts["events"] = pieces({"count": 9}, *[{"kind": "client", "text": "x" * 70_000}] * 9)
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ended:
        assert ended.stdout is not None
        assert ended.stderr is not None
        ended.stdout.close()
        assert ended.stderr.read() == "141\n"


def test_without_a_word_it_is_the_default_folder_of_the_configuration(world: pytest.MonkeyPatch) -> None:
    assert PathsConfig().run == DEFAULT_FOLDER
    assert socket_path(None) == DEFAULT_FOLDER / SOCKET_NAME
