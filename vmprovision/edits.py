"""Hosts added to provision.ini and taken out of it: its text in, its text out, comments and all else as they stand."""

from __future__ import annotations

import re

from vmprovision.model import Host, Inventory

_TOP = re.compile(r"^\s*\[[^\[]")
_ANY = re.compile(r"^\s*\[")


def added(text: str, name: str, keys: dict[str, str]) -> str:
    """A section at the end of [hosts], which is made where there is none."""
    section = [f"[[{name}]]", *(f"{key} = {value}" for key, value in keys.items() if value)]
    lines = text.rstrip("\n").split("\n")
    start = next((at for at, line in enumerate(lines) if re.match(r"\s*\[hosts\]", line)), None)
    if start is None:
        return "\n".join([*lines, "", "[hosts]", *section]) + "\n"
    end = next((at for at in range(start + 1, len(lines)) if _TOP.match(lines[at])), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1  # what is said above the next section belongs to it
    apart = [""] if any(not line.strip() for line in lines[start:end]) else []
    return "\n".join([*lines[:end], *apart, *section, *lines[end:]]) + "\n"


def removed(text: str, host: Host) -> str:
    """Without its section; comments directly above it go with it."""
    lines = text.split("\n")
    start = host.where.line - 1
    end = next((at for at in range(start + 1, len(lines)) if _ANY.match(lines[at])), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    while start and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    if start and not lines[start - 1].strip() and not "".join(lines[end : end + 1]).strip():
        start -= 1
    return "\n".join([*lines[:start], *lines[end:]])


def summary(inventory: Inventory) -> str:
    """`good: 3 networks, 2 profiles, 12 hosts, 1 gateway, no images`."""
    kinds = {
        "network": inventory.networks,
        "profile": inventory.profiles,
        "host": inventory.hosts,
        "gateway": inventory.gateways,
        "image": inventory.images,
    }
    return ", ".join(f"{len(held) or 'no'} {name}{'' if len(held) == 1 else 's'}" for name, held in kinds.items())
