"""The third chapter of the demonstration: a host dies as a machine does, and its protected VM runs elsewhere by proof."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from demo import files
from demo.machines import vm_of, vmctl, where
from demo.processes import Farm
from demo.show import Show

AWAY_S = 60.0  # 18 s by the shipped numbers, and what is slow on a busy machine


def tell(farm: Farm, show: Show) -> str:
    """What came of it, for the sum. Raises Failed."""
    name = files.PROTECTED
    show.head(f"Fail-over: {name} is protected (`protect = yes`), with the shipped numbers")
    vmctl(farm, show, "ha", "status")
    host = where(farm, name)
    died, at = time.monotonic(), time.time()
    farm.die(host)
    show.say(f"{host} dies: SIGKILL to its client and its guard, so nobody feeds its watchdog", "bold red")
    farm.wait(f"{host} is missed", lambda: _state(farm, host) in ("silent", "lost"))
    vmctl(farm, show, "why", name)
    farm.wait(f"{name} runs elsewhere", lambda: _elsewhere(vm_of(farm, name), host), AWAY_S)
    away_s = time.monotonic() - died
    show.say(f"{name} runs on {where(farm, name)}, {away_s:.1f} s after its host has died", "bold green")
    show.plain("What the manager decided, and why; times count from the death")
    since = datetime.fromtimestamp(at).isoformat()
    for row in farm.ask("events", "--since", since):
        if row["text"].startswith((f"host {host}:", f"vm {name}:")):
            show.plain(f"  {row['at'] - at:+6.1f} s  {row['text']}")
    vmctl(farm, show, "vm", "list")
    show.plain("What is not protected waits for a fence device, for its host, or for `vmctl host confirm-dead`")
    return f"{name} ran on another host {away_s:.1f} s after its own had died"


def _state(farm: Farm, host: str) -> str:
    return next(str(row["state"]) for row in farm.ask("ha", "status")["hosts"] if row["name"] == host)


def _elsewhere(vm: dict[str, Any], host: str) -> bool:
    return vm["state"] == "running" and vm["host"] not in ("", host)
