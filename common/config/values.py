"""How a duration, a size, a rate and a share are written in the files, and back. Text in, numbers out; knows no key.

Every parse function raises ValueError with a sentence that says what would be right.
"""

from __future__ import annotations

import re

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
DIGITS_MAX = 15  # a float holds them exactly

_NUMBER = rf"\d{{1,{DIGITS_MAX}}}(?:\.\d{{1,{DIGITS_MAX}}})?"
_PART = re.compile(rf"({_NUMBER})\s*(ms|[smhdw])", re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER}\s*(?:ms|[smhdw])\s*)+", re.ASCII)
_PLAIN = re.compile(_NUMBER, re.ASCII)
_SIZE = re.compile(rf"(\d{{1,{DIGITS_MAX}}})\s*([KMG]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_RATE = re.compile(rf"(\d{{1,{DIGITS_MAX}}})\s*(?:per|/)\s*(.+)", re.ASCII)
_SHARE = re.compile(rf"({_NUMBER})\s*%", re.ASCII)


def duration(text: str) -> float:
    """Seconds: `30`, `0.5`, `500ms`, `30s`, `5m`, `2h`, `1d`, `1w`, `1h30m`."""
    text = text.strip()
    if _PLAIN.fullmatch(text):
        return float(text)
    if _DURATION.fullmatch(text):
        return sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(text))
    raise ValueError(f"{quoted(text)} is not a time (write 30, 30s, 5m, 2h or 1d)")


def show_duration(seconds: float) -> str:
    """The shortest form with one unit, that `duration` reads back as the same number."""
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % SECONDS[unit] == 0:
            return f"{int(seconds // SECONDS[unit])}{unit}"
    return f"{_plain(seconds)}s" if seconds else "0"


def size(text: str) -> int:
    """Bytes: `65536`, `64K`, `16M`, `1G`; K is 1024."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{quoted(text)} is not a size (write 65536, 64K or 16M)")
    return int(found[1]) * BYTES[found[2].upper()]


def show_size(count: int) -> str:
    for unit in ("G", "M", "K"):
        if count and count % BYTES[unit] == 0:
            return f"{count // BYTES[unit]}{unit}"
    return str(count)


def rate(text: str) -> tuple[int, float]:
    """(count, seconds): `5 per 10m`."""
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{quoted(text)} is not so many in a time (write 5 per 10m)")
    return int(found[1]), duration(found[2])


def show_rate(count: int, seconds: float) -> str:
    return f"{count} per {show_duration(seconds)}"


def share(text: str) -> float:
    """A part of the whole, 0 to 1: `10%`."""
    found = _SHARE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{quoted(text)} is not a share (write 10%)")
    return float(found[1]) / 100.0


def show_share(part: float) -> str:
    return f"{_plain(round(part * 100, 12))}%"


def quoted(text: str) -> str:
    """The text as an error shows it: in quotes, cut where it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _plain(number: float) -> str:
    """Without exponent, as the files have it."""
    return f"{number:.15f}".rstrip("0").rstrip(".") if number != int(number) else str(int(number))
