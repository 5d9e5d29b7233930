"""What goes into the client's core (host.py) and what comes out of it: frozen values, no behaviour.

`now` is handed to step() beside each event as a Moment: wall clock for the envelope, monotonic for waiting and ages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from common.bus.contract import Closed, Opened
from common.config.model import ClientConfig, PropertyConfig
from common.core import Moment as Moment
from common.core import Tick as Tick
from common.core import WakeAt as WakeAt
from common.envelope import Envelope
from common.protocol import ExecErr, ExecVal, Message, Value
from vmclient.guardwords import FromClient, FromGuard

# --- events ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that passed every check."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class BusChanged:
    """Our own connection opened or closed."""

    what: Opened | Closed


@dataclass(frozen=True, slots=True)
class ReadDone:
    """A reader ended: a value, or why there is none (`error`)."""

    name: str
    value: Value
    error: str
    unit: str
    started_mono: float


@dataclass(frozen=True, slots=True)
class RunDone:
    """A command ended. `kind` is `ok` or as in ExecErr."""

    execution: str
    kind: Literal["ok", "error", "timeout", "refused", "busy"]
    reason: str
    result: Value
    output: str
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running command is. `share`: from 0 to 1, None where it is not known."""

    execution: str
    text: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Journaled:
    """The journal has written what Journal asked for, or could not (`error`)."""

    execution: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """A configuration that passed every check is to be used from now on."""

    config: ClientConfig


@dataclass(frozen=True, slots=True)
class NotReconfigured:
    """The files were read again and hold faults; the running configuration stays."""

    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The plugin modules are imported. No command starts before. `faults`: module -> why it gives nothing."""

    readers: tuple[str, ...]
    commands: dict[str, str]  # name -> the parameter that is its subject, or empty
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the journal has for Recall: the answer given then, or why there is none (`error`)."""

    execution: str
    answer: ExecVal | ExecErr | None
    in_reply_to: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The system asks: SIGHUP (`reload`) or SIGTERM (`stop`)."""

    what: Literal["reload", "stop"]


@dataclass(frozen=True, slots=True)
class Slept:
    """The machine slept for so long, and the monotonic clock with it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GuardCame:
    """There is a connection with the guard of this host."""


@dataclass(frozen=True, slots=True)
class GuardGone:
    """The connection has ended; another one comes by itself, or GuardFailed."""


@dataclass(frozen=True, slots=True)
class GuardFailed:
    """No guard can be started or reached; it is tried again."""

    why: str


@dataclass(frozen=True, slots=True)
class GuardSaid:
    """The guard says something."""

    word: FromGuard


Event = (
    Arrived
    | BusChanged
    | Tick
    | ReadDone
    | RunDone
    | Progress
    | Journaled
    | Recalled
    | Loaded
    | Reconfigured
    | NotReconfigured
    | Asked
    | GuardCame
    | GuardGone
    | GuardFailed
    | GuardSaid
    | Slept
)


# --- effects --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """Read one property now, in a worker process, within its timeout_s."""

    property: PropertyConfig


@dataclass(frozen=True, slots=True)
class Run:
    """Run one plugin command in a worker process."""

    execution: str
    command: str
    parameters: dict[str, Value]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Abort:
    """End a command that runs or waits, with all it started; RunDone comes as always."""

    execution: str
    why: str


@dataclass(frozen=True, slots=True)
class StartGuard:
    """From now on there is to be a guard (vmclient/guard.py), until the client ends; it may outlive the client. `anew`: the one
    that is there hangs, and is to be killed."""

    anew: bool = False


@dataclass(frozen=True, slots=True)
class ToGuard:
    """Say this to the guard; dropped where it is not there: whatever counts is said again when it comes."""

    word: FromClient


@dataclass(frozen=True, slots=True)
class Journal:
    """Write to the journal on disk before anything else happens: begun (answer None) or ended with this answer.

    `at` is wall clock; `in_reply_to` the request that a client that died in the middle owes an answer."""

    execution: str
    answer: ExecVal | ExecErr | None
    at: float
    in_reply_to: int = 0


@dataclass(frozen=True, slots=True)
class Recall:
    """Look up the answer of an execution that ended before."""

    execution: str
    in_reply_to: int


@dataclass(frozen=True, slots=True)
class Send:
    """Seal and send. `to` are names or groups as signed, and where the bus takes it."""

    message: Message
    to: tuple[str, ...] = ("managers",)
    in_reply_to: int = 0
    ttl_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log, and the part it belongs to."""

    text: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    part: str = "client"


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the files again; Reconfigured or NotReconfigured comes back."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the daemon in good order."""

    reason: str


Effect = Read | Run | Abort | StartGuard | ToGuard | Journal | Recall | Send | Note | WakeAt | Reload | Stop
