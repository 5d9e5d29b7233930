"""What a hypervisor can do for us: one small contract, the words it uses and the ways it fails. Knows no hypervisor.

After xenopsd's principles. Do no harm: only a domain that carries our mark is ever touched. The truth is the hypervisor's own
list, read anew each time: a back end keeps nothing that a restart of the client would lose. Every failure names the VM and the
host and leaves a state that an administrator recognises.

The mark of a domain is its UUID, made from its name: every hypervisor keeps it through save, restore and migration.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

State = Literal["starting", "running", "paused", "shutdown", "crashed", "dying", "incoming", "leaving", "unknown"]
Moved = Literal["live", "saved"]
Ended = Literal["shutdown", "destroyed"]
Progress = Callable[[str], None]

_NAMESPACE = uuid.UUID("6d6b5d0c-54f2-5a0e-9d4b-7e1d5c9a2f10")  # ours: drawn once, never to change, or no old domain is ours
DEAD: tuple[State, ...] = ("crashed", "shutdown")
"""Halted for good and still there: nothing runs, the memory is held until the domain is destroyed."""
NAMES_IN_MOTION: dict[str, State] = {"--incoming": "incoming", "--migratedaway": "leaving"}
"""What `xl migrate` adds to a name while the domain is on two hosts (xl_migrate.c)."""


def mark(name: str) -> str:
    """The UUID of our domain of this name."""
    return str(uuid.uuid5(_NAMESPACE, name))


def plain_name(name: str) -> str:
    """Without what a migration adds to it."""
    for ending in NAMES_IN_MOTION:
        name = name.removesuffix(ending)
    return name


def is_ours(name: str, domain_uuid: str) -> bool:
    """safety: a domain whose UUID is not made from its name belongs to somebody else, whatever its name."""
    return domain_uuid.lower() == mark(plain_name(name))


@dataclass(frozen=True, slots=True)
class Network:
    """One network card. `vlan` 0: untagged; otherwise the bridge `BRIDGE.VLAN`, which is Open vSwitch's notation too."""

    bridge: str
    mac: str
    vlan: int = 0

    @property
    def bridge_name(self) -> str:
        return f"{self.bridge}.{self.vlan}" if self.vlan else self.bridge


@dataclass(frozen=True, slots=True)
class Disk:
    """`device` as the guest sees it (xvda); `path`: a block device or an image file on every host that may run the VM."""

    device: str
    path: str
    read_only: bool = False
    form: Literal["raw", "qcow2"] = "raw"


@dataclass(frozen=True, slots=True)
class DomainConfig:
    """All that a back end needs to start a domain; the same for every back end.

    `native`: a hand-written xl file, used as it is but for name and UUID; then only name, memory and vcpus count here."""

    name: str
    memory_bytes: int
    memory_max_bytes: int = 0  # 0: as memory_bytes
    vcpus: int = 1
    type: Literal["pv", "pvh", "hvm"] = "pvh"
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    networks: tuple[Network, ...] = ()
    disks: tuple[Disk, ...] = ()
    native: str = ""

    @property
    def uuid(self) -> str:
        return mark(self.name)

    @property
    def ceiling_bytes(self) -> int:
        return self.memory_max_bytes or self.memory_bytes


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as the hypervisor lists it now. `note`: what an administrator should know of its state."""

    name: str
    uuid: str
    state: State
    memory_bytes: int
    vcpus: int
    cpu_s: float = 0.0
    number: int | None = None  # Xen's domid, libvirt's id
    ours: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What a host has and has left. `load`: of one minute; None where it is unknown."""

    host: str
    hypervisor: str
    version: str
    memory_bytes: int
    memory_free_bytes: int
    cpus: int
    load: float | None = None


class HypervisorError(Exception):
    """An operation did not succeed. The text names host, VM and why; `left` is what is there now, where that is not obvious."""

    def __init__(self, host: str, vm: str, why: str, *, left: str = "") -> None:
        super().__init__(host, vm, why, left)
        self.host, self.vm, self.why, self.left = host, vm, why, left

    def __str__(self) -> str:
        about = f"{self.vm} on {self.host}" if self.vm else self.host
        return f"{about}: {self.why}" + (f" ({self.left})" if self.left else "")

    def leaving(self, left: str) -> Self:
        """The same failure, with what is there now."""
        self.left = left
        return self


class NoSuchDomain(HypervisorError):
    """The hypervisor lists no domain of this name."""

    def __init__(self, host: str, vm: str) -> None:
        super().__init__(host, vm, "there is no such domain")


class NotOurs(HypervisorError):
    """There is a domain of this name, and it is not ours: it was not touched."""

    def __init__(self, host: str, vm: str) -> None:
        super().__init__(host, vm, "the domain of this name is not ours, it was not touched")


class AlreadyThere(HypervisorError):
    """A domain of this name exists already; nothing was started."""

    def __init__(self, host: str, vm: str, state: str) -> None:
        super().__init__(host, vm, f"there is a domain of this name already, {state}; nothing was started")


class WrongState(HypervisorError):
    """The domain is in a state in which this cannot be done; nothing was done."""


class DoesNotFit(HypervisorError):
    """The host has not enough memory; nothing was done."""


class TimedOut(HypervisorError):
    """The hypervisor, or the guest, did not answer within the limit."""


class Unsupported(HypervisorError):
    """This back end, or this hypervisor, cannot do it; nothing was done."""


class Unavailable(HypervisorError):
    """The hypervisor cannot be asked at all: program or library missing, daemon gone, answer not understood."""


def silent(text: str) -> None:
    """Progress that nobody wants to hear."""


class Hypervisor(Protocol):
    """One host's hypervisor. Every method raises HypervisorError; `limit_s` bounds the whole operation.

    Not safe for two operations on one VM at the same time: the caller (Runner) runs one at a time for each VM."""

    @property
    def kind(self) -> str: ...

    @property
    def host(self) -> str: ...

    def domains(self) -> tuple[Domain, ...]:
        """Every domain, also those that are not ours, without dom0; by name."""

    def domain(self, name: str) -> Domain:
        """Raises NoSuchDomain."""

    def host_info(self) -> HostInfo: ...

    def kernels(self) -> dict[str, str]:
        """Of our domains: the kernel, or where there is none the first disk; by name, in plain form."""

    def rendered(self, config: DomainConfig) -> str:
        """What `start` would hand to the hypervisor. Raises Unsupported."""

    def start(self, config: DomainConfig, *, limit_s: float, progress: Progress = silent) -> Domain:
        """Raises AlreadyThere, DoesNotFit. A start that fails leaves no domain behind."""

    def shutdown(self, name: str, *, limit_s: float, destroy: bool = False) -> Ended:
        """Asks the guest and waits till the domain is gone. After `limit_s`: destroys it where `destroy`, else TimedOut."""

    def destroy(self, name: str, *, limit_s: float) -> None: ...

    def reboot(self, name: str, *, limit_s: float) -> None:
        """Asks the guest to reboot; raises where the guest did not take the request."""

    def pause(self, name: str, *, limit_s: float) -> None:
        """Does nothing to a domain that is paused."""

    def unpause(self, name: str, *, limit_s: float) -> None:
        """Does nothing to a domain that runs."""

    def save(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> None:
        """Memory to `path`, and the domain is gone. A save that fails leaves no file, and says what became of the domain."""

    def restore(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> Domain:
        """The file stays. Raises AlreadyThere, and WrongState where the file holds another domain than ours of this name."""

    def migrate(self, name: str, target: str, *, limit_s: float, progress: Progress = silent) -> Moved:
        """To the host `target`: live where the domain allows it, else saved, copied and restored."""

    def set_memory(self, name: str, memory_bytes: int, *, limit_s: float) -> None:
        """Raises WrongState above the domain's ceiling."""

    def console_log(self, name: str, *, bytes_max: int) -> str:
        """The last `bytes_max` of what the guest wrote; empty where nothing is logged."""


def owned(domain: Domain, host: str) -> Domain:
    """safety: what every operation goes through before it touches a domain. Raises NotOurs."""
    if not domain.ours:
        raise NotOurs(host, domain.name)
    return domain


def check_new(domains: tuple[Domain, ...], name: str, host: str) -> None:
    """safety: never a second domain of one name, not even one that is just moving here. Raises AlreadyThere, NotOurs."""
    for domain in domains:
        if plain_name(domain.name) == name:
            if not domain.ours:
                raise NotOurs(host, name)
            raise AlreadyThere(host, name, domain.state)
