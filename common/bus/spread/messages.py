"""What SpreadModule hands out: message objects, group ids, and its one exception. Knows no socket.

Attributes are those of SpreadModule 1.6 with str names and bytes payload, a superset of 1.5; `orig_members` as in 1.7.
"""

from __future__ import annotations

import sys
from typing import ClassVar, Final

from msgspec import Struct

from common.bus.spread.codec import Message, decode_membership, is_reject
from common.bus.spread.constants import (
    CAUSED_BY_DISCONNECT,
    CAUSED_BY_JOIN,
    CAUSED_BY_LEAVE,
    ERROR_TEXTS,
    MEMBERSHIP_MESS,
    REG_MEMB_MESS,
    REGULAR_MESS,
    REJECT_MESS,
    TRANSITION_MESS,
    UNKNOWN_ERROR_TEXT,
)

_NATIVE_ORDER: Final = "<" if sys.byteorder == "little" else ">"
_ONE_CHANGED: Final = CAUSED_BY_JOIN | CAUSED_BY_LEAVE | CAUSED_BY_DISCONNECT


class error(Exception):
    """spread.error: args are (code, text) for what Spread says, one sentence for a wrong use of a mailbox."""


def spread_error(code: int) -> error:
    """The exception for a code below 0, with SpreadModule's text."""
    return error(code, ERROR_TEXTS.get(code, UNKNOWN_ERROR_TEXT))


class GroupId:
    """Names one membership of one group. Can be compared for being the same, and nothing else."""

    __slots__ = ("_words",)
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, words: tuple[int, int, int]) -> None:
        self._words = words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupId) and self._words == other._words

    def __repr__(self) -> str:
        return "<group_id {:08X}:{:08X}:{:08X}>".format(*self._words)


class RegularMsgType(Struct, frozen=True, eq=False):
    """A message that somebody multicast. `endian` is 1 when the sender's integers have the other byte order than ours."""

    sender: str
    groups: tuple[str, ...]
    message: bytes
    msg_type: int
    endian: int


class MembershipMsgType(Struct, frozen=True, eq=False):
    """Who is in a group now. `reason` is CAUSED_BY_... or 0 (transitional), `msg_subtype` REG_MEMB_MESS, TRANSITION_MESS
    or 0 (we left). `extra` are the one that joined, left or was lost, or those who moved together with us through a change
    of the network; `orig_members` are all such sets."""

    reason: int
    msg_subtype: int
    group: str
    group_id: GroupId | None
    members: tuple[str, ...]
    extra: tuple[str, ...]
    changed_member: str | None
    orig_members: tuple[tuple[str, ...], ...]


class RefusedMsgType(Struct, frozen=True, eq=False):
    """The daemon sent a message of ours back (REJECT), or one of no kind we know. SpreadModule's `receive` raises `error`."""

    wire_type: int
    groups: tuple[str, ...]

    @property
    def error(self) -> error:
        return error(f"Unknown message type: {self.wire_type}")


Received = RegularMsgType | MembershipMsgType | RefusedMsgType


def received(message: Message) -> Received:
    """What `message` is to a user of SpreadModule. Raises ProtocolError for a membership body that makes no sense."""
    kind = message.type
    if kind & REGULAR_MESS:  # first, because a sender may set the bits of the others on a regular message
        endian = int(message.sender_order != _NATIVE_ORDER)
        return RegularMsgType(message.name, message.groups, message.data, message.message_type, endian)
    if is_reject(kind):
        return RefusedMsgType(message.refused_type | REJECT_MESS, message.groups)
    if kind & MEMBERSHIP_MESS:
        return _membership(message)
    return RefusedMsgType(kind, message.groups)


def _membership(message: Message) -> MembershipMsgType:
    body = decode_membership(message)
    reason = message.type & 0x0F00
    extra = body.sets[body.mine] if body.sets else ()
    return MembershipMsgType(
        reason=reason,
        msg_subtype=message.type & (REG_MEMB_MESS | TRANSITION_MESS),
        group=message.name,
        group_id=None if body.group_id is None else GroupId(body.group_id),
        members=message.groups,
        extra=extra,
        changed_member=extra[0] if extra and reason & _ONE_CHANGED else None,
        orig_members=body.sets,
    )
