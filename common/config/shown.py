"""Values of the model as the files write them: for the reference, the log of a reload and error texts. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.config import values
from common.config.keys import Key
from common.config.model import Code


def show(key: Key, *parts: Any) -> str:
    """What stands behind `key =` for this value; `parts` are the values of the key's fields, in their order."""
    value = parts[0]
    check = key.check.split("(")[0]
    if check == "rate":
        return values.show_rate(*parts) if value else "0"
    if check == "ticks" and value < 0:
        return "-1"
    if check in ("duration", "ticks"):
        return values.show_duration(value)
    if check == "size":
        return values.show_size(value)
    if check == "share":
        return values.show_share(value)
    return plain(value)


def plain(value: Any) -> str:
    """A value that its type explains."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(_quoted(str(item)) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Code):
        return f"{{ {' '.join(value.text.split())} }}"
    return str(value) if isinstance(value, str | int | Path) else repr(value)


def _quoted(item: str) -> str:
    """In quotes where a comma or # would end it."""
    if item and not any(letter in item for letter in ",#'\"") and item == item.strip():
        return item
    return f"'{item}'" if '"' in item else f'"{item}"'
