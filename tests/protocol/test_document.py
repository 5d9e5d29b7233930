"""docs/protocol.md says what the code does: its example is made here, its tables name what there is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from common import protocol
from common.bus.contract import PAYLOAD_BYTES_MAX
from common.envelope import Opener, Reason, Sealer
from common.keys import Keyring, raw_public
from common.protocol import Execute
from vmclient.controls import VERBS

from .messages import NOW, Farm

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/protocol.md"
BEGIN = "<!-- example: begin (tests/protocol/test_document.py --rewrite) -->\n"
END = "<!-- example: end -->"
MESSAGE = Execute(execution="m1-42", command="service", parameters={"name": "httpd", "action": "restart"}, timeout_s=30.0)


def sealed() -> bytes:
    return Sealer("m1", Farm().secrets["m1"]).seal(MESSAGE, ("xen1",), NOW, ttl_s=60.0, epoch=3, id=7)


def dump(data: bytes) -> str:
    rows = [data[at : at + 16] for at in range(0, len(data), 16)]
    shown = ["".join(chr(byte) if 32 <= byte < 127 else "." for byte in row) for row in rows]
    return "".join(
        f"    {16 * n:04d}  {row.hex(' '):47}  {text}\n" for n, (row, text) in enumerate(zip(rows, shown, strict=True))
    )


def example() -> str:
    return (
        f"Manager `m1` asks client `xen1`, in epoch 3, with id 7, at {NOW:.0f}, valid 60 s, to restart a service.\n"
        "The message:\n\n"
        f"{dump(protocol.encode(MESSAGE))}\nand its envelope:\n\n{dump(sealed())}"
    )


def test_the_example_is_what_the_code_makes(request: pytest.FixtureRequest) -> None:
    before, rest = DOCUMENT.read_text().split(BEGIN)
    shown, after = rest.split(END)
    if request.config.getoption("--rewrite"):
        DOCUMENT.write_text(before + BEGIN + "\n" + example() + "\n" + END + after)
    else:
        assert shown == "\n" + example() + "\n"


def test_the_example_is_accepted() -> None:
    farm = Farm()
    ring = Keyring()
    assert raw_public(farm.secrets["m1"]).hex() in DOCUMENT.read_text()
    ring.set("m1", raw_public(farm.secrets["m1"]), "manager", "accepted")
    assert Opener(("xen1",), ring).open(sealed(), NOW).message == MESSAGE


def test_every_reason_message_and_verb_has_its_line() -> None:
    text = DOCUMENT.read_text()
    for reason in get_args(Reason):
        assert f"\n| `{reason}` |" in text
    for kind in (*protocol.FROM_MANAGER, *protocol.FROM_CLIENT):
        assert f"\n| {kind.__struct_config__.tag} |" in text
    for verb in VERBS:
        assert f"`{verb}`" in text


def test_the_limits_are_the_code_s() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    for number, what in (
        (protocol.DEPTH_MAX, "at most {} deep"),
        (protocol.ITEMS_MAX, "at most {} readings"),
        (protocol.OBJECTS_MAX, "at most {} msgpack objects"),
        (PAYLOAD_BYTES_MAX, "({} bytes)"),
    ):
        assert what.format(f"{number:,}") in text
