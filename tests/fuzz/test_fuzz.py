"""Runs each fuzz target for some seconds from a corpus of good messages, where atheris is installed.

VMHERD_FUZZ_S says how many seconds each (default 5)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from common import protocol
from common.envelope import Sealer
from common.protocol import ClbControl, Control, Execute, GetProp, Message, PropErr, PropList, PropVal, Reading

ROOT = Path(__file__).resolve().parents[2]
SECONDS = int(os.environ.get("VMHERD_FUZZ_S", "5"))
GOOD: tuple[Message, ...] = (
    GetProp(names=("load",)),
    Execute(execution="e1", command="service", parameters={"name": "httpd", "on": True, "list": [1, 2.5, None]}),
    Control(verb="set-ticks", arguments={"load": 5}),
    PropVal(reading=Reading(name="load", value={"one": [0.5, {"a": "b"}]})),
    PropList(readings=(Reading(name="load"), Reading(name="ram", error="no such file")), complete=True),
    PropErr(errors={"load": "timed out"}),
    ClbControl(verb="hello", values={"key": "00" * 32}),
)


def corpus(folder: Path) -> None:
    sealer = Sealer("m1", SigningKey(bytes(32)))
    for n, message in enumerate(GOOD):
        body, whole = protocol.encode(message), sealer.seal(message, ("xen1",), 1_800_000_000.0)
        for door, data in enumerate((body, whole, whole[68:], body, whole[68:])):
            (folder / f"{n}-{door}").write_bytes(bytes([door]) + data)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed (pip install -e '.[fuzz]')")
@pytest.mark.timeout(SECONDS + 110)
def test_the_fuzzer_finds_no_way_to_crash_the_envelope(tmp_path: Path) -> None:
    seeds = tmp_path / "corpus"
    seeds.mkdir()
    corpus(seeds)
    target = ROOT / "tests/fuzz/target_envelope.py"
    ended = subprocess.run(
        [
            sys.executable,
            str(target),
            f"-max_total_time={SECONDS}",
            "-max_len=4096",
            f"-artifact_prefix={tmp_path}/",
            str(seeds),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS + 100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert "Done " in ended.stderr  # libFuzzer's own word that it ran to its end
