"""Opens the bus that the configuration names. Knows the engines, and nothing of what they carry."""

from __future__ import annotations

from common.bus import spread
from common.bus.contract import Bus, BusError
from common.bus.links import load_module
from common.bus.memory import shared_hub
from common.bus.spread.connection import parse_daemon
from common.bus.spreadbus import SpreadBus
from common.config.model import BusConfig


def open_bus(config: BusConfig, full_name: str, *, membership: bool) -> Bus:
    """Comes back at once: the first thing that `receive` gives is Opened, when the daemon is there.

    `full_name` is the host's; its private name on the bus is cut from it. `membership`: views are wanted (managers). With
    engine `memory` all in this process who name the same `daemon` meet. Raises BusError for what can never work."""
    if config.engine == "memory":
        return shared_hub(config.daemon).open(full_name, membership=membership)
    try:
        parse_daemon(config.daemon)
    except spread.error:
        raise BusError(f"[bus] daemon = {config.daemon}: must be PORT@HOST, or PORT for the unix socket of that port") from None
    return SpreadBus(load_module(config.module), config, full_name, membership=membership)
