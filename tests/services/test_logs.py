"""The log as an operator reads it: one record one line whatever it quotes, rotation, losses told, floods counted."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import logs
from common.config.model import LogConfig
from common.ratelimit import Bucket, RateLimit


def to_file(path: Path, **settings: object) -> None:
    logs.set_up(LogConfig("file", path, **settings), "vmtest")  # type: ignore[arg-type]


def test_nobody_can_forge_a_line_or_move_the_cursor(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    logs.part("bus").warning("dropped %s", "x\n2026-01-01 00:00:00 error bus: forged\x1b[2J\u202e\r\x07\ud800")
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(r"warning bus: dropped x\n2026-01-01 00:00:00 error bus: forged\x1b[2J\u202e\r\x07\ud800")


@given(st.text())
def test_any_text_is_one_line(text: str) -> None:
    assert len(logs.printable(text).splitlines()) <= 1
    assert "\x1b" not in logs.printable(text)


def test_a_long_record_is_cut_with_a_mark() -> None:
    assert logs.printable("x" * 100_000).endswith("... (100000 characters)")


def test_a_traceback_is_indented_so_that_it_cannot_pass_for_records(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    try:
        raise ValueError("bad\n2026-01-01 00:00:00 error bus: forged")
    except ValueError:
        logs.part("bus").exception("it failed")
    first, *rest = (tmp_path / "log").read_text().splitlines()
    assert first.endswith("error bus: it failed")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)


def test_each_part_has_its_level_and_a_second_set_up_replaces_the_first(tmp_path: Path) -> None:
    to_file(tmp_path / "one", level="WARNING", levels={"bus": "debug"})
    logs.part("bus").debug("heard")
    logs.part("triggers").info("not heard")
    to_file(tmp_path / "two", level="info")
    logs.part("bus").debug("no more")
    logs.part("triggers").info("heard now")
    assert [line.split(" ", 2)[2] for line in (tmp_path / "one").read_text().splitlines()] == ["debug bus: heard"]
    assert [line.split(" ", 2)[2] for line in (tmp_path / "two").read_text().splitlines()] == ["info triggers: heard now"]


def test_a_bad_set_up_is_told_and_changes_nothing(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    with pytest.raises(logs.LogFault, match="log level = LOUD: is none of DEBUG, INFO"):
        to_file(tmp_path / "log", level="LOUD")
    with pytest.raises(logs.LogFault, match="log levels: bus = 7: is none"):
        to_file(tmp_path / "log", levels={"bus": "7"})
    with pytest.raises(logs.LogFault, match="no/log: No such file"):
        to_file(tmp_path / "no/log")
    with pytest.raises(logs.LogFault, match="needs `file = PATH`"):
        logs.set_up(LogConfig("file"), "vmtest")
    logs.part("bus").info("still here")
    assert "still here" in (tmp_path / "log").read_text()


def test_a_moved_log_goes_on_in_a_new_file(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    logs.part("bus").info("one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logs.part("bus").info("two")
    assert "two" not in (tmp_path / "log.1").read_text()
    assert "two" in (tmp_path / "log").read_text()


def test_a_folder_that_goes_away_costs_records_but_not_the_daemon_and_is_told_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "var"
    folder.mkdir()
    to_file(folder / "log")
    logs.part("bus").info("one")
    folder.rename(tmp_path / "gone")
    logs.part("bus").info("two")
    logs.part("bus").info("three")
    assert capsys.readouterr().err.count("cannot write the log: ") == 1
    folder.mkdir()
    logs.part("bus").info("four")
    said = (folder / "log").read_text()
    assert "info bus: four" in said
    assert "warning log: 2 records were lost: the log file took none" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_costs_records_but_not_the_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    to_file(Path("/dev/full"))
    logs.part("bus").info("one")
    logs.part("bus").info("two")
    assert capsys.readouterr().err == "cannot write the log: [Errno 28] No space left on device; 1 records lost\n"


def test_the_journal_gets_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(60)
        monkeypatch.setattr(logs, "JOURNAL_SOCKET", tmp_path / "journal")
        logs.set_up(LogConfig("journal"), "vmtest")
        logs.part("triggers").warning("fired\nPRIORITY=0")
        fields = dict(line.split(b"=", 1) for line in journal.recv(65536).splitlines())
        assert fields[b"MESSAGE"] == rb"fired\nPRIORITY=0"
        assert (fields[b"PRIORITY"], fields[b"VMHERD_PART"], fields[b"SYSLOG_IDENTIFIER"]) == (b"4", b"triggers", b"vmtest")
        try:
            raise ValueError("no")
        except ValueError:
            logs.part("triggers").exception("died")
        datagram = journal.recv(65536)
        start = datagram.index(b"VMHERD_TRACEBACK\n") + len(b"VMHERD_TRACEBACK\n")
        (length,) = struct.unpack("<Q", datagram[start : start + 8])
        assert datagram[start + 8 : start + 8 + length].endswith(b"ValueError: no")


def test_a_journal_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "JOURNAL_SOCKET", tmp_path / "none")
    with pytest.raises(logs.LogFault, match=r"log target journal: .*none: No such file"):
        logs.set_up(LogConfig("journal"), "vmtest")


def test_syslog_gets_program_pid_and_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        syslog.settimeout(60)
        monkeypatch.setattr(logs, "SYSLOG_SOCKET", tmp_path / "log")
        logs.set_up(LogConfig("syslog"), "vmtest")
        logs.part("bus").error("lost")
        assert syslog.recv(4096) == f"<27>vmtest[{os.getpid()}]: error bus: lost".encode()  # 27: daemon.err


def test_stderr_that_is_the_journal_gets_priorities_instead_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    with open(read_end) as reader, open(write_end, "w", buffering=1) as writer:
        fact = os.fstat(writer.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{fact.st_dev}:{fact.st_ino}")
        logs.set_up(LogConfig(), "vmtest", stderr=writer)
        logs.part("bus").error("lost")
        monkeypatch.setenv("JOURNAL_STREAM", "8:1")
        logs.set_up(LogConfig(), "vmtest", stderr=writer)
        logs.part("bus").error("lost")
        assert reader.readline() == "<3>bus: lost\n"
        assert reader.readline().endswith(" error bus: lost\n")


def test_the_first_of_a_flood_is_logged_and_then_the_count(tmp_path: Path) -> None:
    to_file(tmp_path / "log")
    now = [0.0]
    limited = logs.RateLimited(logs.part("bus"), 60.0, clock=lambda: now[0])
    for _ in range(121):
        limited.log("xen3", "dropped an expired message from xen3", "dropped {} more expired messages from xen3")
        now[0] += 0.25
    now[0] = 61.0
    limited.flush()
    said = [line.split(": ", 1)[1] for line in (tmp_path / "log").read_text().splitlines()]
    assert said == ["dropped an expired message from xen3", "dropped 120 more expired messages from xen3 in 61 s"]


def test_a_single_event_has_no_sum() -> None:
    limit = RateLimit(60.0)
    assert limit.note("k", "first", "{} more", 0.0) == ["first"]
    assert limit.due(1000.0) == []
    assert limit.note("k", "first", "{} more", 1001.0) == ["first"]


def test_braces_in_names_are_no_format() -> None:
    limit = RateLimit(60.0)
    limit.note("k", "first", "{} more from {0.__class__}", 0.0)
    limit.note("k", "first", "{} more from {0.__class__}", 1.0)
    assert limit.due(60.0) == ["1 more from {0.__class__} in 60 s"]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.floats(0, 30)), max_size=60), st.integers(1, 4))
def test_every_event_is_told_once_however_many_keys(events: list[tuple[str, float]], keys_max: int) -> None:
    limit, now, said = RateLimit(60.0, keys_max), 0.0, []
    for key, pause in events:
        now += pause
        said += limit.note(key, "one", "{} more", now)
    for _ in range(3):
        now += 60.0
        said += limit.due(now)
    assert sum(1 if text == "one" else int(text.split()[0]) for text in said) == len(events)


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    bucket = Bucket(rate_per_s=2.0, burst=5.0)
    assert sum(bucket.allows(0.0) for _ in range(100)) == 5
    assert sum(bucket.allows(10.0 + n / 10) for n in range(100)) == 5 + 19
