"""What the client tells its guard when it starts it, and where they meet. No process, no socket."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct

from common.config.model import HypervisorConfig, LogConfig

SOCKET, LOCK = "guard", "guard.lock"  # in the state folder


class GuardSetup(Struct, frozen=True):
    """`watchdog`: as in the file: auto, none, sim or a path. `storage`: the shared folder; None: there is none."""

    host: str
    boot_id: str
    state: Path
    watchdog: str
    storage: Path | None
    hypervisor: HypervisorConfig
    log: LogConfig

    def encode(self) -> bytes:
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises msgspec.DecodeError."""
        return msgspec.json.decode(data, type=cls, dec_hook=_path)


def _path(wanted: type, value: Any) -> Any:
    if wanted is Path:
        return Path(value)
    raise NotImplementedError(wanted)
