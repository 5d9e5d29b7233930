"""What `xl` prints, read: lists of domains, properties of the host, what an error means. Text in, values out; starts nothing.

Formats as of Xen 4.17 (tests/recorded/xl-*.txt). What is not understood raises ValueError with the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.config.values import quoted
from common.hypervisor import NAMES_IN_MOTION, Domain, State, is_ours

MIB = 1024 * 1024
REASON_CHARS_MAX = 200
_ROW = re.compile(
    r"(?P<name>\S.*?)\s+(?P<id>\d+)\s+(?P<mem>\d+)\s+(?P<vcpus>\d+)\s+(?P<state>[r-][b-][p-][s-][-rscw?][d-])\s+(?P<time>\d+\.\d+)"
    r"\s+(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\s.*",
    re.ASCII,
)
_SAVED_UUID = re.compile(rb'"uuid":\s*"([0-9a-fA-F-]{36})"')
HALTED = "halted, but still there: only destroy clears it"


@dataclass(frozen=True, slots=True)
class Properties:
    """Of `xl info`."""

    host: str
    version: str
    memory_bytes: int
    memory_free_bytes: int
    cpus: int


def parse_list(text: str) -> tuple[Domain, ...]:
    """`xl list -v`, without Domain-0; by name."""
    lines = text.splitlines()
    if not lines or not lines[0].startswith("Name "):
        raise ValueError(f"xl list: no heading: {quoted(text)}")
    domains = []
    for line in lines[1:]:
        row = _ROW.fullmatch(line.rstrip() + " ")
        if not row:
            raise ValueError(f"xl list: not understood: {quoted(line)}")
        if row["id"] != "0":
            domains.append(_domain(row))
    return tuple(sorted(domains, key=lambda one: (one.name, one.number or 0)))


def _domain(row: re.Match[str]) -> Domain:
    state = _state(row["name"], row["state"])
    return Domain(
        name=row["name"],
        uuid=row["uuid"],
        state=state,
        memory_bytes=int(row["mem"]) * MIB,
        vcpus=int(row["vcpus"]),
        cpu_s=float(row["time"]),
        number=int(row["id"]),
        ours=is_ours(row["name"], row["uuid"]),
        note=HALTED if state == "shutdown" else "",
    )


def _state(name: str, letters: str) -> State:
    """`------` is a domain that waits for a processor, as just after create. Paused and shut down counts as shut down."""
    for ending, moving in NAMES_IN_MOTION.items():
        if name.endswith(ending):
            return moving
    if letters[5] == "d":
        return "dying"
    if letters[4] in _REASONS:
        return _REASONS[letters[4]]
    return next((state for letter, state in _STATES if letter in letters), "running")


_STATES: tuple[tuple[str, State], ...] = (("s", "shutdown"), ("p", "paused"))
# why it is shut down, the fifth letter: crash, watchdog, suspended (it is being saved or moved); xl's list_domains
_REASONS: dict[str, State] = {"c": "crashed", "w": "crashed", "s": "leaving"}


def parse_details(text: str) -> dict[str, Mapping[str, Any]]:
    """`xl list -l`: by name, the configuration of each domain as libxl keeps it. Booleans in it are strings."""
    try:
        listed = json.loads(text)
        return {each["config"]["c_info"]["name"]: each["config"] for each in listed if each["domid"] != 0}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"xl list -l: not understood: {quoted(text)}") from None


def ceiling_bytes(details: Mapping[str, Any]) -> int:
    """The most memory that the domain can be given while it runs."""
    try:
        return int(details["b_info"]["max_memkb"]) * 1024
    except (ValueError, KeyError, TypeError):
        raise ValueError("xl list -l: no max_memkb") from None


def boots_from(details: Mapping[str, Any]) -> str:
    """Of one domain of `xl list -l`: its kernel, else its first disk, else nothing."""
    try:
        kernel, disks = details["b_info"].get("kernel"), details.get("disks") or [{}]
        return str(kernel or disks[0].get("pdev_path") or "")
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ValueError("xl list -l: neither kernel nor disks are understood") from None


def parse_info(text: str) -> Properties:
    """`xl info`."""
    pairs = (line.partition(":") for line in text.splitlines())
    values = {key.strip(): value.strip() for key, _, value in pairs}
    try:
        return Properties(
            values["host"],
            values["xen_version"],
            int(values["total_memory"]) * MIB,
            int(values["free_memory"]) * MIB,
            int(values["nr_cpus"]),
        )
    except (ValueError, KeyError) as fault:
        raise ValueError(f"xl info: not understood: {fault}") from None


def saved_uuid(head: bytes) -> str:
    """Of the domain in a file of `xl save`, from the file's beginning; empty where it is no such file."""
    found = _SAVED_UUID.search(head) if head.startswith(b"Xen saved domain, xl format") else None
    return found[1].decode().lower() if found else ""


def reason(errors: str) -> str:
    """The line that says most: scripts and Xen's own words before libxl's consequences."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    for wanted in ("script: ", "xc: error: ", "already exists", "libxl: error: "):
        for line in lines:
            if wanted in line:
                return (line.partition("device_hotplug_child_death_cb: ")[2] or line)[:REASON_CHARS_MAX]
    return lines[-1][:REASON_CHARS_MAX] if lines else "xl gave no reason"
