"""Payloads up to 16 MiB in frames of at most 100,000 bytes, and back. Bytes in, payloads out; time comes as a parameter.

A payload that fits one frame is the frame. A larger one travels as fragments, each with a head: the payload's id, its size,
and where the fragment belongs. A payload for more groups than one frame can name is sent once for each batch of groups; these
copies carry its id too, so that a receiver in several batches takes it once. The kind stands in Spread's 16-bit message type.
Fragments of one sender arrive in order, because the bus is ordered; whatever else comes is dropped and counted.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from common.bus.contract import PAYLOAD_BYTES_MAX

FRAME_BYTES_MAX: Final = 100_000  # data of one message; real Spread dies of 143,121
GROUPS_MAX: Final = 43  # of one message; with 44 real Spread delivers to nobody

KIND_WHOLE: Final = 0x5601  # a payload and nothing else
KIND_COPY: Final = 0x5602  # id, then a payload that is sent to several batches of groups
KIND_FRAGMENT: Final = 0x5603  # id, size, offset, then bytes
KIND_PROBE: Final = 0x5604  # from us to ourselves: does the daemon still work?

_COPY_HEAD: Final = struct.Struct("<Q")
_FRAGMENT_HEAD: Final = struct.Struct("<QII")  # id, size of the payload, offset of these bytes
FRAGMENT_BYTES_MAX: Final = FRAME_BYTES_MAX - _FRAGMENT_HEAD.size

PARTIALS_PER_SENDER: Final = 4  # our own senders have one in flight, and perhaps one that broke off
BYTES_PER_SENDER: Final = 2 * PAYLOAD_BYTES_MAX
BYTES_TOTAL: Final = 16 * PAYLOAD_BYTES_MAX  # 256 MiB; 300 clients with 100 KB each are 30 MB
SENDERS_MAX: Final = 10_000  # with something begun
OVERHEAD_BYTES: Final = 512  # counted for each payload begun, so that many small ones are bounded as well
PARTIAL_S: Final = 30.0  # without progress; a sender gives up earlier, see spreadbus.SEND_S
COPIES_SENDERS: Final = 4096  # of so many senders the last id is remembered


class Frame(NamedTuple):
    """One message on the bus: its groups, kind and data."""

    groups: tuple[str, ...]
    kind: int
    data: bytes


def frames(groups: tuple[str, ...], payload: bytes, payload_id: int) -> Iterator[Frame]:
    """How `payload` travels. `payload_id` must differ from the last ones of this sender (64 bits)."""
    batches = [groups[at : at + GROUPS_MAX] for at in range(0, len(groups), GROUPS_MAX)]
    head_bytes = _COPY_HEAD.size if len(batches) > 1 else 0
    if head_bytes + len(payload) > FRAME_BYTES_MAX:
        for batch in batches:
            yield from (Frame(batch, KIND_FRAGMENT, data) for data in _fragments(payload, payload_id))
    elif head_bytes:
        data = _COPY_HEAD.pack(payload_id) + payload
        yield from (Frame(batch, KIND_COPY, data) for batch in batches)
    else:
        yield Frame(groups, KIND_WHOLE, payload)


def _fragments(payload: bytes, payload_id: int) -> Iterator[bytes]:
    view = memoryview(payload)
    for at in range(0, len(payload), FRAGMENT_BYTES_MAX):
        yield _FRAGMENT_HEAD.pack(payload_id, len(payload), at) + view[at : at + FRAGMENT_BYTES_MAX]


@dataclass(slots=True)
class _Partial:
    size: int
    touched: float = 0.0
    data: bytearray = field(default_factory=bytearray)


class Assembler:
    """Joins fragments. What a hostile sender can make us keep is bounded, for each sender and in all."""

    def __init__(self, bytes_total: int = BYTES_TOTAL, bytes_per_sender: int = BYTES_PER_SENDER) -> None:
        self._bytes_total = bytes_total
        self._bytes_per_sender = bytes_per_sender
        self._senders: dict[str, OrderedDict[int, _Partial]] = {}  # oldest payload first
        self._held: Counter[str] = Counter()  # bytes by sender
        self._last_copy: OrderedDict[str, int] = OrderedDict()  # sender -> id of its last payload with copies or fragments
        self.bytes = 0
        self.dropped: Counter[str] = Counter()
        """Why frames or partial payloads were given up, and how often."""

    def receive(self, sender: str, kind: int, data: bytes, now: float) -> bytes | None:
        """The payload that this frame completes, if it does."""
        if kind == KIND_WHOLE:
            return data
        if kind == KIND_COPY:
            return self._copy(sender, data)
        if kind == KIND_FRAGMENT:
            return self._fragment(sender, data, now)
        if kind != KIND_PROBE:
            self.dropped["foreign message"] += 1
        return None

    def expire(self, now: float) -> None:
        """Give up payloads without progress for PARTIAL_S."""
        for sender in [*self._senders]:
            for payload_id, partial in [*self._senders[sender].items()]:
                if now - partial.touched >= PARTIAL_S:
                    self._drop(sender, payload_id, "never completed")

    def forget(self, sender: str) -> None:
        """This sender is gone: what it began will not be completed."""
        for payload_id in [*self._senders.get(sender, ())]:
            self._drop(sender, payload_id, "sender gone")
        self._last_copy.pop(sender, None)

    def _copy(self, sender: str, data: bytes) -> bytes | None:
        if len(data) < _COPY_HEAD.size:
            self.dropped["malformed"] += 1
            return None
        (payload_id,) = _COPY_HEAD.unpack_from(data)
        return data[_COPY_HEAD.size :] if self._is_first(sender, payload_id) else None

    def _is_first(self, sender: str, payload_id: int) -> bool:
        """A sender sends all copies of one payload before those of the next, so the last id is enough."""
        first = self._last_copy.pop(sender, None) != payload_id
        self._last_copy[sender] = payload_id
        if len(self._last_copy) > COPIES_SENDERS:
            self._last_copy.popitem(last=False)
        return first

    def _fragment(self, sender: str, data: bytes, now: float) -> bytes | None:
        if len(data) <= _FRAGMENT_HEAD.size:
            self.dropped["malformed"] += 1
            return None
        payload_id, size, offset = _FRAGMENT_HEAD.unpack_from(data)
        if size > PAYLOAD_BYTES_MAX or offset + len(data) - _FRAGMENT_HEAD.size > size:
            self.dropped["malformed"] += 1
            self._drop(sender, payload_id, "malformed")
            return None
        partial = self._senders.get(sender, {}).get(payload_id)
        if partial is None:
            if offset or self._last_copy.get(sender) == payload_id:
                return None  # we joined in the middle of it, gave it up, or have it
            partial = self._begin(sender, payload_id, size)
        elif offset != len(partial.data) or size != partial.size:
            self._drop(sender, payload_id, "out of order")
            return None
        return self._extend(sender, payload_id, partial, memoryview(data)[_FRAGMENT_HEAD.size :], now)

    def _extend(self, sender: str, payload_id: int, partial: _Partial, data: memoryview, now: float) -> bytes | None:
        partial.data += data
        partial.touched = now
        self._held[sender] += len(data)
        self.bytes += len(data)
        if len(partial.data) < partial.size:
            self._keep_limits(sender)
            return None
        self._remove(sender, payload_id)
        self._is_first(sender, payload_id)  # so that copies of it are known
        return bytes(partial.data)

    def _begin(self, sender: str, payload_id: int, size: int) -> _Partial:
        if len(self._senders.get(sender, ())) >= PARTIALS_PER_SENDER:
            self._drop(sender, next(iter(self._senders[sender])), "too many at once")
        if sender not in self._senders and len(self._senders) >= SENDERS_MAX:
            self.forget(next(iter(self._senders)))
        partial = self._senders.setdefault(sender, OrderedDict())[payload_id] = _Partial(size)
        self._held[sender] += OVERHEAD_BYTES
        self.bytes += OVERHEAD_BYTES
        return partial

    def _keep_limits(self, sender: str) -> None:
        while self._held[sender] > self._bytes_per_sender:
            self._drop(sender, next(iter(self._senders[sender])), "too many bytes of one sender")
        while self.bytes > self._bytes_total:
            greatest = max(self._held, key=lambda name: self._held[name])
            self._drop(greatest, next(iter(self._senders[greatest])), "too many bytes in all")

    def _drop(self, sender: str, payload_id: int, why: str) -> None:
        if payload_id in self._senders.get(sender, ()):
            self._remove(sender, payload_id)
            self.dropped[why] += 1

    def _remove(self, sender: str, payload_id: int) -> None:
        partials = self._senders[sender]
        count = len(partials.pop(payload_id).data) + OVERHEAD_BYTES
        self.bytes -= count
        self._held[sender] -= count
        if not partials:
            del self._senders[sender]
            del self._held[sender]
