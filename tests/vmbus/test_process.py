"""`vmbus` as an operator runs it."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from common.bus.vmbus.__main__ import configuration, parser
from common.bus.vmbus.config import BusDaemonConfig

from .wireclient import WireClient

COMMAND = (sys.executable, "-m", "common.bus.vmbus")
READY = re.compile(r"listening on 127\.0\.0\.1:(\d+)")


@contextmanager
def vmbus(
    *arguments: str, environment: dict[str, str] | None = None, files_max: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A running vmbus and its port."""

    def limit() -> None:
        if files_max is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))

    with subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0", *arguments], stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=limit
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if ready := READY.search(line):
                    yield process, int(ready[1])
                    return
            raise AssertionError("vmbus did not start")
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "bus"
    with (
        vmbus("--unix", str(path)) as (process, port),
        WireClient(("127.0.0.1", port), b"alice") as alice,
        WireClient(str(path)),
    ):
        process.send_signal(number)
        assert alice.ended()
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "stopped with 2 sessions" in process.stderr.read()
    assert not path.exists()


@pytest.mark.slow
def test_a_port_in_use_is_one_clear_sentence_and_exit_code_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--listen", f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=20, check=False
        )
    assert done.returncode == 2
    expected = f"vmbus: cannot listen on 127.0.0.1:{port}: Address already in use (is another vmbus or Spread running there?)\n"
    assert done.stderr == expected


@pytest.mark.slow
def test_impossible_limits_are_all_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    arguments = ["--listen", "127.0.0.1:0", "--groups-per-message-max", "101", "--handshake-s", "0", "--name", "far away"]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    for word in ("groups_per_message_max", "handshake_s", "'far away'"):
        assert word in done.stderr
    assert done.stderr.count("\n") == 1
    done = subprocess.run(
        [*COMMAND, *arguments[:2], "--unix", str(tmp_path / "file")], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert "not a socket" in done.stderr
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.slow
def test_a_socket_left_behind_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "bus"
    with vmbus("--unix", str(path)) as (process, _):
        second = subprocess.run(
            [*COMMAND, "--listen", "127.0.0.1:0", "--unix", str(path)], capture_output=True, text=True, timeout=20, check=False
        )
        assert second.returncode == 2
        assert "another daemon listens there" in second.stderr
        process.kill()
        process.wait(20)
    assert path.exists()
    with vmbus("--unix", str(path)), WireClient(str(path)):
        pass


@pytest.mark.slow
def test_when_descriptors_run_out_newcomers_are_told_and_the_others_go_on() -> None:
    with vmbus(files_max=60) as (_, port), ExitStack() as stack:
        address = ("127.0.0.1", port)
        alice = stack.enter_context(WireClient(address, b"alice"))
        crowd = [stack.enter_context(WireClient(address, shake=False)) for _ in range(80)]
        refused = 0
        for client in crowd:
            try:
                client.shake(b"")
            except (EOFError, AssertionError, ConnectionError):
                refused += 1
        assert 20 <= refused < 60
        alice.multicast([alice.private], b"still here")
        assert alice.receive().data == b"still here"
        for client in crowd:
            client.close()
        while True:  # the daemon sees them go one after the other
            try:
                with WireClient(address, b"bob"):
                    break
            except (EOFError, AssertionError, ConnectionError):
                continue


@pytest.mark.slow
def test_who_is_cut_is_named_with_the_reason() -> None:
    with vmbus() as (process, port), WireClient(("127.0.0.1", port)) as evil:
        evil.send(b"\xff" * 48)
        assert evil.ended()
        process.terminate()
        assert process.stderr is not None
        assert " warning vmbus: #r0-1#localhost from 127.0.0.1:" in process.stderr.readline()


def test_every_limit_has_a_flag_and_flags_alone_change_nothing() -> None:
    assert configuration(parser().parse_args([])) == BusDaemonConfig()
    changed = configuration(
        parser().parse_args(["--listen", "[::1]:7", "--sessions-max", "5", "--stall-s", "0.5", "--unix-mode", "660"])
    )
    assert (changed.host, changed.port, changed.sessions_max, changed.stall_s, changed.unix_mode) == ("::1", 7, 5, 0.5, 0o660)


@pytest.mark.parametrize("text", ["localhost", "localhost:", ":x", "1.2.3.4:70000", "1.2.3.4:-1"])
def test_a_bad_address_is_refused_with_its_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--listen", text])
    assert ended.value.code == 2
    assert repr(text) in capsys.readouterr().err
