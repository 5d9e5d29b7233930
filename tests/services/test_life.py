"""A real daemon process: starting, signals, dying threads, the pid file, the service manager."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0

pytestmark = pytest.mark.slow


class Tiny:
    """One tiny daemon in the foreground, its log in a file, its end awaited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.pid_file = folder / "run/tiny.pid"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def command(self, *arguments: str) -> list[str]:
        files = ["--pid-file", str(self.pid_file), "--log-file", str(self.log)]
        return [sys.executable, str(ROOT / "tests/services/tiny_daemon.py"), *files, *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self.command(*arguments), env=self.environment, start_new_session=True)
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), capture_output=True, text=True, env=self.environment, timeout=LIMIT_S, check=False
        )

    def said(self, sentence: str) -> None:
        until(lambda: self.log.exists() and sentence in self.log.read_text(), f"{sentence!r} in the log")

    def pid(self) -> int:
        return int(self.pid_file.read_text())


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state == "Z"  # where nobody reaps orphans, a zombie is as gone as it gets
    return True


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    daemon = Tiny(tmp_path)
    yield daemon
    for process in daemon.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children as well
        process.wait(LIMIT_S)
    with contextlib.suppress(OSError, ValueError):
        os.kill(daemon.pid(), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_stops(tiny: Tiny, number: signal.Signals) -> None:
    process = tiny.start()
    until(tiny.pid_file.exists, "the pid file")
    tiny.said("begins")
    assert tiny.pid() == process.pid
    process.send_signal(number)
    assert process.wait(LIMIT_S) == 0
    assert f"stopping: received {number.name}" in tiny.log.read_text()
    assert "drained" in tiny.log.read_text()
    assert not tiny.pid_file.exists()


def test_hup_reloads_and_a_reload_that_fails_changes_nothing(tiny: Tiny) -> None:
    process = tiny.start("bad-reload")
    tiny.said("begins")
    process.send_signal(signal.SIGHUP)
    tiny.said("reloaded in thread life")
    tiny.said("the reload failed, nothing was changed")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0


def test_a_thread_that_dies_stops_the_daemon_with_the_reason(tiny: Tiny) -> None:
    assert tiny.start("thread-dies").wait(LIMIT_S) == 1
    text = tiny.log.read_text()
    assert "error daemon: thread Worker died\n    Traceback" in text
    assert "error daemon: stopping: thread Worker died" in text
    assert "drained" in text


def test_the_second_signal_ends_at_once_though_the_main_thread_is_deaf(tiny: Tiny) -> None:
    process = tiny.start("--drain", "600", "deaf")
    tiny.said("begins")
    process.send_signal(signal.SIGTERM)
    tiny.said("received SIGTERM")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 1
    text = tiny.log.read_text()
    assert "ended at once: second signal (SIGTERM)" in text
    assert "thread MainThread still runs: " in text
    assert not tiny.pid_file.exists()


def test_a_thread_that_does_not_stop_is_named_and_left_behind(tiny: Tiny) -> None:
    process = tiny.start("--drain", "0.5", "stuck-thread")
    tiny.said("begins")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 1
    text = tiny.log.read_text()
    assert "thread Worker still runs: " in text
    assert "tiny_daemon.py" in text
    assert "ended at once: not stopped after 0 s" in text


def test_a_forked_child_dies_of_term_and_the_daemon_does_not_notice(tiny: Tiny) -> None:
    process = tiny.start("fork")
    tiny.said("child ended by signal 15")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0


def test_a_daemon_that_cannot_start_gives_one_error_and_code_2(tiny: Tiny) -> None:
    for mode in ([], ["--daemon"]):
        ended = tiny.run(*mode, "refuse")
        assert (ended.returncode, ended.stderr) == (2, "tiny: port 4803 is in use\n")
        assert "error daemon: cannot start: port 4803 is in use" in tiny.log.read_text()
        until(lambda: not tiny.pid_file.exists(), "the pid file to go")


def test_a_daemon_that_dies_while_it_starts_says_so(tiny: Tiny) -> None:
    ended = tiny.run("--daemon", "die-early")
    assert (ended.returncode, ended.stderr) == (1, "tiny: died while it started: ValueError: no such luck\n")


def test_daemon_mode_returns_when_ready_and_the_daemon_is_detached(tiny: Tiny) -> None:
    ended = tiny.run("--daemon")
    assert (ended.returncode, ended.stderr) == (0, "")
    pid = tiny.pid()
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1, 2)} == {"/dev/null"}
    os.kill(pid, signal.SIGTERM)
    until(lambda: gone(pid), "the daemon's end")
    assert not tiny.pid_file.exists()


def test_a_second_start_is_refused_and_leaves_the_first_alone(tiny: Tiny) -> None:
    process = tiny.start()
    tiny.said("begins")
    for mode in ([], ["--daemon"]):
        ended = tiny.run(*mode)
        assert ended.returncode == 2
        assert ended.stderr == f"tiny: is running already as pid {process.pid} (pid file {tiny.pid_file})\n"
    assert process.poll() is None
    assert tiny.pid() == process.pid


def test_the_pid_file_of_a_killed_daemon_is_taken_over(tiny: Tiny) -> None:
    first = tiny.start()
    tiny.said("begins")
    first.kill()
    first.wait(LIMIT_S)
    assert tiny.pid_file.exists()
    second = tiny.start()
    tiny.said(f"took over the pid file {tiny.pid_file} of pid {first.pid}, which is gone")
    assert tiny.pid() == second.pid


def test_a_pid_file_that_names_a_stranger_is_taken_over_and_the_stranger_lives(tiny: Tiny) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        tiny.pid_file.parent.mkdir()
        tiny.pid_file.write_text(f"{stranger.pid}\n")
        process = tiny.start()
        tiny.said(f"of pid {stranger.pid}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_pid_file_that_is_a_link_is_refused(tiny: Tiny) -> None:
    precious = tiny.folder / "precious"
    precious.write_text("keep me")
    tiny.pid_file.parent.mkdir()
    tiny.pid_file.symlink_to(precious)
    ended = tiny.run()
    assert ended.returncode == 2
    assert f"tiny: pid file {tiny.pid_file}: " in ended.stderr
    assert precious.read_text() == "keep me"


def test_a_log_that_cannot_be_opened_is_refused(tiny: Tiny) -> None:
    tiny.log.mkdir()
    for mode in ([], ["--daemon"]):
        ended = tiny.run(*mode)
        assert (ended.returncode, ended.stderr) == (2, f"tiny: log target file: {tiny.log}: Is a directory\n")


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_of_every_change(tiny: Tiny, abstract: bool) -> None:
    address = f"@vmherd-test-{os.getpid()}" if abstract else str(tiny.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(LIMIT_S)
        tiny.environment |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"}
        process = tiny.start()

        def heard(start: str) -> str:
            while True:
                text = manager.recv(4096).decode()
                if text.startswith(start):
                    return text

        assert heard("READY=1") == "READY=1\nSTATUS=serving nobody"
        assert heard("WATCHDOG=1")
        assert heard("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        assert heard("RELOADING=1").startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert heard("READY=1") == "READY=1"
        process.send_signal(signal.SIGTERM)
        assert heard("STOPPING=1") == "STOPPING=1\nSTATUS=stopping: received SIGTERM"
        assert process.wait(LIMIT_S) == 0


def test_a_service_manager_that_does_not_listen_is_told_of_once_in_the_log(tiny: Tiny) -> None:
    tiny.environment |= {"NOTIFY_SOCKET": str(tiny.folder / "nobody"), "WATCHDOG_USEC": "100000"}
    process = tiny.start()
    tiny.said("cannot tell the service manager")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT_S) == 0
    assert tiny.log.read_text().count("cannot tell the service manager") == 1
