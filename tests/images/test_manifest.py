"""What a manifest may say, and what is told of one that says something else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.images.manifest import (
    MANIFEST_BYTES_MAX,
    ImageFault,
    ImageFile,
    Manifest,
    decoded,
    encoded,
    newest,
    sealed,
    split,
)

FILE = ImageFile(12, "ab" * 32)
GOOD = Manifest("node", "1", 1, {"kernel": FILE, "initrd": FILE}, "me@here", 1.5, note="ò", cmdline="console=hvc0")
WHERE = "/srv/node/1/manifest.json"


def changed(**more: Any) -> bytes:
    return json.dumps(json.loads(encoded(sealed(GOOD, WHERE))) | more).encode()


def test_a_manifest_is_read_back() -> None:
    manifest = sealed(GOOD, WHERE)
    assert decoded(encoded(manifest), WHERE, "node", "1") == manifest
    assert manifest.image == "node@1"
    assert manifest.bytes == 24


@given(st.data())
def test_a_changed_byte_is_found(data: st.DataObject) -> None:
    good = encoded(sealed(GOOD, WHERE))
    place = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda each: each != good[place]))
    with pytest.raises(ImageFault, match=WHERE):
        decoded(good[:place] + bytes([byte]) + good[place + 1 :], WHERE, "node", "1")


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda tree: json.dumps(tree).encode()))
def test_anything_else_is_one_clear_fault(data: bytes) -> None:
    with pytest.raises(ImageFault, match=WHERE):
        decoded(data, WHERE, "node", "1")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no manifest of an image"),
        (b"[" * 60_000, "no manifest of an image"),
        (b" " * (MANIFEST_BYTES_MAX + 1), f"more than {MANIFEST_BYTES_MAX} bytes"),
        (b"\xff\xfe", "no manifest of an image"),
        (changed(name="other"), "is about 'other@1', and lies in the folder of node@1"),
        (changed(name="\x1b[2J"), r"is about '\\x1b\[2J@1'"),
        (changed(format=2), "format"),
        (changed(sequence=0), "sequence"),
        (changed(sequence=True), "sequence"),
        (changed(sequence=10**30), "no manifest of an image"),
        (changed(made_at=float("1e300")), "made_at"),
        (changed(files={}), "neither a kernel nor a disk"),
        (changed(files={"../../etc/shadow": {"bytes": 1, "sha256": "ab" * 32}}), "no manifest of an image"),
        (changed(files={"kernel": {"bytes": -1, "sha256": "ab" * 32}}), "bytes"),
        (changed(files={"kernel": {"bytes": 1, "sha256": "xyz"}}), "sha256"),
        (changed(files={"disk": {"bytes": 1, "sha256": "ab" * 32}}, cmdline=""), "a disk has a device"),
        (changed(files={"disk": {"bytes": 1, "sha256": "ab" * 32, "device": "xvda,/etc/shadow"}}), "device"),
        (changed(files={"initrd": {"bytes": 1, "sha256": "ab" * 32}}), "neither a kernel nor a disk"),
        (changed(cmdline="a\nkernel = '/etc/shadow'"), "cmdline"),
        (changed(cmdline="init=/bin/sh"), "changed afterwards"),
        (changed(extra=1), "changed afterwards"),
    ],
)
def test_each_fault_names_the_file_and_what_is_wrong(data: bytes, says: str) -> None:
    with pytest.raises(ImageFault, match=says) as raised:
        decoded(data, WHERE, "node", "1")
    assert WHERE in str(raised.value)
    assert "\n" not in str(raised.value)


BAD_WORDS = ("", ".", "..", "../x", "a/b", "/a", ".hidden", "-x", "a b", "a\n", "ä", "x" * 65, "a@", "a@..", "a@b@c", "a\0")


@pytest.mark.parametrize("word", BAD_WORDS)
def test_what_is_no_name_is_refused(word: str) -> None:
    with pytest.raises(ImageFault, match=r"is no (name|version) of an image"):
        split(word)


def test_the_newest_is_what_was_published_last_whatever_clocks_and_versions_say() -> None:
    old = Manifest("node", "9", 1, {"kernel": FILE}, "", 2e9)
    new = Manifest("node", "1", 2, {"kernel": FILE}, "", 0)
    assert newest([new, old]) is new
    assert newest([]) is None
