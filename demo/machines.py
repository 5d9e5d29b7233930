"""The second chapter of the demonstration: virtual machines on two simulated hosts, as `vmctl` tells it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from demo import files
from demo.processes import Failed, Farm
from demo.show import Show


def tell(farm: Farm, show: Show) -> None:
    """Raises Failed."""
    show.head("Virtual machines: vms.ini on the manager, a simulated hypervisor on xen1 and xen2")
    farm.wait("both hosts have told what they have", lambda: len(_told(farm)) == 2)
    vmctl(farm, show, "vm", "start", "all", "-y")
    vmctl(farm, show, "vm", "list")
    host = where(farm, "shop1")
    show.say(f"the guest of shop1 crashes on {host}", "bold red")
    _happens(farm, host, "crash", "shop1")
    farm.wait("shop1 is restarted", lambda: vm_of(farm, "shop1")["restarts"] and vm_of(farm, "shop1")["state"] == "running")
    show.say(f"shop1 runs again on {where(farm, 'shop1')}: {_last(farm, 'shop1')}", "bold green")
    host = where(farm, "db1")
    show.say(f"somebody destroys db1 by hand on {host}", "bold red")
    _happens(farm, host, "destroy", "db1")
    held = farm.wait("it is noticed", lambda: vm_of(farm, "db1")["held"])
    show.say(f"db1 is not fought over: {held}", "bold green")
    vmctl(farm, show, "vm", "start", "db1")
    vmctl(farm, show, "host", "evacuate", "xen1", "-y", fine=(0, 1))
    vmctl(farm, show, "vm", "list")
    vmctl(farm, show, "host", "maintenance", "xen1", "off")


def _told(farm: Farm) -> list[Any]:
    return [row for row in farm.ask("host", "list") if row["memory_free_bytes"] is not None]


def vm_of(farm: Farm, name: str) -> dict[str, Any]:
    """As `vmctl vm show` has it."""
    row: dict[str, Any] = farm.ask("vm", "show", name)
    return row


def where(farm: Farm, name: str) -> str:
    """The host that it is on, as far as the manager knows."""
    return str(vm_of(farm, name)["host"])


def _last(farm: Farm, name: str) -> str:
    return f"restarted {vm_of(farm, name)['restarts']} time, by its policy"


def _happens(farm: Farm, host: str, what: str, vm: str) -> None:
    """To the simulated farm, without any daemon."""
    words = [sys.executable, "-m", "plugins.sim", str(farm.folder / files.SIMULATED), host, what, vm]
    done = subprocess.run(words, cwd=files.ROOT, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise Failed(f"{' '.join(words[2:])}: {done.stderr.strip()}")


def vmctl(farm: Farm, show: Show, *words: str, fine: tuple[int, ...] = (0,)) -> None:
    """As somebody types it, and what it answers."""
    done = farm.vmctl(*words)
    show.plain(f"$ vmctl {' '.join(words)}")
    for line in done.stdout.splitlines():
        show.plain(f"  {line.rstrip()}")
    if done.returncode not in fine:
        raise Failed(f"vmctl {' '.join(words)} ended with {done.returncode}: {done.stderr}")
