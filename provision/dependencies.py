"""What `apt-cache depends` and `apt-get --print-uris` print, read; which packages some packages need. Text in, values out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

_URI = re.compile(r"'(?P<uri>[^']+)' (?P<name>\S+) (?P<size>\d+) (?P<sum>\w+:\w+)")


@dataclass(frozen=True, slots=True)
class Download:
    """A package's file as the repository has it. `checksum`: `SHA256:...`."""

    name: str
    bytes: int
    checksum: str


def parse_uris(text: str) -> list[Download]:
    return [Download(row["name"], int(row["size"]), row["sum"]) for row in _URI.finditer(text)]


def parse_depends(text: str) -> dict[str, list[str]]:
    """Package -> what it depends on. Of alternatives the first; a virtual package's providers are indented, and left out."""
    needs: dict[str, list[str]] = {}
    name, alternative = "", False
    for line in text.splitlines():
        kind, colon, other = line.strip().partition(": ")
        if not line.startswith((" ", "|")):
            name, alternative = line.strip(), False
            needs[name] = []
        elif colon and kind.lstrip("|") in ("Depends", "PreDepends"):
            if not alternative and not other.startswith("<"):
                needs[name].append(other)
            alternative = kind.startswith("|")
    return needs


def closure(wanted: Iterable[str], without: Iterable[str], ask: Callable[[list[str]], Mapping[str, list[str]]]) -> list[str]:
    """The packages and all they need, but for those that match a pattern of `without`. `ask`: what packages depend on; it may
    tell of more than it was asked."""
    patterns = tuple(without)
    found: set[str] = set()
    needs: dict[str, list[str]] = {}
    fresh = sorted(set(wanted))
    while fresh:
        found.update(fresh)
        if unknown := [name for name in fresh if name not in needs]:
            needs |= ask(unknown)
        named = {one for name in fresh for one in needs.get(name, []) if not any(fnmatchcase(one, each) for each in patterns)}
        fresh = sorted(named - found)
    return sorted(found)
