"""`vmctl` in a scenario: its words -> operation and arguments of the control socket (docs/design/0004). Not all of vmctl."""

from __future__ import annotations

from typing import Any

from sim.failover.happenings import Wrong


def operation(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Raises Wrong."""
    flags = [word for word in words if word.startswith("--")]
    plain = [word for word in words if not word.startswith("--")]
    options = dict(flag.removeprefix("--").split("=", 1) for flag in flags if "=" in flag)
    switches: dict[str, Any] = {flag.removeprefix("--"): True for flag in flags if "=" not in flag}
    match plain:
        case ["vm", "migrate", name, target]:
            return "vm-migrate", {"names": [name], "host": target}
        case ["vm", what, *names] if what in ("start", "stop", "pause", "unpause", "reboot", "save", "restore", "cancel"):
            return f"vm-{what}", {"names": names, **({"host": options["on"]} if "on" in options else {}), **switches}
        case ["host", "maintenance", name, on, *why]:
            return "host-maintenance", {"name": name, "on": on == "on", "why": " ".join(why)}
        case ["host", "evacuate", name]:
            return "host-evacuate", {"name": name}
        case ["host", "return", name]:
            return "host-return", {"name": name}
        case ["host", "fence", name]:
            return "host-fence", {"name": name}
        case ["host", "confirm-dead", name]:
            return "host-confirm-dead", {"name": name, "again": name}
        case ["ha", "disarm", *why]:
            return "ha-disarm", {"why": " ".join(why)}
        case ["ha", "failback", *names]:
            return "ha-failback", {"name": " ".join(names)}
        case ["ha", what]:
            return f"ha-{what}", {}
        case ["why", name]:
            return "vm-why", {"name": name}
    raise Wrong(f"vmctl {' '.join(words)}: a scenario does not know this")
