"""The envelope around every message: who says it, to whom, when, in whose reign, signed with Ed25519.

Bytes in, Envelope out or one Rejected with its reason. No clock, no socket: `now` comes in as wall-clock seconds since the
epoch, because expiry is checked across hosts. Wire form: MAGIC, 64 bytes of signature, msgpack header whose last field is the
message's bytes; the signature covers MAGIC and all that follows it. See docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta, Struct

from common import protocol
from common.protocol import ClbControl, Message, Name

MAGIC = b"VMH1"
SIGNATURE_BYTES = 64
SKEW_S = 30.0  # how far two hosts' clocks may stand apart before messages count as expired or from the future
TTL_S_MAX = 3600.0  # a message may be valid this long; it bounds what a receiver must remember against replay
TO_MAX = 10_000  # names in one envelope
ID_MAX = 2**63 - 1

Role = Literal["manager", "client"]
Reason = Literal[
    "garbage",  # not an envelope, or not a message inside
    "unknown-key",  # the sender has no key here (a hello gives it one, pending)
    "pending-key",  # known, but no operator has accepted it yet
    "rejected-key",  # an operator refused it
    "bad-signature",
    "expired",
    "future",
    "replayed",
    "not-addressed",  # signed for others
    "old-epoch",  # from a manager that leads no longer
    "not-its-to-say",  # a client that commands, a manager that answers, a name spoken for another
]


class Rejected(Exception):
    """One envelope that must be dropped. `sender` is who it claims to be from, empty when unreadable."""

    def __init__(self, reason: Reason, sender: str, text: str) -> None:
        super().__init__(text)
        self.reason: Reason = reason
        self.sender = sender


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message whose signature, age, order, addressee and role have been checked."""

    sender: str
    role: Role
    id: int
    to: tuple[str, ...]
    in_reply_to: int
    created: float
    ttl_s: float
    epoch: int
    message: Message


class _Header(Struct, frozen=True, array_like=True):
    sender: Name
    id: Annotated[int, Meta(gt=0, le=ID_MAX)]
    to: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=TO_MAX)]
    in_reply_to: Annotated[int, Meta(ge=0, le=ID_MAX)]
    created: float
    ttl_s: Annotated[float, Meta(gt=0, le=TTL_S_MAX)]
    epoch: Annotated[int, Meta(ge=0, le=ID_MAX)]
    body: bytes


class Keys(Protocol):
    """Whose key we know, and what we think of it."""

    def find(self, sender: str) -> tuple[Ed25519PublicKey, Role, Literal["accepted", "pending", "rejected"]] | None: ...


_header_decoder = msgspec.msgpack.Decoder(_Header)
_header_encoder = msgspec.msgpack.Encoder()


class Sealer:
    """Signs what one daemon says. Ids rise strictly, also over restarts, because they start from the clock in ns."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self.name = name
        self._key = key
        self._last_id = 0

    def next_id(self, now: float) -> int:
        self._last_id = max(self._last_id + 1, int(now * 1e9))
        return self._last_id

    def seal(
        self,
        message: Message,
        to: tuple[str, ...],
        now: float,
        *,
        ttl_s: float = 60.0,
        in_reply_to: int = 0,
        epoch: int = 0,
        id: int = 0,
    ) -> bytes:
        """`id`: one taken from next_id before, when the caller must know it; else the next. Raises ProtocolError."""
        header = _Header(self.name, id or self.next_id(now), to, in_reply_to, now, ttl_s, epoch, protocol.encode(message))
        signed = MAGIC + _header_encoder.encode(header)
        return MAGIC + self._key.sign(signed) + signed[len(MAGIC) :]


class Opener:
    """Checks what arrives for one daemon. Holds what replay and epoch checks must remember; the owner persists it.

    `addresses` are the names and groups this daemon answers to. `epoch` is the highest reign seen; older managers' EXECUTE and
    CONTROL are refused. `floors` are, per sender, ids at or below which everything counts as replayed (from before a restart).
    """

    def __init__(self, addresses: Collection[str], keys: Keys, *, epoch: int = 0, floors: dict[str, int] | None = None) -> None:
        self.addresses = frozenset(addresses)
        self.epoch = epoch
        self._keys = keys
        self._floors = dict(floors or {})
        self._seen: dict[str, dict[int, float]] = {}  # sender -> id -> forget after (wall clock)

    def open(self, data: bytes, now: float) -> Envelope:
        """Raises Rejected, and nothing else, whatever the bytes are."""
        header, role = self._verified(data)
        self._check_time(header, now)
        if not self.addresses.intersection(header.to):
            raise Rejected("not-addressed", header.sender, f"signed for {', '.join(header.to[:5])}")
        self._check_fresh(header, now)
        message = self._message(header)
        self._check_role(header, role, message)
        self._remember(header, now)
        return Envelope(
            header.sender, role, header.id, header.to, header.in_reply_to,
            header.created, header.ttl_s, header.epoch, message,
        )  # fmt: skip

    def floors(self) -> dict[str, int]:
        """What to persist, so that nothing is accepted twice over a restart."""
        return dict(self._floors) | {sender: max(ids) for sender, ids in self._seen.items() if ids}

    def _verified(self, data: bytes) -> tuple[_Header, Role]:
        header, signed, signature = _split(data)
        known = self._keys.find(header.sender)
        if known is None:
            raise Rejected("unknown-key", header.sender, f"{header.sender} has no key here")
        key, role, state = known
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            raise Rejected("bad-signature", header.sender, f"the signature is not made by the key of {header.sender}") from None
        if state == "pending":
            raise Rejected("pending-key", header.sender, f"the key of {header.sender} waits to be accepted")
        if state == "rejected":
            raise Rejected("rejected-key", header.sender, f"the key of {header.sender} was rejected")
        return header, role

    @staticmethod
    def _check_time(header: _Header, now: float) -> None:
        age_s = now - header.created
        if not age_s <= header.ttl_s + SKEW_S:  # also true for NaN
            raise Rejected(
                "expired",
                header.sender,
                f"made {age_s:.0f} s ago by the clock of {header.sender}, valid {header.ttl_s:.0f} s",
            )
        if age_s < -SKEW_S:
            raise Rejected("future", header.sender, f"made {-age_s:.0f} s in the future by the clock of {header.sender}")

    def _check_fresh(self, header: _Header, now: float) -> None:
        if header.id <= self._floors.get(header.sender, 0) or header.id in self._seen.get(header.sender, {}):
            raise Rejected("replayed", header.sender, f"message {header.id} of {header.sender} was received before")

    @staticmethod
    def _message(header: _Header) -> Message:
        try:
            return protocol.decode(header.body)
        except protocol.ProtocolError as fault:
            raise Rejected("garbage", header.sender, str(fault)) from None

    def _check_role(self, header: _Header, role: Role, message: Message) -> None:
        allowed = (*protocol.FROM_MANAGER, ClbControl) if role == "manager" else protocol.FROM_CLIENT
        if not isinstance(message, allowed):
            raise Rejected("not-its-to-say", header.sender, f"{protocol.kind(message)} from a {role}")
        if role == "manager" and isinstance(message, (protocol.Execute, protocol.Control)):
            if header.epoch < self.epoch:
                raise Rejected("old-epoch", header.sender, f"epoch {header.epoch}, now is {self.epoch}")
            self.epoch = header.epoch

    def _remember(self, header: _Header, now: float) -> None:
        ids = self._seen.setdefault(header.sender, {})
        if len(ids) % 64 == 63:
            gone = [id for id, until in ids.items() if until < now]
            for id in gone:
                del ids[id]
            self._floors[header.sender] = max([self._floors.get(header.sender, 0), *gone])
        ids[header.id] = header.created + header.ttl_s + 2 * SKEW_S


def introduced(data: bytes) -> tuple[str, bytes, ClbControl] | None:
    """(sender, raw public key, hello) when `data` is a hello that carries a key and is signed by that very key; else None.

    For senders whose key is not known yet: the manager keeps it as pending. Proves possession of the key, nothing else."""
    try:
        header, signed, signature = _split(data)
        hello = protocol.decode(header.body)
        if not isinstance(hello, ClbControl) or hello.verb != "hello":
            return None
        raw = hello.values.get("key")
        if not isinstance(raw, str):
            return None
        public = bytes.fromhex(raw)
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (Rejected, protocol.ProtocolError, ValueError, InvalidSignature):
        return None
    return header.sender, public, hello


def _split(data: bytes) -> tuple[_Header, bytes, bytes]:
    start = len(MAGIC) + SIGNATURE_BYTES
    if len(data) <= start or not data.startswith(MAGIC):
        raise Rejected("garbage", "", "not an envelope")
    try:
        header = _header_decoder.decode(memoryview(data)[start:])
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as fault:
        raise Rejected("garbage", "", f"not an envelope: {fault}") from None
    return header, MAGIC + data[start:], data[len(MAGIC) : start]
