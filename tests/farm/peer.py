"""A peer on the farm's bus that says what a test makes it say: a second manager, a client with a wrong clock, an enemy."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from common.bus.contract import Bus, Closed, Delivery
from common.bus.open import open_bus
from common.config.model import BusConfig
from common.envelope import Envelope, Opener, Rejected, Role, Sealer
from common.keys import Keyring, own_key, publish_local, raw_public, scan_local
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, ClbControl, Message, Value
from tests.farm.farm import LIMIT_S

RECEIVE_S = 0.2
M = TypeVar("M")


class Peer:
    """A session with a key of its own, which lies in the farm's folder of local keys if `role` is given."""

    def __init__(self, folder: Path, port: int, name: str, role: Role | None) -> None:
        self.name = name
        self.key = own_key(folder / name / "state", name)
        if role:
            publish_local(folder / "keys", name, role, self.key)
        ring = Keyring()
        for known, raw, of in scan_local(folder / "keys").accepted:
            ring.set(known, raw, of, "accepted")
        self.sealer = Sealer(name, self.key)
        self._opener = Opener((name, GROUP_MANAGERS, GROUP_CLIENTS), ring)
        self.bus: Bus = open_bus(BusConfig(daemon=f"{port}@127.0.0.1"), name, membership=False)
        while not self.bus.name:
            self.bus.receive(RECEIVE_S)

    def close(self) -> None:
        self.bus.close()
        while not isinstance(got := self.bus.receive(RECEIVE_S), Closed) or not got.final:
            pass

    def say(self, message: Message, to: str, *, clock_s: float = 0.0, epoch: int = 0, reply: int = 0) -> int:
        """Sealed by our key, with a clock that is `clock_s` ahead. To a group, or to a member of `clients`. Returns the id."""
        now = time.time() + clock_s
        id = self.sealer.next_id(now)
        group = to if to in (GROUP_MANAGERS, GROUP_CLIENTS) else GROUP_CLIENTS
        self.bus.send((group,), self.sealer.seal(message, (to,), now, epoch=epoch, id=id, in_reply_to=reply))
        return id

    def hello(self, role: Role, *, clock_s: float = 0.0) -> None:
        values: dict[str, Value] = {
            "role": role,
            "key": raw_public(self.key).hex(),
            "groups": [],
            "boot_id": "peer",
            "commands": [],
        }
        self.say(ClbControl(verb="hello", values=values), GROUP_MANAGERS, clock_s=clock_s)

    def deliveries(self, wanted: Callable[[Delivery], M | None]) -> M:
        """Receives until `wanted` gives something."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            got = self.bus.receive(RECEIVE_S)
            if isinstance(got, Delivery) and (found := wanted(got)) is not None:
                return found
        raise AssertionError(f"{self.name} waited {LIMIT_S:.0f} s in vain")

    def opened(self, delivery: Delivery) -> Envelope | None:
        try:
            return self._opener.open(delivery.payload, time.time())
        except Rejected:
            return None

    def answer(self, kind: type[M], request: int) -> M:
        """The answer of this kind to a request. The peer must be in the group `managers`."""

        def wanted(delivery: Delivery) -> M | None:
            envelope = self.opened(delivery)
            fits = envelope is not None and envelope.in_reply_to == request and isinstance(envelope.message, kind)
            return envelope.message if fits and envelope is not None else None  # type: ignore[return-value]

        return self.deliveries(wanted)
