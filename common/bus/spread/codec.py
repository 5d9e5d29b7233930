"""The Spread session protocol: bytes <-> values, both byte orders. No socket, no clock, no thread.

A message is a header of 48 bytes, `num_groups` names of 32 bytes, and data. Integers stand in the order of who wrote `type`,
except the hint, which keeps the order of the client that sent. Whatever the bytes are, functions here return a value or raise
ProtocolError. Format of Spread 4 and 5; 3.x differs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from common.bus.spread.constants import (
    AUTH_CHOICE_BYTES,
    AUTH_NAME_BYTES,
    ENDIAN_BITS,
    GROUP_ID_BYTES,
    HEADER_BYTES,
    NAME_BYTES,
    NAME_FIRST,
    NAME_LAST,
    RECEIVED_BYTES_MAX,
    REG_MEMB_MESS,
    REGULAR_MESS,
    REJECT_BYTES,
    REJECT_MESS,
    TRANSITION_MESS,
)

ByteOrder = Literal["<", ">"]
Buffer = bytes | memoryview
# type, name, num_groups, hint, data_len; the hint as bytes, because its order is not that of the rest
_HEADERS: Final[dict[ByteOrder, struct.Struct]] = {
    "<": struct.Struct(f"<I{NAME_BYTES}si4si"),
    ">": struct.Struct(f">I{NAME_BYTES}si4si"),
}
_unpack_little = _HEADERS["<"].unpack_from
_unpack_big = _HEADERS[">"].unpack_from
_BODY_HEADS: Final = {"<": struct.Struct("<5I"), ">": struct.Struct(">5I")}


class ProtocolError(Exception):
    """Bytes that are no message of this protocol. The only exception that decoding raises."""


# names ---------------------------------------------------------------------------------------------------------------------


def encode_name(name: str) -> bytes:
    """A name's field of 32 bytes, NUL padded; cut to 31 as Spread's own library does."""
    return name.encode("utf-8", "surrogateescape")[: NAME_BYTES - 1].ljust(NAME_BYTES, b"\0")


@lru_cache(maxsize=8192)
def decode_name(field: bytes) -> str:
    """Never fails: bytes that are no UTF-8 come as surrogates, and go out as the same bytes."""
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


@lru_cache(maxsize=1024)
def _few_names(fields: bytes) -> tuple[str, ...]:
    return tuple([decode_name(fields[at : at + NAME_BYTES]) for at in range(0, len(fields), NAME_BYTES)])


def decode_names(fields: bytes) -> tuple[str, ...]:
    """`fields` is a whole number of name fields. Short lists are remembered, because every message carries one."""
    if len(fields) <= 8 * NAME_BYTES:
        return _few_names(fields)
    return tuple([decode_name(fields[at : at + NAME_BYTES]) for at in range(0, len(fields), NAME_BYTES)])


def legal_name(name: str, bytes_max: int) -> bool:
    """May a session (10 bytes) or a group (31) be called so?"""
    raw = name.encode("utf-8", "surrogateescape")
    return 1 <= len(raw) <= bytes_max and all(NAME_FIRST <= byte <= NAME_LAST for byte in raw)


# handshake -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """A client's first packet. An empty name asks the daemon to make one."""

    version: tuple[int, int, int]
    membership: bool
    priority: int
    name: str


def encode_hello(hello: Hello) -> bytes:
    """Must go out in one packet: a real daemon refuses halves."""
    name = hello.name.encode("utf-8", "surrogateescape")
    flags = (hello.priority & 0x0F) << 4 | hello.membership
    return bytes((*hello.version, flags, len(name))) + name


def decode_hello(data: bytes) -> tuple[Hello, int] | None:
    """The hello and how many bytes it took; None while bytes are missing. Clients before 3.16 are not understood."""
    if len(data) >= 2 and (data[0], data[1]) < (3, 16):
        raise ProtocolError(f"client of version {data[0]}.{data[1]}, which knows no authentication step")
    if len(data) < 5:
        return None
    end = 5 + data[4]
    if len(data) < end:
        return None
    return Hello((data[0], data[1], data[2]), bool(data[3] & 1), data[3] >> 4, decode_name(data[5:end])), end


def encode_auth_methods(methods: Sequence[str]) -> bytes:
    """The daemon's first answer: length, then the names, each with a space behind."""
    text = "".join(f"{method} " for method in methods).encode("ascii")
    return bytes((len(text),)) + text


def decode_auth_methods(text: bytes) -> tuple[str, ...]:
    """What follows the length byte."""
    return tuple(text.decode("latin-1").split())


def encode_auth_choice(methods: Sequence[str]) -> bytes:
    """At most three methods, 90 bytes. Must go out in one packet."""
    fields = b"".join(method.encode("ascii").ljust(AUTH_NAME_BYTES, b"\0") for method in methods)
    return fields.ljust(AUTH_CHOICE_BYTES, b"\0")


def decode_auth_choice(data: bytes) -> tuple[str, ...]:
    """The methods of 90 bytes, empty slots left out."""
    if len(data) != AUTH_CHOICE_BYTES:
        raise ProtocolError(f"authentication choice of {len(data)} bytes instead of {AUTH_CHOICE_BYTES}")
    slots = (data[at : at + AUTH_NAME_BYTES] for at in range(0, AUTH_CHOICE_BYTES, AUTH_NAME_BYTES))
    return tuple(slot.rstrip(b"\0").decode("latin-1") for slot in slots if slot.strip(b"\0"))


def encode_reply_code(code: int) -> bytes:
    """ACCEPT_SESSION or a reject code, as one signed byte."""
    return struct.pack("b", code)


def signed_byte(data: bytes) -> int:
    """The first byte of the daemon's answers: negative is a reject code, else a length or ACCEPT_SESSION."""
    return int.from_bytes(data[:1], "little", signed=True)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The end of a daemon's last answer: its version and the private address it gave us."""

    version: tuple[int, int, int]
    private_group: str


def encode_accepted(accepted: Accepted) -> bytes:
    """ACCEPT_SESSION, version, length, name."""
    name = accepted.private_group.encode("ascii")
    return bytes((1, *accepted.version, len(name))) + name


def decode_accepted(data: bytes) -> Accepted:
    """What follows the accept byte: three of version, the length, and the name, complete."""
    if len(data) < 4 or len(data) != 4 + data[3]:
        raise ProtocolError("accept message cut short")
    name = data[4:]
    if not 0 < len(name) < NAME_BYTES or name[:1] != b"#" or not all(0x23 <= byte <= NAME_LAST for byte in name):
        raise ProtocolError(f"illegal private group {name!r} in the accept message")
    return Accepted((data[0], data[1], data[2]), name.decode("ascii"))


# headers and messages ------------------------------------------------------------------------------------------------------


class Header(NamedTuple):
    """The first 48 bytes. `type` is without its byte order bits; `message_type` is the sender's own 16 bits, signed."""

    type: int
    name: str
    num_groups: int
    message_type: int
    data_bytes: int
    order: ByteOrder = "<"  # of whoever wrote `type`
    sender_order: ByteOrder = "<"  # of the client that sent; the data is as it left it

    @property
    def rest_bytes(self) -> int:
        """How many bytes of this message follow the header."""
        rest = self.num_groups * NAME_BYTES + self.data_bytes
        return rest + REJECT_BYTES if self.type & REJECT_MESS and is_reject(self.type) else rest


class Message(NamedTuple):
    """One message, as either side sends it. `name` is the sender, in membership messages the group."""

    type: int
    name: str
    groups: tuple[str, ...]
    message_type: int
    data: bytes
    order: ByteOrder = "<"
    sender_order: ByteOrder = "<"
    refused_type: int = 0  # REJECT only: the type of the message that was refused


def is_reject(kind: int) -> bool:
    """Does the daemon send a message back to its sender? A client may set this bit on a regular message; that is none."""
    return bool(kind & REJECT_MESS) and not kind & REGULAR_MESS


def encode_header(header: Header) -> bytes:
    """Each integer in the order that `header` says."""
    bits = ENDIAN_BITS if header.order == "<" else 0
    middle = (header.message_type & 0xFFFF).to_bytes(2, "little" if header.sender_order == "<" else "big")
    edge = b"\x80" if header.sender_order == "<" else b"\0"
    return _HEADERS[header.order].pack(
        header.type | bits, encode_name(header.name), header.num_groups, edge + middle + edge, header.data_bytes
    )


def decode_header(data: Buffer, at: int = 0, bytes_max: int = RECEIVED_BYTES_MAX) -> Header:
    """The header at `at`. A message longer than `bytes_max` in all is a ProtocolError."""
    if len(data) - at < HEADER_BYTES:
        raise ProtocolError(f"header of {max(0, len(data) - at)} bytes")
    kind, name, num_groups, hint, data_bytes = _unpack_little(data, at)
    order: ByteOrder = "<"
    bits = kind & ENDIAN_BITS
    if not bits:
        order = ">"
        kind, name, num_groups, hint, data_bytes = _unpack_big(data, at)
    elif bits != ENDIAN_BITS:
        raise ProtocolError(f"type 0x{kind:08x} has half a byte order mark")
    if hint[0] == 0x80 == hint[3]:
        sender_order: ByteOrder = "<"
        message_type = hint[1] | hint[2] << 8
    elif not hint[0] and not hint[3]:
        sender_order = ">"
        message_type = hint[1] << 8 | hint[2]
    else:
        raise ProtocolError(f"hint {hint.hex()} is in no byte order")
    if num_groups < 0 or data_bytes < 0 or HEADER_BYTES + num_groups * NAME_BYTES + data_bytes > bytes_max:
        raise ProtocolError(f"message with {num_groups} groups and {data_bytes} bytes of data, the limit is {bytes_max}")
    if message_type & 0x8000:
        message_type -= 0x10000
    return Header(kind & ~ENDIAN_BITS, decode_name(name), num_groups, message_type, data_bytes, order, sender_order)


def encode_message(message: Message) -> bytes:
    """The whole message; no limit is checked here."""
    header = Header(
        message.type,
        message.name,
        len(message.groups),
        message.message_type,
        len(message.data),
        message.order,
        message.sender_order,
    )
    parts = [encode_header(header)]
    if is_reject(message.type):
        bits = ENDIAN_BITS if message.order == "<" else 0
        parts.append(struct.pack(f"{message.order}I", message.refused_type | bits))
    parts.extend(map(encode_name, message.groups))
    parts.append(message.data)
    return b"".join(parts)


def decode_body(header: Header, rest: Buffer) -> Message:
    """The message of `header` and exactly the `header.rest_bytes` bytes that came behind it."""
    kind, name, num_groups, message_type, _, order, sender_order = header
    data_at = num_groups * NAME_BYTES
    refused_type = 0
    if kind & REJECT_MESS and is_reject(kind):
        (refused_type,) = struct.unpack_from(f"{order}I", rest)
        refused_type &= ~ENDIAN_BITS
        rest = rest[REJECT_BYTES:]
    groups = decode_names(bytes(rest[:data_at]))
    return Message(kind, name, groups, message_type, bytes(rest[data_at:]), order, sender_order, refused_type)


def decode_message(data: bytes, bytes_max: int = RECEIVED_BYTES_MAX) -> Message:
    """`data` is one message, whole, and nothing else."""
    header = decode_header(data, 0, bytes_max)
    if len(data) != HEADER_BYTES + header.rest_bytes:
        raise ProtocolError(f"{len(data)} bytes, but the header announces {HEADER_BYTES + header.rest_bytes}")
    return decode_body(header, data[HEADER_BYTES:])


# requests ------------------------------------------------------------------------------------------------------------------


def encode_request(kind: int, private_group: str, group: str) -> bytes:
    """JOIN_MESS or LEAVE_MESS of a group, or KILL_MESS with our own private group."""
    return encode_message(Message(kind, private_group, (group,), 0, b""))


# membership ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Membership:
    """A membership message's body. `sets` are those who moved together, `mine` the index of the receiver's own.

    For a join, leave or disconnect there is one set and it holds the one member that changed. A transitional message has no
    sets; a self-leave has no group id either."""

    group_id: tuple[int, int, int] | None
    sets: tuple[tuple[str, ...], ...] = ()
    mine: int = 0


def decode_membership(message: Message) -> Membership:
    """What the data of a membership message says."""
    if not message.type & (REG_MEMB_MESS | TRANSITION_MESS):
        return Membership(None)
    body = message.data
    if message.type & TRANSITION_MESS:
        if len(body) < GROUP_ID_BYTES:
            raise ProtocolError(f"transitional membership of {len(body)} bytes")
        first, second, third = struct.unpack_from(f"{message.order}3I", body)
        return Membership((first, second, third))
    if len(body) < 20:
        raise ProtocolError(f"membership body of {len(body)} bytes")
    first, second, third, count, offset = _BODY_HEADS[message.order].unpack_from(body)
    sets, starts = _decode_sets(body, count, message.order)
    if count and offset not in starts:
        raise ProtocolError(f"no set of members starts at {offset}")
    return Membership((first, second, third), sets, starts.index(offset) if count else 0)


def _decode_sets(body: bytes, count: int, order: ByteOrder) -> tuple[tuple[tuple[str, ...], ...], list[int]]:
    """The sets, and where each starts, counted from the first."""
    if count * 4 > len(body):
        raise ProtocolError(f"{count} sets of members in {len(body)} bytes")
    number = struct.Struct(f"{order}I")
    sets, starts, at = [], [], 20
    for _ in range(count):
        if len(body) - at < 4:
            raise ProtocolError("membership body cut short")
        starts.append(at - 20)
        end = at + 4 + NAME_BYTES * number.unpack_from(body, at)[0]
        if end > len(body):
            raise ProtocolError("membership body cut short")
        sets.append(decode_names(body[at + 4 : end]))
        at = end
    return tuple(sets), starts


def encode_membership_body(membership: Membership, order: ByteOrder = "<") -> bytes:
    """The inverse of decode_membership; a transitional message's body is the group id alone, a self-leave's is empty."""
    if membership.group_id is None:
        return b""
    group_id = struct.pack(f"{order}3I", *membership.group_id)
    if not membership.sets:
        return group_id
    parts = [struct.pack(f"{order}I", len(each)) + b"".join(map(encode_name, each)) for each in membership.sets]
    offset = sum(map(len, parts[: membership.mine]))
    return group_id + struct.pack(f"{order}2I", len(parts), offset) + b"".join(parts)
