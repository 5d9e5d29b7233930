"""Spread: a client of its session protocol with SpreadModule's API, in Python alone.

    from common.bus import spread
    mailbox = spread.connect("4803@127.0.0.1", "alice", 0, 1)

Speaks to Spread 4 and 5 daemons and to vmbus. Beyond SpreadModule: a mailbox's `receive_available` and `send_timeout_s`, a
message's `orig_members`, and the path of a unix socket as daemon.
"""

from __future__ import annotations

from common.bus.spread.constants import (
    ACCEPT_SESSION,
    AGREED_MESS,
    BUFFER_TOO_SHORT,
    CAUSAL_MESS,
    CAUSED_BY_DISCONNECT,
    CAUSED_BY_JOIN,
    CAUSED_BY_LEAVE,
    CAUSED_BY_NETWORK,
    CLIENT_VERSION,
    CONNECTION_CLOSED,
    COULD_NOT_CONNECT,
    DEFAULT_BUFFER_SIZE,
    DEFAULT_GROUPS_SIZE,
    DEFAULT_SPREAD_PORT,
    DROP_RECV,
    ENDIAN_RESERVED,
    FIFO_MESS,
    GROUPS_TOO_SHORT,
    HIGH_PRIORITY,
    ILLEGAL_GROUP,
    ILLEGAL_MESSAGE,
    ILLEGAL_SERVICE,
    ILLEGAL_SESSION,
    ILLEGAL_SPREAD,
    LOW_PRIORITY,
    MAX_GROUP_NAME,
    MAX_PRIVATE_NAME,
    MAX_PROC_NAME,
    MEDIUM_PRIORITY,
    MEMBERSHIP_MESS,
    MESSAGE_TOO_LONG,
    REG_MEMB_MESS,
    REGULAR_MESS,
    REJECT_AUTH,
    REJECT_ILLEGAL_NAME,
    REJECT_MESS,
    REJECT_NO_NAME,
    REJECT_NOT_UNIQUE,
    REJECT_QUOTA,
    REJECT_VERSION,
    RELIABLE_MESS,
    RESERVED,
    SAFE_MESS,
    SELF_DISCARD,
    SPREAD_VERSION,
    TRANSITION_MESS,
    UNRELIABLE_MESS,
)
from common.bus.spread.mailbox import MailboxType, connect
from common.bus.spread.messages import GroupId, MembershipMsgType, RegularMsgType, error


def version() -> tuple[int, int, int]:
    """The version of Spread's library that this one stands in for."""
    return CLIENT_VERSION


__all__ = [
    "ACCEPT_SESSION",
    "AGREED_MESS",
    "BUFFER_TOO_SHORT",
    "CAUSAL_MESS",
    "CAUSED_BY_DISCONNECT",
    "CAUSED_BY_JOIN",
    "CAUSED_BY_LEAVE",
    "CAUSED_BY_NETWORK",
    "CONNECTION_CLOSED",
    "COULD_NOT_CONNECT",
    "DEFAULT_BUFFER_SIZE",
    "DEFAULT_GROUPS_SIZE",
    "DEFAULT_SPREAD_PORT",
    "DROP_RECV",
    "ENDIAN_RESERVED",
    "FIFO_MESS",
    "GROUPS_TOO_SHORT",
    "HIGH_PRIORITY",
    "ILLEGAL_GROUP",
    "ILLEGAL_MESSAGE",
    "ILLEGAL_SERVICE",
    "ILLEGAL_SESSION",
    "ILLEGAL_SPREAD",
    "LOW_PRIORITY",
    "MAX_GROUP_NAME",
    "MAX_PRIVATE_NAME",
    "MAX_PROC_NAME",
    "MEDIUM_PRIORITY",
    "MEMBERSHIP_MESS",
    "MESSAGE_TOO_LONG",
    "REGULAR_MESS",
    "REG_MEMB_MESS",
    "REJECT_AUTH",
    "REJECT_ILLEGAL_NAME",
    "REJECT_MESS",
    "REJECT_NOT_UNIQUE",
    "REJECT_NO_NAME",
    "REJECT_QUOTA",
    "REJECT_VERSION",
    "RELIABLE_MESS",
    "RESERVED",
    "SAFE_MESS",
    "SELF_DISCARD",
    "SPREAD_VERSION",
    "TRANSITION_MESS",
    "UNRELIABLE_MESS",
    "GroupId",
    "MailboxType",
    "MembershipMsgType",
    "RegularMsgType",
    "connect",
    "error",
    "version",
]
