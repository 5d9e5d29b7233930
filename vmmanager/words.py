"""The arguments of vmctl's operations, checked: a word, several, a number, yes or no. Raises Refused. Pure."""

from __future__ import annotations

from math import isfinite

from common.protocol import Value
from vmmanager.context import Refused
from vmmanager.events import Asked

NAMES_MAX = 10_000
NAME_CHARS_MAX = 255


def word(asked: Asked, key: str) -> str:
    """An optional word."""
    given = asked.args.get(key)
    if given is None:
        return ""
    if not isinstance(given, str) or len(given) > NAME_CHARS_MAX:
        raise Refused("usage", f"{asked.op}: {key} is no name")
    return given


def needed(asked: Asked, key: str) -> str:
    given = word(asked, key)
    if not given:
        raise Refused("usage", f"{asked.op}: {key} is missing")
    return given


def words(asked: Asked, key: str) -> list[str]:
    given = asked.args.get(key)
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > NAMES_MAX:
        raise Refused("usage", f"{asked.op}: {key} is no list of names")
    if not all(isinstance(each, str) and 0 < len(each) <= NAME_CHARS_MAX for each in given):
        raise Refused("usage", f"{asked.op}: {key} is no list of names")
    return given


def values(asked: Asked, key: str) -> dict[str, Value]:
    given = asked.args.get(key)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Refused("usage", f"{asked.op}: {key} is no object")
    return given


def flag(asked: Asked, key: str, default: bool = False) -> bool:
    given = asked.args.get(key)
    if given is None:
        return default
    if not isinstance(given, bool):
        raise Refused("usage", f"{asked.op}: {key} is neither true nor false")
    return given


def number(asked: Asked, key: str, default: float, most: float) -> float:
    """From 0 to `most`; none: `default`."""
    given = asked.args.get(key)
    if given is None:
        return default
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not isfinite(given) or not 0 <= given <= most:
        raise Refused("usage", f"{asked.op}: {key} is no number from 0 to {most:.0f}")
    return given
