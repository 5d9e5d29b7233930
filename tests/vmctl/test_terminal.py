"""On a real terminal: the progress bar, Ctrl-C, the question, colours; and that no client of the farm can forge any of it."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmctl.conftest import Vmctl
from tests.vmctl.farm import FARM, Line, ScriptedManager, pieces, says
from tests.vmctl.farm_vms import VM_COMMANDS
from tests.vmctl.test_screens import COMMANDS
from vmctl.screen import Column, fitted
from vmctl.watch import awaited_text

LIMIT_S = 30.0
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"
SGR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """vmctl on a pseudo-terminal. `seen` is everything it wrote."""

    def __init__(self, *words: str, rows: int = 24, columns: int = 100, **more: str) -> None:
        self._master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (rows, columns))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vmctl", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", **more},
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> None:
        """Read on until `text` was shown."""
        end = time.monotonic() + LIMIT_S
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} did not come: {self.seen!r}"
            if not self._read():
                assert text in self.seen, f"ended without {text!r}: {self.seen!r}"

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def kill(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self._process.wait(LIMIT_S)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], LIMIT_S)[0]:
            self._process.kill()
            raise AssertionError(f"nothing happens: {self.seen!r}")
        try:
            data = os.read(self._master, 65536)
        except OSError as fault:
            if fault.errno != errno.EIO:  # EIO: the other side is closed
                raise
            return False
        self.seen += data.decode()
        return bool(data)


def _take_terminal() -> None:
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal to it


@pytest.fixture
def slow(manager: ScriptedManager) -> Iterator[threading.Event]:
    """A farm of three, of which one answers only when the test says so."""
    release = threading.Event()

    def script(args: Line) -> Iterator[Line | bytes]:
        yield {"more": {"targets": ["a1", "b2", "c3"], "timeout": 60}}
        yield {"more": {"client": "a1", "state": "answered", "result": "fine"}}
        release.wait(LIMIT_S)
        yield {"more": {"client": "b2", "state": "answered", "result": "fine"}}
        summing = {"answered": ["a1", "b2"], "late": [], "silent": ["c3"], "unreachable": [], "errors": {}, "elapsed": 2.0}
        yield {"ok": True, "result": summing}

    manager.scripts["exec"] = manager.scripts["get"] = script
    yield release
    release.set()


@pytest.mark.slow
def test_the_bar_shows_who_is_awaited_and_goes_away(manager: ScriptedManager, slow: threading.Event) -> None:
    terminal = Terminal("exec", "c", "--on", "g")
    terminal.until("waiting for b2, c3")
    assert "1/3" in terminal.seen
    assert HIDE_CURSOR in terminal.seen
    slow.set()
    assert terminal.end() == 1
    last = terminal.seen.rpartition(SHOW_CURSOR)[2]
    assert "waiting" not in last
    assert "silent" in SGR.sub("", last)


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly_and_says_what_was_sent_is_sent(manager: ScriptedManager, slow: threading.Event) -> None:
    terminal = Terminal("exec", "c", "--on", "g")
    terminal.until("waiting for b2, c3")
    terminal.type("\x03")
    assert terminal.end() == 130
    last = terminal.seen.rpartition(SHOW_CURSOR)[2]
    assert "interrupted; 1 client had answered, what was sent is not taken back" in last
    assert "Traceback" not in terminal.seen


@pytest.mark.slow
def test_a_kill_gives_the_cursor_back(manager: ScriptedManager, slow: threading.Event) -> None:
    terminal = Terminal("get", "--on", "g")
    terminal.until("waiting for b2, c3")
    terminal.kill(signal.SIGTERM)
    assert terminal.end() == 143
    assert terminal.seen.rfind(SHOW_CURSOR) > terminal.seen.rfind(HIDE_CURSOR)


@pytest.mark.slow
def test_ctrl_c_while_following_is_quiet(manager: ScriptedManager) -> None:
    def script(args: Line) -> Iterator[Line | bytes]:
        yield {"more": {"id": 1, "at": 1.0, "kind": "client", "subject": "a", "text": "hello", "who": ""}}
        threading.Event().wait(LIMIT_S)

    manager.scripts["events"] = script
    terminal = Terminal("events", "-f")
    terminal.until("hello")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "exit", "sent"), [("y\n", 1, True), ("n\n", 2, False), ("\n", 2, False)])
def test_on_everybody_it_asks_first(manager: ScriptedManager, answer: str, exit: int, sent: bool) -> None:
    terminal = Terminal("exec", "restart", "--on", "all")
    terminal.until("run `restart` on all 2 clients? [y/N] ")
    terminal.type(answer)
    assert terminal.end() == exit
    assert ("exec" in [op for op, _ in manager.asked]) == sent
    assert ("nothing was done" in terminal.seen) == (not sent)


@pytest.mark.slow
def test_colours_are_for_terminals_that_want_them(manager: ScriptedManager) -> None:
    coloured, plain = Terminal("clients"), Terminal("clients", NO_COLOR="1")
    assert coloured.end() == plain.end() == 0
    assert "\x1b[32mconnected" in coloured.seen
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", plain.seen)


HOSTILE = (
    "\x1b[2J\x1b[31mroot\x07\x1b]0;title\x07",
    "a\rmgr1 leads",
    "a\nxen9  connected",
    "a\x9b2J",
    "[red]a[/red] [link=http://x]b[/link] [/]",
    ":warning: {0} %s",
    "\u202egnp.exe\u2066",
    "\ud800",
    "e" + "\u0301" * 40,
    "\U000e0041\u200b\u2028",
)


WHOLE_TEXTS = ("vm console-log", "vm render")  # into a pipe they go line by line, as they are; on a terminal behind a bar


def poisoned(value: Any, poison: str) -> Any:
    """The same answer with every text from the farm replaced; what vmctl branches on stays."""
    if isinstance(value, dict):
        return {key: each if key in ("kind",) else poisoned(each, poison) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, poison) for each in value]
    return poison if isinstance(value, str) else value


def poison(manager: ScriptedManager, text: str) -> None:
    """Every operation answers with the hostile text wherever a text stands."""
    for op, script in FARM.items():
        lines = [line for line in script({"name": "x"}) if isinstance(line, dict)]
        bad: list[Any] = [poisoned(line["more"], text) for line in lines[:-1]]
        manager.scripts[op] = pieces(poisoned(lines[-1]["result"], text), *bad)


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_from_the_farm_is_obeyed(vmctl: Vmctl, manager: ScriptedManager, text: str) -> None:
    poison(manager, text)
    for command in (*COMMANDS, *VM_COMMANDS):
        out, err = vmctl(*command.split())[1:]
        assert re.sub(r"[\n -~\u00a0-\u024f\u2581-\u2588\u2026]", "", out + err).strip("\u0301") == "", command
        assert "\u0301" * 4 not in out + err
        assert "\nxen9" not in out + err or command.startswith(WHOLE_TEXTS)
        if text.startswith("[red]") and ("clients" in command or "events" in command):
            assert text in out
        as_json = vmctl(*command.split(), "--json")[1]
        assert as_json.isascii()
        assert re.sub(r"[\n -~]", "", as_json) == ""
        json.loads(as_json)


@pytest.mark.slow
def test_nor_on_a_terminal_with_colours(manager: ScriptedManager) -> None:
    poison(manager, "\x1b[2J\x1b]0;title\x07\x9b1m")
    for command in ("clients", "events", "status", "exec c --on x"):
        terminal = Terminal(*command.split())
        terminal.end()
        left = SGR.sub("", terminal.seen).replace("\r\n", "")
        assert "\x1b" not in left.replace(SHOW_CURSOR, "").replace(HIDE_CURSOR, "")
        assert "\\x1b[2J" in left
        assert "\x9b" not in left
        assert "\x07" not in left


@pytest.mark.slow
@pytest.mark.parametrize("command", ["vm console-log web1", "vm render web1"])
def test_no_guest_passes_for_us_on_a_terminal(manager: ScriptedManager, command: str) -> None:
    manager.scripts["vm-console"] = manager.scripts["vm-render"] = says({"vm": "web1", "text": "booted\nvmctl: all is well\n"})
    terminal = Terminal(*command.split())
    assert terminal.end() == 0
    assert "| vmctl: all is well" in SGR.sub("", terminal.seen)
    assert "\nvmctl:" not in SGR.sub("", terminal.seen)


@pytest.fixture
def moving(manager: ScriptedManager) -> Iterator[threading.Event]:
    """Three migrations; one is done, one is under way till the test says so, one waits."""
    release = threading.Event()

    def script(args: Line) -> Iterator[Line | bytes]:
        yield {"more": {"vms": ["a1", "b2", "c3"]}}
        yield {"more": {"vm": "a1", "state": "done", "elapsed": 1.0}}
        under_way = {"vm": "b2", "host": "x1", "target": "x2", "text": "copies memory", "share": 0.42, "elapsed": 61.0}
        yield {"more": {**under_way, "state": "running"}}
        release.wait(LIMIT_S)
        yield {"ok": True, "result": {"done": ["a1"], "failed": {"b2": "x2 has no room", "c3": "taken back"}, "elapsed": 2.0}}

    manager.scripts["vm-migrate"] = manager.scripts["host-evacuate"] = script
    yield release
    release.set()


@pytest.mark.slow
def test_each_running_vm_has_a_live_line_that_goes_away(manager: ScriptedManager, moving: threading.Event) -> None:
    terminal = Terminal("vm", "migrate", "a1", "b2", "c3")
    terminal.until("copies memory")
    live = SGR.sub("", terminal.seen)
    for text in ("migrate: 1 of 3 done, 1 at work, 1 waiting", "-> x2", "42%", "1m0"):
        assert text in live
    assert HIDE_CURSOR in terminal.seen
    moving.set()
    assert terminal.end() == 1
    last = SGR.sub("", terminal.seen.rpartition(SHOW_CURSOR)[2])
    assert "copies memory" not in last
    assert "failed b2: x2 has no room" in last
    assert "failed c3: taken back" in last


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "ends"),
    [("vm migrate a* c3 -y", "vmctl vm cancel 'a*' c3"), ("host evacuate x1 -y", "vmctl host evacuate x1 --stop")],
)
def test_ctrl_c_says_that_the_tasks_go_on_and_how_to_end_them(
    manager: ScriptedManager, moving: threading.Event, command: str, ends: str
) -> None:
    terminal = Terminal(*command.split(), columns=200)
    terminal.until("copies memory")
    terminal.type("\x03")
    assert terminal.end() == 130
    last = SGR.sub("", terminal.seen.rpartition(SHOW_CURSOR)[2])
    assert "interrupted; 1 of 3 VMs had ended, the rest goes on" in last
    assert f"`{ends}` takes back what has not begun" in last
    assert "Traceback" not in terminal.seen


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "exit", "sent"), [("y\n", 0, True), ("n\n", 2, False)])
def test_a_group_is_shown_and_asked_for_and_exactly_that_is_sent(
    manager: ScriptedManager, answer: str, exit: int, sent: bool
) -> None:
    terminal = Terminal("vm", "stop", "web")
    terminal.until("stop 2 VMs? [y/N] ")
    assert "web1, web2" in terminal.seen
    terminal.type(answer)
    assert terminal.end() == exit
    assert [args["names"] for op, args in manager.asked if op == "vm-stop"] == ([["web1", "web2"]] if sent else [])


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "exit", "sent"), [("y\n", 1, True), ("n\n", 2, False)])
def test_an_evacuation_shows_its_plan_and_asks(manager: ScriptedManager, answer: str, exit: int, sent: bool) -> None:
    terminal = Terminal("host", "evacuate", "xen1")
    terminal.until("put xen1 into maintenance and move 2 VMs away? [y/N] ")
    assert "not beside web1" in terminal.seen
    assert "db1: no host has 8 GiB free" in terminal.seen
    terminal.type(answer)
    assert terminal.end() == exit
    assert [args["dry_run"] for op, args in manager.asked] == ([True, False] if sent else [True])


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(1, 200)), min_size=1, max_size=8), st.integers(1, 200))
def test_columns_fit_or_only_what_must_stay_is_left(drawn: list[tuple[int, bool, int]], room: int) -> None:
    columns = [Column("X", keep=keep, flexible=flexible) for keep, flexible, _ in drawn]
    widths = fitted(columns, [width for _, _, width in drawn], room)
    shown = [place for place, width in enumerate(widths) if width]
    assert shown
    total = sum(widths) + 2 * (len(shown) - 1)
    assert total <= room or len(shown) == 1 or all(columns[place].keep == 9 for place in shown)
    assert all(width <= natural for width, (_, _, natural) in zip(widths, drawn, strict=True))


@given(st.lists(st.text(min_size=1), max_size=50), st.integers(0, 200))
def test_the_awaited_names_fit_beside_the_bar(names: list[str], room: int) -> None:
    text = awaited_text(names, room)
    assert len(text) <= room
    assert text.isprintable()


def test_as_many_names_as_fit() -> None:
    names = ["node1", "node2", "node3"]
    assert awaited_text(names, 60) == "waiting for node1, node2, node3"
    assert awaited_text(names, 30) == "waiting for node1, ... 2 more"
    assert awaited_text(["n" * 50, "m"], 30) == "waiting for 2"
    assert awaited_text(names, 10) == ""


def test_programs_are_not_kept_waiting_by_what_only_people_need(manager: ScriptedManager) -> None:
    """`status --json` loads no rich, and nothing of vmctl loads what only one command needs."""
    code = "import sys; from vmctl.__main__ import run; run(['status', '--json'], 0); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ended.stderr.split()}
    assert not loaded & {"rich", "argcomplete", "msgspec", "nacl", "importlib_metadata", "hypothesis"}


def test_an_odd_terminal_gets_codes_for_letters_it_has_not(manager: ScriptedManager) -> None:
    manager.scripts["clients"] = says([{"name": "caffè", "state": "connected", "groups": [], "commands": []}])
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    ended = subprocess.run([sys.executable, "-m", "vmctl", "clients"], capture_output=True, check=False, env=env)
    assert ended.returncode == 0
    assert b"caff\\xe8" in ended.stdout
