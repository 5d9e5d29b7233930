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
from msgspec import Meta, Struct
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from common import protocol
from common.bus.contract import PAYLOAD_BYTES_MAX
from common.protocol import Address, ClbControl, Message, ProtocolError

MAGIC = b"VMH1"
SIGNATURE_BYTES = 64
SKEW_S = 30.0  # how far two hosts' clocks may stand apart before messages count as expired or from the future
TTL_S_MAX = 3600.0  # a message may be valid this long
TO_MAX = 10_000  # names in one envelope
ID_MAX = 2**63 - 1
WINDOW = 64  # ids remembered of one sender; ids rise, so what lies below the window counts as received
HELLO_BYTES_MAX = 65_536  # a hello by an unknown key

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

    @property
    def silent(self) -> bool:
        """Neither to be logged nor to be counted as a fault: what comes by a group is often for others of the group."""
        return self.reason == "not-addressed"


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
    sender: Address
    id: Annotated[int, Meta(gt=0, le=ID_MAX)]
    to: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=TO_MAX)]
    in_reply_to: Annotated[int, Meta(ge=0, le=ID_MAX)]
    created: Annotated[float, Meta(ge=0, le=1e11)]
    ttl_s: Annotated[float, Meta(gt=0, le=TTL_S_MAX)]
    epoch: Annotated[int, Meta(ge=0, le=ID_MAX)]
    body: bytes


class Keys(Protocol):
    """Whose key we know, and what we think of it."""

    def find(self, sender: str) -> tuple[VerifyKey, Role, Literal["accepted", "pending", "rejected"]] | None: ...


_header_decoder = msgspec.msgpack.Decoder(_Header)
_header_encoder = msgspec.msgpack.Encoder()


class Sealer:
    """Signs what one daemon says. Ids rise strictly, also over restarts, because they start from the clock in ns.

    One thread takes ids; what it seals must reach the bus in that order, or receivers take it for a replay."""

    def __init__(self, name: str, key: SigningKey, last_id: int = 0) -> None:
        """`last_id`: one above those of earlier runs, where the clock was set back meanwhile."""
        self.name = name
        self.last_id = last_id
        self._key = key

    def next_id(self, now: float) -> int:
        self.last_id = max(self.last_id + 1, int(now * 1e9))
        return self.last_id

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
        """`id`: one taken from next_id before, when the caller must know it; else the next. Raises ProtocolError for what no
        receiver would take."""
        header = _Header(self.name, id or self.next_id(now), to, in_reply_to, now, ttl_s, epoch, protocol.encode(message))
        encoded = _encoded(header)
        return MAGIC + self._key.sign(MAGIC + encoded).signature + encoded


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
        self._seen: dict[str, set[int]] = {}  # ids above the floor

    def open(self, data: bytes, now: float) -> Envelope:
        """Raises Rejected, and nothing else, whatever the bytes are."""
        header, encoded, signature = _split(data)
        if self.addresses.isdisjoint(header.to):  # before the signature, whose check costs 100 times as much
            raise Rejected("not-addressed", header.sender, f"is for {', '.join(header.to[:5])}")
        role = self._verified(header, encoded, signature)
        _check_time(header, now)
        self._check_fresh(header)
        return self._admitted(header, role, self._message(header))

    def admit(self, said: Envelope, now: float) -> Envelope:
        """The checks beside signature and form, for who carries envelopes as values (sim/failover). Raises Rejected."""
        if self.addresses.isdisjoint(said.to):
            raise Rejected("not-addressed", said.sender, f"is for {', '.join(said.to[:5])}")
        _check_time(said, now)
        self._check_fresh(said)
        return self._admitted(said, said.role, said.message)

    def _admitted(self, header: _Header | Envelope, role: Role, message: Message) -> Envelope:
        self._check_role(header, role, message)
        self._remember(header)
        if isinstance(header, Envelope):
            return header
        return Envelope(
            header.sender, role, header.id, header.to, header.in_reply_to,
            header.created, header.ttl_s, header.epoch, message,
        )  # fmt: skip

    def floors(self) -> dict[str, int]:
        """What to persist, so that nothing is accepted twice over a restart."""
        return dict(self._floors) | {sender: max(ids) for sender, ids in self._seen.items() if ids}

    def forget(self, sender: str) -> None:
        """To be called when a sender gets another key: its ids start anew, and a clock that was wrong no longer counts."""
        self._floors.pop(sender, None)
        self._seen.pop(sender, None)

    def _verified(self, header: _Header, encoded: bytes, signature: bytes) -> Role:
        sender = header.sender
        known = self._keys.find(sender)
        if known is None:
            raise Rejected("unknown-key", sender, f"{sender} has no key here")
        key, role, state = known
        try:
            key.verify(MAGIC + encoded, signature)
        except BadSignatureError:
            raise Rejected("bad-signature", sender, f"the signature is not made by the key of {sender}") from None
        if state == "pending":
            raise Rejected("pending-key", sender, f"the key of {sender} waits to be accepted")
        if state != "accepted":
            raise Rejected("rejected-key", sender, f"the key of {sender} was rejected")
        return role

    def _check_fresh(self, header: _Header | Envelope) -> None:
        if header.id <= self._floors.get(header.sender, 0) or header.id in self._seen.get(header.sender, ()):
            raise Rejected("replayed", header.sender, f"message {header.id} of {header.sender} was received before")

    @staticmethod
    def _message(header: _Header) -> Message:
        try:
            return protocol.decode(header.body)
        except protocol.ProtocolError as fault:
            raise Rejected("garbage", header.sender, str(fault)) from None

    def _check_role(self, header: _Header | Envelope, role: Role, message: Message) -> None:
        allowed = (*protocol.FROM_MANAGER, ClbControl) if role == "manager" else protocol.FROM_CLIENT
        if not isinstance(message, allowed):
            raise Rejected("not-its-to-say", header.sender, f"{protocol.kind(message)} from a {role}")
        if role == "manager" and isinstance(message, (protocol.Execute, protocol.Control)):
            if header.epoch < self.epoch:
                raise Rejected("old-epoch", header.sender, f"epoch {header.epoch}, now is {self.epoch}")
            self.epoch = header.epoch

    def _remember(self, header: _Header | Envelope) -> None:
        ids = self._seen.setdefault(header.sender, set())
        ids.add(header.id)
        if len(ids) > WINDOW:  # a sender that says a million things costs us no more than one that says a hundred
            old = sorted(ids)[: WINDOW // 2]
            ids.difference_update(old)
            self._floors[header.sender] = old[-1]


def _check_time(header: _Header | Envelope, now: float) -> None:
    age_s, sender = now - header.created, header.sender
    if not age_s <= header.ttl_s + SKEW_S:  # also true for NaN
        raise Rejected("expired", sender, f"made {age_s:.0f} s ago by the clock of {sender}, valid {header.ttl_s:.0f} s")
    if age_s < -SKEW_S:
        raise Rejected("future", sender, f"made {-age_s:.0f} s in the future by the clock of {sender}")


def introduced(data: bytes, now: float | None = None) -> tuple[str, bytes, ClbControl] | None:
    """(sender, raw public key, hello) when `data` is a hello that carries a key and is signed by that very key; else None.

    For senders whose key is not known yet: the manager keeps it as pending. Proves possession of the key, nothing else. With
    `now`, an old hello raises Rejected: else anybody can send what a host said before it got its present key, and a host whose
    clock is off must be told apart from a stranger. Who calls this for strangers must limit how often (ratelimit.Bucket): a
    signature check costs 0.1 ms."""
    if len(data) > HELLO_BYTES_MAX:
        return None
    try:
        header, encoded, signature = _split(data)
        hello = protocol.decode(header.body)
        if not isinstance(hello, ClbControl) or hello.verb != "hello" or not protocol.valid_name(header.sender):
            return None
        raw = hello.values.get("key")
        if not isinstance(raw, str):
            return None
        public = bytes.fromhex(raw)
        VerifyKey(public).verify(MAGIC + encoded, signature)
    except (Rejected, ProtocolError, ValueError, BadSignatureError):
        return None
    if now is not None:
        _check_time(header, now)
    return header.sender, public, hello


def _encoded(header: _Header) -> bytes:
    try:
        encoded = _header_encoder.encode(header)
        _header_decoder.decode(encoded)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as fault:
        raise ProtocolError(f"cannot seal: {_short(fault)}") from None
    if len(MAGIC) + SIGNATURE_BYTES + len(encoded) > PAYLOAD_BYTES_MAX:
        raise ProtocolError(f"cannot seal: {len(encoded)} bytes, the limit is {PAYLOAD_BYTES_MAX} with the envelope")
    return encoded


def _split(data: bytes) -> tuple[_Header, bytes, bytes]:
    """Header, its bytes, the signature over MAGIC and these bytes."""
    start = len(MAGIC) + SIGNATURE_BYTES
    if not start < len(data) <= PAYLOAD_BYTES_MAX or not data.startswith(MAGIC):
        raise Rejected("garbage", "", "not an envelope")
    encoded = data[start:]
    try:
        header = _header_decoder.decode(encoded)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as fault:
        raise Rejected("garbage", "", f"not an envelope: {_short(fault)}") from None
    return header, encoded, data[len(MAGIC) : start]


def _short(fault: Exception) -> str:
    """Faults quote what they found, and that may be anything."""
    return ascii(str(fault)[:200])[1:-1]
