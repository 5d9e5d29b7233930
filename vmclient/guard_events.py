"""What goes into the guard's core (guard_core.py) and what comes out of it: frozen values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.core import Tick as Tick
from common.core import WakeAt as WakeAt
from common.leases import Terms
from vmclient.guardwords import FromClient, FromGuard

# --- events -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Came:
    """The client is there, from now on."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The client is gone."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The system asks it to end (SIGTERM). It does when it guards nothing."""


@dataclass(frozen=True, slots=True)
class Slept:
    """The machine slept for so long, and our clock with it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """The client says something."""

    word: FromClient


@dataclass(frozen=True, slots=True)
class Saved:
    """The book is on disk as Save said, or it is not (`error`)."""

    names: frozenset[str]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """The watchdog, after Arm, Release, Feed or by itself. `timeout_s` 0: it cannot be used, and `text` says why."""

    text: str
    timeout_s: float
    armed: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """One domain of ours, as the hypervisor lists it. `name` is the hypervisor's, `vm` without what a migration adds."""

    name: str
    vm: str


@dataclass(frozen=True, slots=True)
class Listed:
    """All domains of ours that there are, dead ones too; `error`: the hypervisor cannot say. `began`: monotonic."""

    began: float
    domains: tuple[Seen, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Destroyed:
    """An attempt has ended; `error`: it did not succeed."""

    name: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """One whole look at the storage: beat written, claim read. `claim` 0: none. `error`: it was not whole."""

    began: float
    claim: int = 0
    error: str = ""


Event = Came | Gone | Leave | Slept | Told | Saved | Watched | Listed | Destroyed | Looked | Tick


# --- effects ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Save:
    """The book to disk, synced; Saved comes back."""

    names: frozenset[str]
    known: tuple[str, ...]
    terms: Terms | None


@dataclass(frozen=True, slots=True)
class Remember:
    """The end of the lease, for a guard that comes after this one in the same boot. It need not outlive the machine."""

    until: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Is there a watchdog, and which time does it keep? It is not armed afterwards; Watched comes back."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Arm:
    """The watchdog resets this host when it is not fed for `timeout_s`; Watched comes back."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Feed:
    """Not after `until`: what comes too late must not give the host more time."""

    until: float


@dataclass(frozen=True, slots=True)
class Release:
    """The watchdog resets nothing any more; Watched comes back."""


@dataclass(frozen=True, slots=True)
class List:
    """Ask the hypervisor; Listed comes back, or never."""

    limit_s: float


@dataclass(frozen=True, slots=True)
class Destroy:
    """The domain; Destroyed comes back, or never."""

    name: str
    limit_s: float


@dataclass(frozen=True, slots=True)
class Look:
    """Write the beat `n` and read the claim; Looked comes back, or never."""

    n: int


@dataclass(frozen=True, slots=True)
class Say:
    """To the client, where it is there."""

    word: FromGuard


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log."""

    text: str
    level: Literal["info", "warning", "error"] = "info"


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left to be guarded."""


Effect = Save | Remember | Probe | Arm | Feed | Release | List | Destroy | Look | Say | Note | End | WakeAt
