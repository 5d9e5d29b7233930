"""The control socket keeps serving whatever one vmctl does, and is nobody's but the owner's."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import resource
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmmanager import control
from vmmanager.control import CONNECTIONS_MAX, Control, ControlFault
from vmmanager.events import Asked, HungUp, Reply

LIMIT_S = 10.0


class Desk:
    """A Control in its thread; `echo` is answered, `big` with megabytes, anything else not at all."""

    def __init__(self, run: Path) -> None:
        self.asked: list[Asked | HungUp] = []
        self.busy = False
        self.control = Control(run, "", self._ask)
        self.thread = threading.Thread(target=self.control.run)
        self.thread.start()

    def _ask(self, asked: Asked | HungUp) -> bool:
        self.asked.append(asked)
        if isinstance(asked, Asked) and asked.op == "echo":
            self.control.replies.put(Reply(asked.call, {"more": {"n": 1}}, last=False))
            self.control.replies.put(Reply(asked.call, {"ok": True, "result": asked.args}))
        if isinstance(asked, Asked) and asked.op == "big":
            for _ in range(asked.args["times"]):
                self.control.replies.put(Reply(asked.call, {"more": {"text": "x" * 1_000_000}}, last=False))
        return not self.busy

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(LIMIT_S)
        connection.connect(os.fspath(self.control.path))
        return connection


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    opened = Desk(tmp_path / "run")
    yield opened
    opened.control.stop()
    opened.thread.join(LIMIT_S)
    assert not opened.thread.is_alive()


def lines(connection: socket.socket, count: int) -> list[dict[str, Any]]:
    with connection.makefile("rb") as file:
        return [json.loads(file.readline()) for _ in range(count)]


def echo(desk: Desk) -> None:
    """It still serves."""
    with desk.connect() as connection:
        connection.sendall(b'{"op": "echo", "args": {"a": "\xc3\xbc"}}\n')
        assert lines(connection, 2) == [{"more": {"n": 1}}, {"ok": True, "result": {"a": "ü"}}]


def test_a_request_says_who_asked_and_gets_its_answer(desk: Desk) -> None:
    echo(desk)
    asked = desk.asked[0]
    assert isinstance(asked, Asked)
    assert asked.who == pwd.getpwuid(os.geteuid()).pw_name or asked.who == getpass.getuser()


def test_requests_of_one_connection_are_answered_one_after_the_other(desk: Desk) -> None:
    with desk.connect() as connection:
        connection.sendall(b'{"op": "echo", "args": {"n": 1}}\n{"op": "echo", "args": {"n": 2}}\n')
        assert [line.get("result") for line in lines(connection, 4)] == [None, {"n": 1}, None, {"n": 2}]


def test_only_the_owner_may_open_it(desk: Desk) -> None:
    assert stat.S_IMODE(desk.control.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line",
    [b"nonsense\n", b"[1]\n", b'{"op": 7}\n', b'{"op": "x", "args": []}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n", b"\0\n"],
    ids=["words", "list", "number", "args", "bytes", "deep", "nul"],
)
def test_nonsense_gets_one_sentence_and_the_door(desk: Desk, line: bytes) -> None:
    with desk.connect() as connection:
        connection.sendall(line)
        (answer,) = lines(connection, 1)
        assert answer["code"] == "usage"
        assert connection.recv(1) == b""
    echo(desk)


def test_an_endless_line_is_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LINE_BYTES_MAX", 100_000)
    with desk.connect() as connection:
        try:
            for _ in range(100):
                connection.sendall(b"x" * 100_000)
        except OSError:
            return  # cut while it sent
        assert b"bytes" in connection.recv(1000)
    echo(desk)


def test_who_reads_nothing_is_cut_and_the_others_do_not_notice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "BUFFERED_BYTES_MAX", 3_000_000)
    with desk.connect() as lazy:
        lazy.sendall(b'{"op": "big", "args": {"times": 20}}\n')
        wait_for(desk, HungUp)
        echo(desk)


def test_a_slow_reader_gets_all(desk: Desk) -> None:
    with desk.connect() as slow:
        slow.sendall(b'{"op": "big", "args": {"times": 20}}\n')
        echo(desk)
        assert all(line["more"]["text"] for line in lines(slow, 20))


def test_a_vmctl_that_goes_is_told_to_the_core(desk: Desk) -> None:
    with desk.connect() as connection:
        connection.sendall(b'{"op": "silent", "args": {}}\n')
        wait_for(desk, Asked)
    wait_for(desk, HungUp)
    asked, gone = desk.asked
    assert isinstance(asked, Asked)
    assert gone == HungUp(asked.call)
    desk.control.replies.put(Reply(asked.call, {"ok": True, "result": None}))
    echo(desk)


def test_too_many_connections_are_turned_away_with_a_sentence(desk: Desk) -> None:
    held = [desk.connect() for _ in range(CONNECTIONS_MAX)]
    with desk.connect() as one_more:
        assert lines(one_more, 1)[0]["code"] == "refused"
    for connection in held:
        connection.close()
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            echo(desk)
            break
        except (AssertionError, OSError, ValueError):
            assert time.monotonic() < deadline


def test_a_busy_manager_says_so(desk: Desk) -> None:
    desk.busy = True
    with desk.connect() as connection:
        connection.sendall(b'{"op": "other"}\n')
        assert lines(connection, 1)[0]["code"] == "refused"


def test_the_file_of_a_dead_manager_is_replaced_and_that_of_a_living_one_is_not(desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(ControlFault, match="another vmmanager"):
        Control(tmp_path / "run", "", lambda asked: True)
    echo(desk)
    left = tmp_path / "left"
    left.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(os.fspath(left / control.FILE))
    second = Desk(left)
    echo(second)
    second.control.stop()
    second.thread.join(LIMIT_S)
    assert not (left / control.FILE).exists()


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / control.FILE).write_text("precious")
    with pytest.raises(ControlFault, match="no socket"):
        Control(tmp_path, "", lambda asked: True)
    assert (tmp_path / control.FILE).read_text() == "precious"


def test_an_unknown_group_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControlFault, match="no-such-group"):
        Control(tmp_path, "no-such-group", lambda asked: True)


def wait_for(desk: Desk, kind: type) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not any(isinstance(asked, kind) for asked in desk.asked):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_who_only_holds_connections_open_locks_nobody_out(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "IDLE_S", 0.0)
    held = []
    for _ in range(CONNECTIONS_MAX):
        held.append(desk.connect())
        held[-1].sendall(b'{"op": ')
    waiting = desk.connect()  # in the place of the first
    waiting.sendall(b'{"op": "none", "args": {}}\n')
    echo(desk)
    assert held[0].recv(1) == b""
    echo(desk)
    desk.control.replies.put(Reply(next(asked.call for asked in desk.asked if asked.op == "none"), {"ok": True}))  # type: ignore[union-attr]
    assert lines(waiting, 1) == [{"ok": True}]  # who waits for an answer is no idler
    for connection in (*held, waiting):
        connection.close()


def test_without_file_descriptors_it_waits_and_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control, "PAUSE_S", 0.05)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(LIMIT_S)
    with caplog.at_level("WARNING"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (connection.fileno() + 1, before[1]))
        try:
            connection.connect(os.fspath(desk.control.path))
            deadline = time.monotonic() + LIMIT_S
            while not caplog.records and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        connection.sendall(b'{"op": "echo", "args": {}}\n')
        assert lines(connection, 2)[-1] == {"ok": True, "result": {}}
    said = [record.getMessage() for record in caplog.records if "could not be let in" in record.getMessage()]
    assert len(said) == 1
    connection.close()
