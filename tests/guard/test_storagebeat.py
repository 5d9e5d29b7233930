"""Blocks on shared storage: what is not whole says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.blockfile import read_block, write_block
from common.storagebeat import BLOCK_BYTES, Beat, BlockFault, Claim, beat_path, claim_path

BEAT = Beat("xen1.example.org", "boot-1", 7)
CLAIM = Claim("xen1.example.org", 3, 12, "m1")


def test_a_block_has_one_size_and_comes_back() -> None:
    assert len(BEAT.encode()) == len(CLAIM.encode()) == BLOCK_BYTES
    assert Beat.decode(BEAT.encode()) == BEAT
    assert Claim.decode(CLAIM.encode()) == CLAIM
    assert Beat("xen1", "boot-1", 8).mark != Beat("xen1", "boot-2", 8).mark


@given(st.integers(0, BLOCK_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, change: int) -> None:
    block = bytearray(CLAIM.encode())
    block[at] ^= change
    if at < BLOCK_BYTES - 1:  # the last is the end of the line, for those who look at it with cat
        with pytest.raises(BlockFault):
            Claim.decode(bytes(block))


@given(st.binary(max_size=BLOCK_BYTES + 1))
def test_other_bytes_are_no_block(data: bytes) -> None:
    with pytest.raises(BlockFault):
        Beat.decode(data)


def test_half_of_one_write_and_half_of_the_next_are_nothing() -> None:
    later = Beat("xen1.example.org", "boot-1", 8).encode()
    with pytest.raises(BlockFault):
        Beat.decode(BEAT.encode()[:2048] + later[2048:])


def test_a_beat_is_no_claim() -> None:
    with pytest.raises(BlockFault):
        Claim.decode(BEAT.encode())


def test_a_block_is_written_in_place(tmp_path: Path) -> None:
    path = Path(beat_path(tmp_path, "xen1"))
    with pytest.raises(FileNotFoundError):
        write_block(path, BEAT.encode())  # an empty mount point: nothing is made there
    path.parent.mkdir(parents=True)
    write_block(path, BEAT.encode())
    inode = path.stat().st_ino
    write_block(path, Beat("xen1", "boot-1", 8).encode())
    assert path.stat().st_ino == inode
    assert Beat.decode(read_block(path)).n == 8
    assert claim_path(tmp_path, "xen1") != beat_path(tmp_path, "xen1")
