"""What goes into the manager's core and what comes out of it: frozen values, no behaviour.

`now` is handed to step() beside each event as a Moment: wall clock for what people and other hosts see, monotonic for waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.bus.contract import Closed, Opened, View
from common.config.model import FenceConfig, ManagerConfig
from common.core import Moment as Moment
from common.core import Tick as Tick
from common.core import WakeAt as WakeAt
from common.envelope import Envelope, Role
from common.protocol import Message, Value

# --- events ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that passed every check. `address` is the private bus address of its sender."""

    envelope: Envelope
    address: str


@dataclass(frozen=True, slots=True)
class Introduced:
    """A hello by a key that is not known here, not accepted, or another key than the known one."""

    sender: str
    key: bytes
    address: str
    role: Role = "client"  # what it says it is; proves nothing


@dataclass(frozen=True, slots=True)
class KeysFound:
    """What LookForKeys found: keys to accept without an operator as (name, raw key, role), and why other files were refused."""

    found: tuple[tuple[str, bytes, Role], ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """The store is open: all rows of Persist as (table, key, value), and the id of the last recorded event."""

    rows: tuple[tuple[str, str, dict[str, Value]], ...]
    last_event: int


@dataclass(frozen=True, slots=True)
class Unsent:
    """The Send with this id did not reach the bus, and why."""

    id: int
    reason: str


@dataclass(frozen=True, slots=True)
class BusChanged:
    """A view, or our own connection."""

    what: View | Opened | Closed


@dataclass(frozen=True, slots=True)
class Asked:
    """A request from vmctl over the control socket; docs/design/0004 lists the operations. `call` names it for Reply."""

    call: int
    op: str
    args: dict[str, Any]
    who: str  # user name of the peer, by SO_PEERCRED


@dataclass(frozen=True, slots=True)
class HungUp:
    """The vmctl behind `call` is gone."""

    call: int


@dataclass(frozen=True, slots=True)
class CodeDone:
    """The code of a trigger ended. `effects` is what it asked of sender, notify, failover, in order; `printed` its lines."""

    firing: str
    effects: tuple[Wish, ...]
    printed: tuple[str, ...]
    error: str  # empty: it ended well; else with the file's line
    over_budget: bool
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Stored:
    """What Persist asked for is on disk (`error` empty) or is not."""

    token: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What FindEvents found, oldest first, each row as docs/design/0004 lists it; or why nothing could be read (`error`)."""

    call: int
    rows: tuple[dict[str, Any], ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """What a TryTrigger gave: the rows for vmctl, or why there are none."""

    call: int
    rows: tuple[dict[str, Any], ...]
    error: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What only the threads know, for `vmctl status`. Comes before each Asked of it."""

    dropped: dict[str, int]  # messages that failed a check, by reason
    queues: dict[str, tuple[int, int]]  # name -> (length, limit)
    store: dict[str, Any]  # ok, error, events
    received_bytes: int = 0  # payloads from the bus since the start
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """A configuration that passed every check is to be used from now on. `call`: the vmctl that asked, 0 for SIGHUP."""

    config: ManagerConfig
    call: int = 0


@dataclass(frozen=True, slots=True)
class NotReconfigured:
    """The files were read again and hold faults; the running configuration stays."""

    faults: tuple[str, ...]
    call: int = 0


@dataclass(frozen=True, slots=True)
class FenceEnded:
    """The fence agent of a RunFence has ended. `status`: its exit status; None: it ended otherwise, and `text` says how."""

    host: str
    number: int
    status: int | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class StorageSeen:
    """What a LookAtStorage read. `began`: monotonic. `beats`: host -> mark of its beat; `claims`: host -> number that lies
    there. `error`: why nothing could be read."""

    began: float
    beats: dict[str, str]
    claims: dict[str, int]
    error: str = ""


@dataclass(frozen=True, slots=True)
class ClaimWritten:
    """The claim of a WriteClaim is on the storage: written, synced and read back; or why it is not."""

    host: str
    number: int
    error: str = ""


Event = (
    Arrived
    | Introduced
    | KeysFound
    | Loaded
    | Unsent
    | BusChanged
    | Tick
    | Asked
    | HungUp
    | CodeDone
    | Stored
    | Recalled
    | Tried
    | Measured
    | Reconfigured
    | NotReconfigured
    | FenceEnded
    | StorageSeen
    | ClaimWritten
)


# --- effects --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Seal `message` under `id` and send it. `to` are names or groups as signed; `addresses` where the bus takes it."""

    message: Message
    to: tuple[str, ...]
    addresses: tuple[str, ...]
    id: int
    epoch: int
    ttl_s: float = 60.0
    in_reply_to: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """To the vmctl behind `call`: one more piece (`last` False) or the end."""

    call: int
    body: dict[str, Any]
    last: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the log, and the part it belongs to."""

    text: str
    level: Literal["debug", "info", "warning", "error"] = "info"
    part: str = "manager"


@dataclass(frozen=True, slots=True)
class Record:
    """One row of the event history. Kinds: client, manager, request, trigger, firing, silence, key, reload, notify, refused,
    vm, failover, environment."""

    at: float  # wall clock
    kind: str
    subject: str
    text: str
    details: dict[str, Value] = field(default_factory=dict)
    who: str = ""
    id: int = 0  # rises; given by the manager's core


@dataclass(frozen=True, slots=True)
class Persist:
    """Write to the store under (table, key); None deletes. With a token, Stored(token) comes back once it is on disk."""

    table: Literal[
        "silence", "key", "firing", "trigger", "fact", "vm", "host", "lease", "slot", "environment", "request"
    ]  # facts: epoch, failover
    key: str
    value: dict[str, Value] | None
    token: str = ""


@dataclass(frozen=True, slots=True)
class RunCode:
    """Run a trigger's cmd in a process of its own, which sees the farm as it is now, and stop it after `budget_s`."""

    firing: str
    trigger: str
    subject: str  # the client's name for a trigger with `each`, else empty
    part: Literal["cmd", "recovery_cmd"]
    budget_s: float


@dataclass(frozen=True, slots=True)
class Notify:
    """Run the site's notify program with this on its standard input."""

    text: str
    severity: str
    trigger: str
    subject: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the files again; answered by Reconfigured or NotReconfigured with the same `call` (0: nobody waits)."""

    call: int


@dataclass(frozen=True, slots=True)
class Trust:
    """From now on think so of this daemon's key; `state` None: forget it."""

    name: str
    key: bytes
    role: Role
    state: Literal["accepted", "pending", "rejected"] | None


@dataclass(frozen=True, slots=True)
class LookForKeys:
    """Look into the folders of managers' keys and of local keys; KeysFound comes back."""


@dataclass(frozen=True, slots=True)
class FindEvents:
    """Read the event history: the last `limit` rows at or after `since`; answered by Recalled."""

    call: int
    since: float
    limit: int
    kind: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class TryTrigger:
    """`vmctl trigger test`: runs the operator's code, hence in a process of its own; answered by Tried."""

    call: int
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunFence:
    """Run this device's agent against this host; answered by FenceEnded with the same host and number."""

    host: str
    number: int
    device: FenceConfig
    action: Literal["off", "status"]


@dataclass(frozen=True, slots=True)
class LookAtStorage:
    """Read all beats and claims; answered by StorageSeen, unless the storage hangs."""

    folder: Path


@dataclass(frozen=True, slots=True)
class WriteClaim:
    """Put this claim on the storage (number 0: none); answered by ClaimWritten, unless the storage hangs."""

    folder: Path
    host: str
    number: int
    epoch: int
    leader: str


Effect = (
    Send
    | Reply
    | Note
    | Record
    | Persist
    | RunCode
    | Notify
    | WakeAt
    | Reload
    | Trust
    | LookForKeys
    | FindEvents
    | TryTrigger
    | RunFence
    | LookAtStorage
    | WriteClaim
)


# --- what a trigger's code may wish for -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wish:
    """One call that a trigger's code made. It becomes Send, Notify, ... when the firing is on disk and with the standbys."""

    verb: Literal["get_property", "fetch_property", "execute", "control", "notify", "failover"]
    targets: tuple[str, ...] = ()  # client names or groups; empty: all clients
    arguments: dict[str, Value] = field(default_factory=dict)
