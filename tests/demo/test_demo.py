"""`make demo` and `make run` for real: what they show, how they end, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from demo import files
from demo.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]
LIMIT_S = 60.0


class Run:
    """`python -m demo WORDS` with its output in a pipe, and temporary folders below `tmp`."""

    def __init__(self, tmp: Path, *words: str) -> None:
        self.tmp = tmp
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "demo", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp)},
            cwd=files.ROOT,
        )

    def until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen += line
            if text in line:
                return
        raise AssertionError(f"ended without {text!r}:\n{self.seen}")

    def end(self) -> int:
        assert self.process.stdout is not None
        self.seen += self.process.stdout.read()
        return self.process.wait()

    def left(self) -> list[str]:
        """Processes that this run started and that still are there."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("VMHERD_DEMO", "").startswith(str(self.tmp))
                if ours or self._has_log(process.pid):
                    found.append(f"{process.pid} {process.cmdline()}")
            except (psutil.Error, FileNotFoundError):
                continue
        return found

    def _has_log(self, pid: int) -> bool:
        """Guards do not have our environment, and write into the logs of their clients."""
        return any(str(self.tmp) in os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink())


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for unix sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        yield Path(made)


@pytest.fixture
def started(folder: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*words: str) -> Run:
        runs.append(Run(folder, *words))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


def soon(condition: Callable[[], bool]) -> bool:
    """Whether it becomes true within the limit."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_the_demo_tells_its_story_and_leaves_nothing(started: Callable[..., Run], folder: Path) -> None:
    run = started("demo")
    code = run.end()
    assert code == 0, run.seen
    assert run.seen.rstrip().split("\n")[-1].startswith("demo: OK"), run.seen
    assert re.search(r"mail2 +mailers +lost", run.seen), run.seen
    assert len(re.findall(r"connected .* \d+\.\d\d GiB", run.seen)) >= 4, run.seen
    assert "desk1 ran `page`: 'mail2 is silent'" in run.seen
    assert re.search(r"host xen\d: lost -> dead \(lease, stop and watchdog have passed\)", run.seen), run.seen
    assert re.search(r"safe1 runs on xen\d, \d+\.\d s after its host has died", run.seen), run.seen
    assert re.search(
        r"\+\d+\.\d s +trigger client_alive_check fired and printed: mail2 not active for more than 4 s", run.seen
    ), run.seen
    assert "\x1b" not in run.seen
    assert run.left() == []
    assert list(folder.iterdir()) == []


def test_ctrl_c_ends_everything(started: Callable[..., Run], folder: Path) -> None:
    run = started("demo")
    run.until("the clients are connected")
    assert run.left()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 130, run.seen
    assert "Traceback" not in run.seen
    assert run.left() == []
    assert list(folder.iterdir()) == []


def test_run_stays_and_its_line_for_vmctl_works(started: Callable[..., Run], folder: Path) -> None:
    run = started("run")
    run.until("vmctl status")
    export = re.search(r"export VMHERD_SOCKET=(\S+)", run.seen)
    status = re.search(r"^ +(\S+vmctl) status$", run.seen, re.MULTILINE)
    assert export
    assert status
    env = {**os.environ, "VMHERD_SOCKET": export[1]}
    done = subprocess.run([status[1], "clients"], env=env, capture_output=True, text=True, check=True)
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:]] == [[host.name, "connected"] for host in files.HOSTS]
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 0, run.seen
    assert run.left() == []
    assert list(folder.iterdir()) == []


def test_even_a_kill_leaves_no_daemon(started: Callable[..., Run]) -> None:
    run = started("run")
    run.until("vmctl status")
    run.process.kill()
    assert soon(lambda: run.left() == []), run.left()


def test_a_failure_says_what_and_shows_the_logs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "EXAMPLES", folder / "none")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert main(["demo"]) == 1
    out = capsys.readouterr().out
    assert "the end of the log of vmbus" in out
    assert out.rstrip().split("\n")[-1].startswith("demo: FAILED - [client_query] is in no file below"), out
    assert list(folder.iterdir()) == []
