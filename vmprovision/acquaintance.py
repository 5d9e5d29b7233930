"""Do hosts know each other's ssh keys, so that domains can move between them? Judged by what their clients tell. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROPERTIES = ("ssh_keys", "ssh_known")  # of a client that vmprovision has configured: sshtrust.PROPERTIES


@dataclass(frozen=True, slots=True)
class Told:
    """`keys`: a host's own. `known`: NAME:KEYS of each host that it knows."""

    keys: str
    known: frozenset[str]


def told(document: str) -> dict[str, Told]:
    """Host -> what it tells, from `vmctl get ssh_keys ssh_known --json`; some hosts tell none."""
    try:
        clients = json.loads(document)["clients"]
        rows = {str(one["client"]): _texts(one.get("readings") or ()) for one in clients}
    except (ValueError, TypeError, KeyError):
        return {}
    return {host: Told(row["ssh_keys"], frozenset(row["ssh_known"].split())) for host, row in rows.items() if len(row) == 2}


def _texts(readings: Any) -> dict[str, str]:
    return {one["name"]: one["value"]["text"] for one in readings if not one["error"] and one["value"]["code"] == 0}


def strangers(host: str, hosts: Mapping[str, Told]) -> list[str]:
    """Those that do not know its keys, or whose keys it does not know. None for a host that tells nothing."""
    own = hosts.get(host)
    if own is None:
        return []
    return sorted(
        name
        for name, one in hosts.items()
        if name != host and not (f"{name}:{one.keys}" in own.known and f"{host}:{own.keys}" in one.known)
    )
