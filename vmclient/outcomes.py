"""What the pool of worker processes (workers.py) is limited to and what it reports: frozen values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.value import Value
from vmclient.frames import Ready


@dataclass(frozen=True, slots=True)
class Limits:
    """How many workers, and how long each thing may take, in seconds."""

    most: int = 4
    warm: int = 1  # not retired when idle
    grow_after_s: float = 0.5  # jobs wait until every worker has been busy with its own for so long; then another is started
    idle_s: float = 120.0  # beyond `warm` an idle worker is retired after this
    import_s: float = 120.0  # for one plugin module; who is killed for being slow on a busy host only starts anew
    kill_s: float = 3.0  # a killed process that has not ended by then is abandoned
    hanging_max: int = 16
    jobs_max: int = 5000  # of one worker, so that what a plugin leaks stays bounded
    queue_max: int = 10_000
    steps_max: int = 100_000  # of progress, told by one job: ten a second for three hours
    keep_strays: bool = False  # processes that a job left behind may live on (commands that start something)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended; `key` as in submit. Exactly one for each job."""

    key: str
    kind: Literal["ok", "error", "refused", "timeout"]
    value: Value = None
    reason: str = ""
    output: str = ""
    unit: str = ""
    started_mono: float = 0.0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the plugin modules hold, told by the first worker after start or reconfigure."""

    ready: Ready


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence for the log."""

    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a job is that still runs."""

    key: str
    text: str
    share: float | None = None  # 0 to 1; None: not known


Outcome = Ended | Catalogue | Said | Progressed
