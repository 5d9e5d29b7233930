"""Numbers and texts of the Spread session protocol and of SpreadModule. Knows no bytes' order and no socket.

Source: Spread 5.0.1's sp.h, and a 5.0.1 daemon observed on the wire. Names are Spread's own.
"""

from __future__ import annotations

from typing import Final

# What SpreadModule exports -------------------------------------------------------------------------------------------------

LOW_PRIORITY: Final = 0
MEDIUM_PRIORITY: Final = 1
HIGH_PRIORITY: Final = 2

DEFAULT_SPREAD_PORT: Final = 4803
SPREAD_VERSION: Final = 0x05000000

MAX_GROUP_NAME: Final = 32  # with its NUL
MAX_PRIVATE_NAME: Final = 10
MAX_PROC_NAME: Final = 20  # a daemon's name, with its NUL

UNRELIABLE_MESS: Final = 0x01
RELIABLE_MESS: Final = 0x02
FIFO_MESS: Final = 0x04
CAUSAL_MESS: Final = 0x08
AGREED_MESS: Final = 0x10
SAFE_MESS: Final = 0x20
REGULAR_MESS: Final = 0x3F
SELF_DISCARD: Final = 0x40

CAUSED_BY_JOIN: Final = 0x100
CAUSED_BY_LEAVE: Final = 0x200
CAUSED_BY_DISCONNECT: Final = 0x400
CAUSED_BY_NETWORK: Final = 0x800
REG_MEMB_MESS: Final = 0x1000
TRANSITION_MESS: Final = 0x2000
MEMBERSHIP_MESS: Final = 0x3F00

ENDIAN_RESERVED: Final = -2147483520  # 0x80000080, signed as in C
RESERVED: Final = 0x3FC000
REJECT_MESS: Final = 0x400000
DROP_RECV: Final = 0x1000000

ACCEPT_SESSION: Final = 1
ILLEGAL_SPREAD: Final = -1
COULD_NOT_CONNECT: Final = -2
REJECT_QUOTA: Final = -3
REJECT_NO_NAME: Final = -4
REJECT_ILLEGAL_NAME: Final = -5
REJECT_NOT_UNIQUE: Final = -6
REJECT_VERSION: Final = -7
CONNECTION_CLOSED: Final = -8
REJECT_AUTH: Final = -9
ILLEGAL_SESSION: Final = -11
ILLEGAL_SERVICE: Final = -12
ILLEGAL_MESSAGE: Final = -13
ILLEGAL_GROUP: Final = -14
BUFFER_TOO_SHORT: Final = -15
GROUPS_TOO_SHORT: Final = -16
MESSAGE_TOO_LONG: Final = -17

DEFAULT_BUFFER_SIZE: Final = 10000
DEFAULT_GROUPS_SIZE: Final = 10

ERROR_TEXTS: Final[dict[int, str]] = {
    ILLEGAL_SPREAD: "Illegal spread was provided",
    COULD_NOT_CONNECT: "Could not connect. Is Spread running?",
    REJECT_QUOTA: "Connection rejected, too many users",
    REJECT_NO_NAME: "Connection rejected, no name was supplied",
    REJECT_ILLEGAL_NAME: "Connection rejected, illegal name",
    REJECT_NOT_UNIQUE: "Connection rejected, name not unique",
    REJECT_VERSION: "Connection rejected, library does not fit daemon",
    CONNECTION_CLOSED: "Connection closed by spread",
    REJECT_AUTH: "Connection rejected, authentication failed",
    ILLEGAL_SESSION: "Illegal session was supplied",
    ILLEGAL_SERVICE: "Illegal service request",
    ILLEGAL_MESSAGE: "Illegal message",
    ILLEGAL_GROUP: "Illegal group",
    BUFFER_TOO_SHORT: "The supplied buffer was too short",
    GROUPS_TOO_SHORT: "The supplied groups list was too short",
    MESSAGE_TOO_LONG: "The message body + group names was too large to fit in a message",
}
UNKNOWN_ERROR_TEXT: Final = "unrecognized error"
REJECT_CODES: Final = frozenset({REJECT_QUOTA, REJECT_ILLEGAL_NAME, REJECT_NOT_UNIQUE, REJECT_VERSION, REJECT_AUTH})

# What travels besides ------------------------------------------------------------------------------------------------------

JOIN_MESS: Final = 0x10000
LEAVE_MESS: Final = 0x20000
KILL_MESS: Final = 0x40000
REQUEST_MESS: Final = JOIN_MESS | LEAVE_MESS | KILL_MESS
ENDIAN_BITS: Final = 0x80000080  # ENDIAN_RESERVED as it travels: set by a little-endian writer
HINT_BITS: Final = 0x00FFFF00  # where the hint carries the 16 bits of the message type

CLIENT_VERSION: Final = (5, 0, 1)  # what we say we are; the daemon asks for the NULL authentication of it
DAEMON_MAJOR_MIN: Final = 4  # older ones write membership bodies in another form
NAME_BYTES: Final = 32  # of a name's field on the wire
HEADER_BYTES: Final = 48
REJECT_BYTES: Final = 4  # the refused message's type, between header and groups of a REJECT
GROUP_ID_BYTES: Final = 12
AUTH_NAME_BYTES: Final = 30
AUTH_CHOICE_BYTES: Final = 3 * AUTH_NAME_BYTES
AUTH_NULL: Final = "NULL"

# 48 + 32 * groups + data <= 143200, 100 fragments of 1432: one byte more of data kills a whole 5.0.1 daemon
MESSAGE_BYTES_MAX: Final = 143_200
DATA_AND_GROUPS_MAX: Final = MESSAGE_BYTES_MAX - HEADER_BYTES  # 143152
GROUPS_MAX: Final = 43  # with 44 and more a 5.0.1 daemon delivers to nobody, silently
GROUP_NAME_MAX: Final = MAX_GROUP_NAME - 1
NAME_FIRST, NAME_LAST = 0x24, 0x7E  # '$'..'~': what names are made of
# What we accept of a daemon: views are larger than messages. 30,000 members, twice, and no more.
RECEIVED_BYTES_MAX: Final = 2 * 1024 * 1024
