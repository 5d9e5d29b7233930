"""Envelopes as values: what a Sealer makes, without the signature. Messages go through their wire form: nobody shares one."""

from __future__ import annotations

from common import protocol
from common.envelope import Envelope, Role
from common.protocol import Message


class Writer:
    """Ids rise strictly, also over restarts, as those of common/envelope.Sealer do."""

    def __init__(self, name: str, role: Role) -> None:
        self._name = name
        self._role: Role = role
        self._last_id = 0

    def write(
        self, message: Message, to: tuple[str, ...], now: float, ttl_s: float, in_reply_to: int, epoch: int, id: int
    ) -> Envelope:
        self._last_id = max(self._last_id + 1, int(now * 1e9))
        whole = protocol.carried(message)
        return Envelope(self._name, self._role, id or self._last_id, to, in_reply_to, now, ttl_s, epoch, whole)
