"""The journal survives a crash at any byte, a full disk and its own limits; what it has acknowledged it still has."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.protocol import ExecErr, ExecVal
from vmclient.journal import Journal, JournalFault


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "executions"
    journal = Journal(path, 1000.0)
    journal.begin("a", 1000.0, 11)
    journal.begin("b", 1000.0, 12)
    journal.end("a", ExecVal(execution="a", result={"state": "active"}), 1001.0)
    journal.close()
    again = Journal(path, 1002.0)
    assert again.begun == {"b": 12}
    assert again.ended == {"a": 1001.0}
    assert again.recall("a") == ExecVal(execution="a", result={"state": "active"})
    assert again.recall("b") is None


def test_two_clients_cannot_share_one_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "executions", 0.0)
    with pytest.raises(JournalFault, match="in use by another vmclient"):
        Journal(tmp_path / "executions", 0.0)
    journal.close()
    Journal(tmp_path / "executions", 0.0).close()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 400), junk=st.binary(max_size=40))
def test_a_crash_in_the_middle_of_a_write_costs_only_that_record(tmp_path: Path, cut: int, junk: bytes) -> None:
    path = tmp_path / "executions"
    path.unlink(missing_ok=True)
    journal = Journal(path, 0.0)
    sizes = []
    for number in range(4):
        journal.end(f"e{number}", ExecErr(execution=f"e{number}", kind="error", reason="r" * 20), 1.0)
        sizes.append(journal.size)
    journal.close()
    kept = min(cut, sizes[-1])
    path.write_bytes(path.read_bytes()[:kept] + junk)
    again = Journal(path, 2.0)
    whole = [f"e{number}" for number, size in enumerate(sizes) if size <= kept]
    assert list(again.ended)[: len(whole)] == whole
    assert len(again.ended) == len(whole)
    assert all(isinstance(again.recall(name), ExecErr) for name in whole)
    again.begin("next", 3.0, 1)
    again.close()
    final = Journal(path, 4.0)
    assert "next" in final.begun
    final.close()


def test_old_ends_are_forgotten_and_large_ones_lose_only_their_answers(tmp_path: Path) -> None:
    path = tmp_path / "executions"
    journal = Journal(path, 0.0, keep_s=100.0, bytes_max=20_000)
    journal.begin("open", 0.0, 5)
    for number in range(60):
        journal.end(f"e{number}", ExecVal(execution=f"e{number}", output="x" * 1000), float(number))
    assert journal.size <= 21_000
    assert set(journal.ended) == {f"e{number}" for number in range(60)}
    assert journal.recall("e0") is None
    assert isinstance(journal.recall("e59"), ExecVal)
    journal.close()
    again = Journal(path, 140.0, keep_s=100.0, bytes_max=20_000, keep=10)
    assert set(again.ended) == {f"e{number}" for number in range(40, 60)}
    assert again.begun == {"open": 5}
    assert isinstance(again.recall("e59"), ExecVal)
    again.close()
    assert (path.stat().st_mode & 0o777) == 0o600


def test_a_full_disk_is_told_and_loses_nothing_that_was_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "executions", 0.0)
    journal.end("kept", ExecVal(execution="kept", result=1), 1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 10, hard))
    try:
        with pytest.raises(OSError, match=r"space|large"):
            journal.begin("more", 2.0, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    journal.begin("later", 3.0, 2)
    journal.close()
    again = Journal(tmp_path / "executions", 4.0)
    assert again.begun == {"later": 2}
    assert again.recall("kept") == ExecVal(execution="kept", result=1)
    assert again.cut_bytes == 0
    again.close()


def test_a_file_that_is_not_ours_to_write_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "executions"
    os.mkdir(folder)
    with pytest.raises(JournalFault, match=str(folder)):
        Journal(folder, 0.0)


def test_a_damaged_record_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "executions"
    journal = Journal(path, 0.0)
    sizes = [0]
    for number in range(5):
        journal.end(f"e{number}", ExecErr(execution=f"e{number}", kind="error", reason="r" * 20), 1.0)
        sizes.append(journal.size)
    journal.close()
    data = bytearray(path.read_bytes())
    data[sizes[2] + 20] ^= 0x10
    path.write_bytes(data)
    again = Journal(path, 2.0)
    assert list(again.ended) == ["e0", "e1", "e3", "e4"]  # and none of these runs again
    assert all(isinstance(again.recall(name), ExecErr) for name in again.ended)
    again.end("e5", ExecVal(execution="e5"), 3.0)
    again.close()
    final = Journal(path, 4.0)
    assert list(final.ended) == ["e0", "e1", "e3", "e4", "e5"]
    final.close()


def test_a_clock_that_was_wrong_for_a_while_makes_nothing_be_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "executions"
    journal = Journal(path, 0.0)
    for number in range(50):
        journal.end(f"e{number}", ExecVal(execution=f"e{number}"), 1000.0 + number)
    journal.close()
    started_in_the_future = Journal(path, 1000.0 + 30 * 86_400.0)
    started_in_the_future.close()
    again = Journal(path, 1060.0)
    assert len(again.ended) == 50
    again.close()
