"""What the client tells its guard when it starts it. Bytes <-> a frozen struct."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct

from common.config.model import HypervisorConfig, LogConfig


class GuardSetup(Struct, frozen=True):
    """`watchdog`: as in the file: auto, none, sim or a path. `storage`: the shared folder; None: there is none."""

    host: str
    boot_id: str
    state: Path
    version: str
    watchdog: str
    storage: Path | None
    hypervisor: HypervisorConfig
    log: LogConfig

    def encode(self) -> bytes:
        return msgspec.json.encode(self, enc_hook=str)

    @property
    def digest(self) -> str:
        """Another one: a guard that was started with this is to be replaced."""
        return hashlib.blake2b(self.encode(), digest_size=8).hexdigest()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Raises msgspec.DecodeError."""
        return msgspec.json.decode(data, type=cls, dec_hook=_path)


def _path(wanted: type, value: Any) -> Any:
    if wanted is Path:
        return Path(value)
    raise NotImplementedError(wanted)
