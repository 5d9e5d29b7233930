"""Many clients in one process: real client cores over real sockets, only their readers are replaced by a value of a given size.

`python -m bench.fleetclients --daemon PORT@HOST --first 0 --count 500 --bytes 10000 --local-keys DIR`. Each client has a
key, a session, an envelope and a core of its own; one epoll loop serves them all. Prints `ready` when all have said hello.
"""

from __future__ import annotations

import argparse
import heapq
import selectors
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from nacl.signing import SigningKey

from common import VERSION
from common.bus import spread
from common.bus.contract import Opened
from common.bus.fragments import Assembler, frames
from common.bus.names import private_name
from common.config.model import BusConfig, ClientConfig, PropertyConfig, Where
from common.envelope import Opener, Rejected, Sealer
from common.keys import Keyring, publish_local, raw_public, scan_local
from common.protocol import GROUP_CLIENTS
from vmclient.events import Arrived, BusChanged, Effect, Event, Moment, Read, ReadDone, Send, Tick, WakeAt
from vmclient.host import Facts, Host


def moment() -> Moment:
    return Moment(time.time(), time.monotonic())


class Core:
    """One client. `value` is what its properties read as."""

    def __init__(self, config: ClientConfig, value: str, local_keys: Path, managers: Keyring) -> None:
        key = SigningKey.generate()
        publish_local(local_keys, config.name, "client", key)
        groups = (GROUP_CLIENTS, *config.groups)
        self.config = config
        self.mailbox = spread.connect(config.bus.daemon, private_name(config.name), 0, 0)
        for group in groups:
            self.mailbox.join(group)
        self._value = value
        self._opener = Opener((config.name, *groups), managers)
        self._sealer = Sealer(config.name, key)
        self._assembler = Assembler()
        self._sent = 0
        self._host = Host(config, Facts(VERSION, "bench", time.time(), raw_public(key).hex()), moment())
        self.wake = 0.0

    def step(self, event: Event) -> None:
        """One event, and all that it brings."""
        waiting = deque([event])
        while waiting:
            now = moment()
            for effect in self._host.step(waiting.popleft(), now):
                waiting += self._perform(effect, now)

    def received(self) -> None:
        for message in self.mailbox.receive_available():
            if not isinstance(message, spread.RegularMsgType):
                continue
            payload = self._assembler.receive(message.sender, message.msg_type, message.message, time.monotonic())
            if payload is None:
                continue
            try:
                envelope = self._opener.open(payload, time.time())
            except Rejected as fault:
                if fault.reason != "not-addressed":
                    print(f"{self._sealer.name}: {fault}", file=sys.stderr)
                continue
            self.step(Arrived(envelope))

    def _perform(self, effect: Effect, now: Moment) -> list[Event]:
        """What comes of it at once."""
        if isinstance(effect, WakeAt):
            self.wake = effect.mono
        elif isinstance(effect, Read):
            return [self._read(effect.property, now)]
        elif isinstance(effect, Send):
            self._send(effect, now)
        return []

    def _read(self, one: PropertyConfig, now: Moment) -> ReadDone:
        return ReadDone(one.name, self._value, "", "", now.mono)

    def _send(self, effect: Send, now: Moment) -> None:
        payload = self._sealer.seal(
            effect.message, effect.to, now.wall, ttl_s=effect.ttl_s, in_reply_to=effect.in_reply_to, epoch=self._host.epoch
        )
        self._sent += 1
        for frame in frames(effect.to, payload, self._sent):
            self.mailbox.multigroup_multicast(spread.AGREED_MESS, frame.groups, frame.data, frame.kind)


def serve(cores: Sequence[Core]) -> None:
    """For ever: what arrives, and what is due."""
    selector = selectors.DefaultSelector()
    for core in cores:
        selector.register(core.mailbox.fileno(), selectors.EVENT_READ, core)
    order = {core: at for at, core in enumerate(cores)}
    due = [(core.wake, at) for core, at in order.items()]  # may hold times that are no longer true; those do no harm
    heapq.heapify(due)
    while True:
        for key, _ in selector.select(max(0.0, due[0][0] - time.monotonic())):
            core = key.data
            before = core.wake
            core.received()
            if core.wake != before:
                heapq.heappush(due, (core.wake, order[core]))
        while due[0][0] <= (now := time.monotonic()):
            at = heapq.heappop(due)[1]
            if cores[at].wake <= now:
                cores[at].step(Tick())
                heapq.heappush(due, (max(cores[at].wake, now + 0.001), at))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--daemon", required=True)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--count", type=int, required=True)
    options.add_argument("--bytes", type=int, required=True)
    options.add_argument("--ticks", type=float, default=-1.0)
    options.add_argument("--local-keys", type=Path, required=True)
    given = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    managers = trusted(given.local_keys)
    names = [f"node{at:04d}.bench" for at in range(given.first, given.first + given.count)]
    blob = PropertyConfig("blob", "blob", Where("fleet"), ticks=given.ticks)
    configs = [ClientConfig(name, groups=("fleet",), bus=BusConfig(daemon=given.daemon), properties=(blob,)) for name in names]
    run([Core(config, "x" * given.bytes, given.local_keys, managers) for config in configs])


def trusted(local_keys: Path) -> Keyring:
    """The managers whose keys lie there."""
    managers = Keyring()
    managers.update((name, raw, role, "accepted") for name, raw, role in scan_local(local_keys).accepted if role == "manager")
    return managers


def run(cores: Sequence[Core]) -> None:
    """Has all of them say hello, and serves them."""
    for core in cores:
        core.step(BusChanged(Opened(core.mailbox.private_group)))
    print("ready", flush=True)
    serve(cores)


if __name__ == "__main__":
    main()
