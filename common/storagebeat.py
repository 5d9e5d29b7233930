"""Beats and claims on shared storage: files of one fixed size with a checksum, bytes <-> dataclasses. Pure (docs/design/0040).

STORAGE/failover/beats/HOST is the host's: it alone writes it, and only while it sees no claim. STORAGE/failover/claims/HOST is
the leader's, and lies there for every host that asks for leases, with number 0 where nothing is claimed. safety: a host that
finds no such file does not see the storage that the leader sees (an empty mount point), and a block that is not whole says
nothing.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct

BLOCK_BYTES = 4096  # one page, one sector of any disk: O_DIRECT takes it, and one write of it is whole or not there
FOLDER, BEATS, CLAIMS = "failover", "beats", "claims"
_MAGIC = b"vmherd failover 1 "
_DIGEST_CHARS = 64
_TEXT_BYTES = BLOCK_BYTES - len(_MAGIC) - _DIGEST_CHARS - 2

_Count = Annotated[int, Meta(ge=0)]
_Name = Annotated[str, Meta(max_length=255)]


class BlockFault(Exception):
    """The block is not whole, or says something else; it is no evidence of anything."""


class _Block(Struct, frozen=True, forbid_unknown_fields=False):
    def encode(self) -> bytes:
        text = msgspec.json.encode(self)
        assert len(text) <= _TEXT_BYTES, "names are short"
        body = _MAGIC + text.ljust(_TEXT_BYTES) + b"\n"
        return body + _digest(body) + b"\n"

    @classmethod
    def decode(cls, block: bytes) -> Self:
        """Raises BlockFault."""
        body, digest = block[: -_DIGEST_CHARS - 1], block[-_DIGEST_CHARS - 1 : -1]
        if len(block) != BLOCK_BYTES or not body.startswith(_MAGIC):
            raise BlockFault(f"{len(block)} bytes that are no block of ours")
        if _digest(body) != digest:
            raise BlockFault("the checksum is wrong: it is not whole")
        try:
            return msgspec.json.decode(body[len(_MAGIC) :], type=cls)
        except (msgspec.DecodeError, ValueError) as fault:
            raise BlockFault(str(fault)) from None


class Beat(_Block, frozen=True, tag="beat"):
    """`n` rises with each beat of one boot. It says as well that the host sees no claim."""

    host: _Name
    boot_id: _Name
    n: _Count

    @property
    def mark(self) -> str:
        """Another one: the host was alive in between."""
        return f"{self.boot_id} {self.n}"


class Claim(_Block, frozen=True, tag="claim"):
    """The leader wants the host's protected VMs: it is to stop them. `number` 0: nothing is claimed. A later claim on the host
    has a higher number than all before."""

    host: _Name
    number: _Count
    epoch: _Count
    leader: _Name


def beat_path(storage: PurePath, host: str) -> PurePath:
    return storage / FOLDER / BEATS / host


def claim_path(storage: PurePath, host: str) -> PurePath:
    return storage / FOLDER / CLAIMS / host


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_CHARS // 2).hexdigest().encode()
