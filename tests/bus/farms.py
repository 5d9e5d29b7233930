"""Something to open buses on, for tests that run over every engine: each farm is a place where ends meet."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

from common.bus import spread
from common.bus.contract import Bus, Opened, Received, View
from common.bus.memory import MemoryHub
from common.bus.spreadbus import SpreadBus
from common.bus.vmbus.config import BusDaemonConfig
from common.bus.vmbus.server import Server
from common.config.model import BusConfig

LIMIT_S = 20.0
T = TypeVar("T", bound=Received)


class Farm(Protocol):
    """`mark` makes names of groups that no other test uses on the same daemon."""

    mark: str
    restartable: bool

    def open(self, name: str, membership: bool = True) -> Bus: ...

    def doomed(self, group: str) -> tuple[str, Callable[[], None]]:
        """A member of `group` that dies without a word when the second value is called; the first is its address."""

    def stop(self) -> None: ...

    def start(self) -> None: ...


class MemoryFarm:
    mark = ""
    restartable = True

    def __init__(self) -> None:
        self._hub = MemoryHub()

    def open(self, name: str, membership: bool = True) -> Bus:
        return self._hub.open(name, membership=membership)

    def doomed(self, group: str) -> tuple[str, Callable[[], None]]:
        end = self._hub.open("doomed", membership=False)
        end.join(group)
        address = end.name

        def die() -> None:
            self._hub.kick(address, away=True)

        return address, die

    def stop(self) -> None:
        self._hub.stop()

    def start(self) -> None:
        self._hub.start()


class SpreadFarm:
    """Ends of SpreadBus on a daemon that runs anyway."""

    restartable = False

    def __init__(self, daemon: str, module: Any = spread, mark: str = "") -> None:
        self.daemon = daemon
        self.mark = mark
        self._module = module
        self._numbers = itertools.count()

    def open(self, name: str, membership: bool = True) -> Bus:
        config = BusConfig(daemon=self.daemon, reconnect_min_s=0.02, reconnect_max_s=0.2)
        return SpreadBus(self._module, config, f"{name}{self.mark}", membership=membership)

    def doomed(self, group: str) -> tuple[str, Callable[[], None]]:
        mailbox = spread.connect(self.daemon, f"d{next(self._numbers)}{self.mark}", 0, 0)
        mailbox.join(group)
        return mailbox.private_group, mailbox.disconnect

    def stop(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError


class VmbusFarm(SpreadFarm):
    """A vmbus of our own in a thread."""

    restartable = True

    def __init__(self, module: Any = spread, config: BusDaemonConfig | None = None) -> None:
        self._config = config or BusDaemonConfig(port=0)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self.start()
        super().__init__(f"{self._config.port}@127.0.0.1" if config is None else str(self._config.unix_path), module)

    def start(self) -> None:
        self._server = Server(self._config)
        self._config = BusDaemonConfig(port=self._server.address[1], unix_path=self._config.unix_path)
        self._thread = threading.Thread(target=self._server.serve)
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join(LIMIT_S)
            self._server = self._thread = None


def plain_module() -> Any:
    """Our client with nothing but SpreadModule's API, as the C extension has it."""

    class Mailbox:
        def __init__(self, mailbox: spread.MailboxType) -> None:
            for method in ("join", "leave", "multicast", "multigroup_multicast", "receive", "poll", "fileno", "disconnect"):
                setattr(self, method, getattr(mailbox, method))
            self.private_group = mailbox.private_group

    return SimpleNamespace(connect=lambda *arguments: Mailbox(spread.connect(*arguments)), error=spread.error)


@contextmanager
def farm_of(kind: str, tmp_path: Any) -> Iterator[Farm]:
    """`kind` is one of KINDS; for `spread` the environment must name a daemon."""
    if kind == "memory":
        yield MemoryFarm()
        return
    if kind == "spread":
        yield SpreadFarm(os.environ["VMHERD_SPREAD"], mark=f"{random.randrange(36**3):03x}")
        return
    if kind == "vmbus-unix":
        farm = VmbusFarm(config=BusDaemonConfig(port=0, unix_path=tmp_path / "bus"))
    else:
        farm = VmbusFarm(plain_module() if kind == "vmbus-plain" else spread)
    try:
        yield farm
    finally:
        farm.stop()


KINDS = ("memory", "vmbus", "vmbus-unix", "vmbus-plain", *(["spread"] if os.environ.get("VMHERD_SPREAD") else []))


def until(bus: Bus, wanted: Callable[[Received], bool], limit_s: float = LIMIT_S) -> list[Received]:
    """What `bus` gives, up to and with the first that is wanted."""
    got: list[Received] = []
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        item = bus.receive(max(0.0, end - time.monotonic()))
        if item is not None:
            got.append(item)
            if wanted(item):
                return got
    raise AssertionError(f"not within {limit_s} s; got {[*map(_short, got)]}")


def next_of(bus: Bus, kind: type[T], limit_s: float = LIMIT_S) -> T:
    item = until(bus, lambda item: isinstance(item, kind), limit_s)[-1]
    assert isinstance(item, kind)
    return item


def nothing_more(bus: Bus, other: Bus) -> list[Received]:
    """What `bus` still gives before a message that `other` sends to it now: total order makes this a proof, without waiting."""
    other.send((bus.name,), b"end of test")
    return until(bus, lambda item: getattr(item, "payload", None) == b"end of test")[:-1]


def _short(item: Received) -> str:
    return repr(item)[:200] if not isinstance(item, View | Opened) else repr(item)
