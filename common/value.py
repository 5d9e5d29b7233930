"""What a property or a result may be: what msgpack and JSON both carry. Pure; imports nothing, so that a worker stays small."""

from __future__ import annotations

import math
from typing import Any

KEY_CHARS_MAX = 255
DEPTH_MAX = 16  # lists and dicts within each other, in one Value; a deeper one would overflow the stack of who prints it
Value = None | bool | int | float | str | list[Any] | dict[str, Any]
"""What a property or a result may be: what msgpack and JSON both carry, at most DEPTH_MAX deep. Whole numbers have 64 bits."""

INT_MIN, INT_MAX = -(2**63), 2**64 - 1  # what msgpack carries


class NotCarried(ValueError):
    """A value of another kind; the text says which."""


def plain(value: object, depth: int = 0) -> Value:
    """The value with tuples and sets as lists and keys as text. Raises NotCarried, also for NaN, infinity and broken text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise NotCarried("an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotCarried(f"{value} is no number")
        return float(value)
    if isinstance(value, str):
        return _text(value)
    if depth >= DEPTH_MAX:
        raise NotCarried(f"a value nested deeper than {DEPTH_MAX}")
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    raise NotCarried(f"a value of type {type(value).__name__}, which is none of str, int, float, bool, None, list, dict")


def _key(key: object) -> str:
    if isinstance(key, (str, int, float)):
        text = _text(str(key))
        if len(text) > KEY_CHARS_MAX:
            raise NotCarried(f"a dict with a key of {len(text)} characters, the limit is {KEY_CHARS_MAX}")
        return text
    raise NotCarried(f"a dict with a key of type {type(key).__name__}")


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        raise NotCarried(f"a text that is no Unicode ({fault.reason})") from None
    return str(text)
