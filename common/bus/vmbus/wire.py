"""The daemon's side of Spread's session protocol: bytes <-> values. No socket, no clock, no groups.

Offsets and bits as observed on a 5.0.1 daemon; common/bus/spread has the client's side of the same.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from common.bus.spread.constants import (
    AUTH_CHOICE_BYTES,
    AUTH_NAME_BYTES,
    CAUSED_BY_JOIN,
    CAUSED_BY_LEAVE,
    ENDIAN_BITS,
    HINT_BITS,
    MAX_PRIVATE_NAME,
    NAME_BYTES,
    REG_MEMB_MESS,
    REJECT_AUTH,
    REJECT_ILLEGAL_NAME,
    REJECT_MESS,
    REJECT_NOT_UNIQUE,
    REJECT_QUOTA,
    REJECT_VERSION,
)

LITTLE = ENDIAN_BITS  # the bits of `type` and `hint` that say: written by a little-endian machine
HINT_LEGAL = HINT_BITS | LITTLE
LITTLE_HEADER = struct.Struct("<I32siIi")  # type, name, num_groups, hint, data_len
BIG_HEADER = struct.Struct(">I32siIi")

REASONS = {
    REJECT_QUOTA: "too many sessions",
    REJECT_ILLEGAL_NAME: "illegal name",
    REJECT_NOT_UNIQUE: "name not unique",
    REJECT_VERSION: "client library too old",
    REJECT_AUTH: "unknown authentication method",
}
VERSION = bytes((5, 0, 1))
AUTH_METHODS = b"\x05NULL "  # length, then the names, each with a space
GROUP_LETTERS = bytes(range(0x24, 0x7F))  # '$'..'~': what a name we admit is made of
TARGET_LETTERS = bytes(range(0x20, 0x7F))  # what may be named as a target: '#' of private names, and harmless nonsense


class Refused(Exception):
    """The handshake ends with this (negative) code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{REASONS[code]} ({code})")
        self.code = code

    @property
    def byte(self) -> bytes:
        """The code as it travels: one signed byte."""
        return struct.pack("b", self.code)


class Violation(Exception):
    """A message breaks the protocol; its session is cut with this reason."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A client's first packet; `size` is how many bytes of the input it took."""

    name: bytes  # empty: the daemon invents one
    membership: bool
    size: int


def parse_hello(data: bytes) -> Hello | None:
    """None while more bytes are needed. Raises Refused. Clients before 3.16 (no authentication step) are refused."""
    if len(data) < 2:
        return None
    if data[0] * 10000 + data[1] * 100 < 31600:
        raise Refused(REJECT_VERSION)
    if len(data) < 5:
        return None
    length = data[4]
    if length > MAX_PRIVATE_NAME:
        raise Refused(REJECT_ILLEGAL_NAME)
    name = data[5 : 5 + length]
    if name.translate(None, GROUP_LETTERS):
        raise Refused(REJECT_ILLEGAL_NAME)
    return Hello(name, bool(data[3] & 1), 5 + length) if len(name) == length else None


def check_choice(choice: bytes) -> None:
    """`choice` is AUTH_CHOICE_BYTES long. Raises Refused unless it asks for NULL and nothing else."""
    slots = {choice[at : at + AUTH_NAME_BYTES].rstrip(b"\0") for at in range(0, AUTH_CHOICE_BYTES, AUTH_NAME_BYTES)} - {b""}
    if slots != {b"NULL"}:
        raise Refused(REJECT_AUTH)


def accepted(private: bytes) -> bytes:
    """The daemon's last word of the handshake, with the private address it gave."""
    return b"\x01" + VERSION + bytes((len(private),)) + private


def pad(name: bytes) -> bytes:
    return name.ljust(NAME_BYTES, b"\0")


def group_name(field: bytes) -> bytes:
    """The name in a 32-byte field that a session may join. Raises Violation."""
    name, nul, _ = field.partition(b"\0")
    if not (name and nul) or name.translate(None, GROUP_LETTERS):
        raise Violation(f"illegal group name {name!r}")
    return name


def header(kind: int, name: bytes, groups: int, hint: int, data_bytes: int) -> bytes:
    """A header as this daemon writes it: little endian on every machine. `name` is padded already or shorter."""
    return LITTLE_HEADER.pack(kind | LITTLE, name, groups, hint | LITTLE, data_bytes)


def view(cause: int, group: bytes, members: Sequence[bytes], changed: bytes, gid: tuple[int, int, int]) -> bytes:
    """A regular membership message: who is there now, and the one member that came or went. All names are padded."""
    body = struct.pack("<6I", *gid, 1, 0, 1) + changed  # one vs set, ours at offset 0, of one member
    return b"".join((header(REG_MEMB_MESS | cause, group, len(members), 0, len(body)), *members, body))


def self_leave(group: bytes) -> bytes:
    """What the one who left gets; it has no members and no body."""
    return header(CAUSED_BY_LEAVE, group, 0, 0, 0)


def join_refused(private: bytes, group: bytes) -> bytes:
    """REJECT of a join: four bytes of the old type stand between the header and the groups, the last of which is the sender."""
    old = struct.pack("<I", CAUSED_BY_JOIN | LITTLE)
    return header(REJECT_MESS, private, 2, 0, 0) + old + pad(group) + pad(private)
