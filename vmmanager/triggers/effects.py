"""What the trigger engine asks of the manager besides the effects of vmmanager/events.py. Frozen values, no behaviour.

The manager turns Act into requests on the bus and Tell into a CONTROL to the group `managers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from common.protocol import Value
from vmmanager import events
from vmmanager.events import Wish


@dataclass(frozen=True, slots=True)
class Planned:
    """One wish of a firing that is on disk and with the standbys. `execution` is the idempotency key of its EXECUTE: the
    same for the same wish of the same firing, whoever sends it and however often."""

    execution: str
    wish: Wish


@dataclass(frozen=True, slots=True)
class Act:
    """Carry these out now, in order; when all answers are in or their deadlines passed, call Engine.acted(firing, ...)."""

    firing: str
    trigger: str
    subject: str  # the client's name for a trigger with `each`, else empty
    wishes: tuple[Planned, ...]  # verbs get_property, fetch_property, execute, control, failover; notify comes as Notify


@dataclass(frozen=True, slots=True)
class Tell:
    """Multicast CONTROL `verb` to the group `managers`; every copy, our own included, comes back as Engine.heard."""

    verb: str  # firing, fired, silence, unsilence, trigger-enable
    arguments: dict[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request of vmctl: `body` as docs/design/0004 has it. With `wait`, it may be given only when
    Stored(wait) has come: what is acknowledged is on disk."""

    body: dict[str, Any]
    effects: tuple[Effect, ...] = ()
    wait: str = ""


Effect = events.Effect | Act | Tell
