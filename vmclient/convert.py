"""What a reader gave, as the property's `return_type` wants it. Pure; a value that does not suit is unknown, never zero."""

from __future__ import annotations

import math
from collections.abc import Callable

from common.protocol import Value

INT_MIN, INT_MAX = -(2**63), 2**64 - 1  # what msgpack carries
BOOLS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


class NotConvertible(Exception):
    """The text says what the value is and what it should be."""


def convert(value: Value, wanted: str) -> Value:
    """`wanted` is a return_type; empty: as it is. Raises NotConvertible, also for None, NaN and infinity."""
    if value is None:
        raise NotConvertible("the reader gave no value")
    if isinstance(value, float) and not math.isfinite(value):
        raise NotConvertible(f"the reader gave {value}, which is no number")
    return _converters[wanted](value) if wanted else value


def type_name(value: Value) -> str:
    """The return_type that would leave this value as it is."""
    for kind in (bool, int, float, str, list, dict):
        if isinstance(value, kind):
            return kind.__name__
    return "str"


def _int(value: Value) -> int:
    number: int | float | None = None
    if isinstance(value, (int, float)):
        number = value
    elif isinstance(value, str):
        number = _parsed(value, int) if _parsed(value, int) is not None else _parsed(value, float)
    if number is None or number != int(number) or not INT_MIN <= number <= INT_MAX:
        raise _unsuited(value, "int")
    return int(number)


def _float(value: Value) -> float:
    number: int | float | None = value if isinstance(value, (int, float)) else None
    if isinstance(value, str):
        number = _parsed(value, float)
    if number is None:
        raise _unsuited(value, "float")
    return float(number)


def _bool(value: Value) -> bool:
    if isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in BOOLS:
        return BOOLS[value.strip().lower()]
    raise _unsuited(value, "bool")


def _str(value: Value) -> str:
    if isinstance(value, (list, dict)):
        raise _unsuited(value, "str")
    return value if isinstance(value, str) else str(value)


def _list(value: Value) -> Value:
    if not isinstance(value, list):
        raise _unsuited(value, "list")
    return value


def _dict(value: Value) -> Value:
    if not isinstance(value, dict):
        raise _unsuited(value, "dict")
    return value


def _parsed(text: str, kind: type[int] | type[float]) -> int | float | None:
    try:
        number = kind(text.strip())
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _unsuited(value: Value, wanted: str) -> NotConvertible:
    shown = repr(value)
    return NotConvertible(f"{shown[:100]} is no {wanted}")


_converters: dict[str, Callable[[Value], Value]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "str": _str,
    "list": _list,
    "dict": _dict,
}
