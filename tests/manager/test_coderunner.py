"""A trigger's code runs in a process that sees the instant of its fork, and cannot hurt the manager, whatever it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vmmanager import coderunner
from vmmanager.coderunner import CHILDREN_MAX, CodeRunner, Outcome, decoded, encoded
from vmmanager.events import CodeDone, Wish

LIMIT_S = 20.0
pytestmark = pytest.mark.slow  # forks


class Desk:
    def __init__(self) -> None:
        self.runner = CodeRunner()
        self.thread = threading.Thread(target=self.runner.run)
        self.thread.start()

    def run(self, code: Callable[[], bytes], budget_s: float = LIMIT_S) -> Outcome:
        done: list[Outcome] = []
        self.runner.fork(code, budget_s, done.append)
        wait_for(lambda: bool(done))
        return done[0]


@pytest.fixture
def desk() -> Iterator[Desk]:
    before = children()
    opened = Desk()
    yield opened
    opened.runner.stop()
    opened.thread.join(LIMIT_S)
    assert not opened.thread.is_alive()
    assert children() <= before  # every child was reaped


def children() -> set[str]:
    """Process ids, the dead that nobody reaped included."""
    return {pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_result_comes_back_whole(desk: Desk) -> None:
    told = CodeDone(
        "f1",
        (Wish("execute", ("xen1",), {"command": "log", "parameters": {"n": [1, None]}}),),
        ("x" * 300_000,),
        "",
        False,
        0.5,
    )
    outcome = desk.run(lambda: encoded(told))
    assert decoded(outcome.result, CodeDone) == told


def test_what_the_code_changes_stays_with_it(desk: Desk) -> None:
    farm = {"xen1": 1}

    def code() -> bytes:
        farm.clear()
        os.environ["LEFT_BEHIND"] = "1"
        return encoded(len(farm))

    assert decoded(desk.run(code).result, int) == 0
    assert farm == {"xen1": 1}
    assert "LEFT_BEHIND" not in os.environ


def endless() -> bytes:
    while True:
        pass


def asleep() -> bytes:
    time.sleep(600)
    return b""


def deaf() -> bytes:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid() if os.getpid() != os.getpgid(0) else None
    return asleep()


@pytest.mark.parametrize("code", [endless, asleep, deaf], ids=["endless", "asleep", "deaf"])
def test_code_over_its_budget_is_ended(desk: Desk, code: Callable[[], bytes]) -> None:
    outcome = desk.run(code, 0.2)
    assert outcome.over_budget
    assert outcome.elapsed_s >= 0.2


def test_what_the_code_left_running_ends_with_it(desk: Desk, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def code() -> bytes:
        child = os.fork()
        if child == 0:
            time.sleep(600)
        note.write_text(str(child))
        return encoded(1)

    outcome = desk.run(code, 1.0)
    assert outcome.over_budget or outcome.result
    pid = int(note.read_text())
    wait_for(lambda: not alive(pid))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (lambda: os._exit(3), "exit code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "SIGSEGV"),
        (lambda: sys.exit(0), "exit code 1"),
        (lambda: bytes(1 // len("")), "exit code 1"),
    ],
    ids=["exit", "crash", "sys.exit", "raise"],
)
def test_a_process_that_dies_says_how(desk: Desk, code: Callable[[], bytes], why: str) -> None:
    outcome = desk.run(code)
    assert why in outcome.error
    assert outcome.result == b""


def test_a_flood_is_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coderunner, "RESULT_BYTES_MAX", 1_000_000)
    assert "MiB" in desk.run(lambda: b"x" * 50_000_000).error


def test_garbage_instead_of_a_result_is_an_error() -> None:
    with pytest.raises(ValueError, match="not readable"):
        decoded(b"\xc1\xff", CodeDone)
    with pytest.raises(ValueError, match="not readable"):
        decoded(encoded({"firing": 7}), CodeDone)


def test_the_code_has_none_of_the_managers_descriptors(desk: Desk, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as secret:
        number = secret.fileno()

        def code() -> bytes:
            try:
                os.fstat(number)
            except OSError:
                return encoded("closed")
            return encoded("open")

        assert decoded(desk.run(code).result, str) == "closed"


def test_more_than_the_limit_is_refused_with_a_reason(desk: Desk) -> None:
    ended: list[Outcome] = []
    for _ in range(CHILDREN_MAX):
        desk.runner.fork(asleep, 0.5, ended.append)
    refused: list[Outcome] = []
    desk.runner.fork(asleep, 0.5, refused.append)
    assert "run already" in refused[0].error
    wait_for(lambda: len(ended) == CHILDREN_MAX)
    assert decoded(desk.run(lambda: encoded(1)).result, int) == 1


def test_the_notify_program_gets_the_event_as_json(desk: Desk, tmp_path: Path) -> None:
    target = tmp_path / "told"
    text = json.dumps({"text": "low ram on xen1"}).encode()
    desk.runner.notices.put((("/bin/sh", "-c", f"cat > {target}.new; mv {target}.new {target}"), text))
    wait_for(target.exists)
    assert json.loads(target.read_text()) == {"text": "low ram on xen1"}


def test_a_notify_program_that_hangs_or_is_missing_hinders_nobody(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coderunner, "NOTIFY_S_MAX", 0.3)
    desk.runner.notices.put((("/bin/sleep", "600"), b"{}"))
    desk.runner.notices.put(((os.fspath(tmp_path / "missing"),), b"{}"))
    desk.runner.notices.put((("/bin/sh", "-c", f"touch {tmp_path / 'third'}"), b"{}"))
    wait_for((tmp_path / "third").exists)
    assert decoded(desk.run(lambda: encoded(1)).result, int) == 1
    wait_for(lambda: not desk.runner._programs)


def test_nothing_of_code_that_was_stopped_lives_on_also_not_in_a_session_of_its_own(desk: Desk, tmp_path: Path) -> None:
    told = tmp_path / "pids"

    def code() -> bytes:
        with told.open("w") as file:
            print(subprocess.Popen(["sleep", "600"], start_new_session=True).pid, file=file, flush=True)
            if os.fork() == 0:  # as a daemon does it
                os.setsid()
                if os.fork():
                    os._exit(0)
                print(os.getpid(), file=file, flush=True)
            time.sleep(600)
        return b""

    assert desk.run(code, budget_s=1.0).over_budget
    pids = [int(line) for line in told.read_text().split()]
    assert len(pids) == 2
    wait_for(lambda: not any(alive(pid) for pid in pids))
