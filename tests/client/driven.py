"""A Host with a pretend clock, for scenarios: say what happens, look at what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from common.bus.contract import Closed, Opened
from common.config.model import ClientConfig, GuardConfig, HypervisorConfig, PropertyConfig, PushRule, Where
from common.envelope import Envelope
from common.protocol import Message, Value
from vmclient.events import Arrived, BusChanged, Effect, Event, Loaded, Moment, Note, Read, ReadDone, Send, Tick, WakeAt
from vmclient.host import Facts, Host

E = TypeVar("E")
FACTS = Facts("0.1.0", "boot-1", 1000.0, "ab" * 32)
COMMANDS = {"log": "", "service": "name", "exec": "", "vm-start": "vm", "vm-restore": "vm", "vm-migrate": "vm"}


def prop(name: str, *, ticks: float = 60.0, push: PushRule = "no", return_type: str = "int", keep: int = 10) -> PropertyConfig:
    kind = {"int": "int", "": ""}[return_type]
    return PropertyConfig(name, "ram", Where("p.ini", 1), return_type=kind, ticks=ticks, push=push, keep=keep)  # type: ignore[arg-type]


class Driven:
    """`effects` holds all of the last step; time moves by `after`."""

    def __init__(
        self,
        *properties: PropertyConfig,
        allow: tuple[str, ...] = ("log", "service"),
        parallel: int = 2,
        begun: Mapping[str, int] | None = None,
        ended: Mapping[str, float] | None = None,
        loaded: bool = True,
        connected: bool = True,
        push_bytes: int = 1_048_576,
        hypervisor: HypervisorConfig | None = None,
        failover: GuardConfig | None = None,
    ) -> None:
        self.wall, self.mono = 1_000_000.0, 500.0
        self.config = ClientConfig(
            "xen1",
            ("dom0",),
            properties=properties,
            allow=allow,
            parallel=parallel,
            push_bytes_per_s_max=push_bytes,
            hypervisor=hypervisor or HypervisorConfig(),
            failover=failover or GuardConfig(),
        )
        self.host = Host(self.config, FACTS, self.now, begun=begun, ended=ended, epoch=3)
        self.wake = float("inf")
        self.effects: list[Effect] = []
        self.ids = 100
        if loaded:
            self.step(Loaded(("ram",), COMMANDS))
        if connected:
            self.open()

    @property
    def now(self) -> Moment:
        return Moment(self.wall, self.mono)

    def step(self, event: Event) -> list[Effect]:
        self.effects = self.host.step(event, self.now)
        wake = self.effects.pop()
        assert isinstance(wake, WakeAt)
        self.wake = wake.mono
        return self.effects

    def open(self) -> list[Effect]:
        return self.step(BusChanged(Opened("#xen1#h")))

    def close(self) -> list[Effect]:
        return self.step(BusChanged(Closed("cut")))

    def after(self, seconds: float) -> list[Effect]:
        self.wall += seconds
        self.mono += seconds
        return self.step(Tick())

    def until_wake(self) -> list[Effect]:
        return self.after(max(0.0, self.wake - self.mono))

    def until_reads(self) -> list[str]:
        """Time passes until something is read; names."""
        for _ in range(100):
            self.until_wake()
            if names := [read.property.name for read in self.found(Read)]:
                return names
        raise AssertionError("nothing is ever read")

    def ask(self, message: Message, *, id: int = 0, ttl_s: float = 60.0, sender: str = "m1", epoch: int = 3) -> int:
        self.ids += 1
        request = id or self.ids
        envelope = Envelope(sender, "manager", request, ("xen1",), 0, self.wall, ttl_s, epoch, message)
        self.step(Arrived(envelope))
        return request

    def read_done(self, name: str, value: Value = None, error: str = "", unit: str = "") -> list[Effect]:
        return self.step(ReadDone(name, value, error, unit, self.mono))

    def found(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def said(self, request: int | None = None) -> list[Message]:
        return [send.message for send in self.found(Send) if request is None or send.in_reply_to == request]

    def notes(self) -> list[str]:
        return [note.text for note in self.found(Note)]
