"""Values, times and names as words for people. Pure: no clock, no terminal; what comes from the farm is made harmless here."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

MARKS_MAX = 3  # combining marks on one letter; more of them paint over the neighbouring lines
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")


def clean(text: str) -> str:
    """One line that a terminal shows and does not obey: whatever is not printable stands there as its escape.

    That takes control characters (ESC, CR, BS), C1 codes, bidirectional overrides, invisible and unassigned characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_pieces(text))


def _pieces(text: str) -> list[str]:
    from unicodedata import combining

    pieces: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if combining(char) else 0
        if char.isprintable() and marks <= MARKS_MAX:
            pieces.append(char)
        else:
            pieces.append(char.encode("unicode_escape").decode() if ord(char) < 0x80 else f"\\u{ord(char):04x}")
    return pieces


def clean_lines(text: str) -> list[str]:
    """Output of a program, line by line, tabs as spaces; trailing empty lines dropped."""
    lines = [clean(line.rstrip("\r").expandtabs()) for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def value_text(value: Any, unit: str = "") -> str:
    """A property's value. Unknown is `-`, never zero."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"
    elif isinstance(value, (str, int)):
        text = str(value)
    else:
        text = json.dumps(value, ensure_ascii=False)
    return f"{text} {unit}" if unit else text


def span_text(seconds: Any) -> str:
    """A duration in its two largest units: 0.3s, 42s, 3m12s, 5h03m, 12d04h."""
    if not _is_number(seconds):
        return "-"
    if seconds < 0:
        return "-" + span_text(-seconds)
    if seconds < 9.95:
        return f"{seconds:.1f}s" if seconds >= 0.05 or seconds == 0 else "<0.1s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    large, small = ("m", "s") if whole < 3600 else ("h", "m") if whole < 86400 else ("d", "h")
    rest = whole % _UNIT_S[large] // _UNIT_S[small]
    return f"{whole // _UNIT_S[large]}{large}" + (f"{rest:02d}{small}" if rest else "")


def ago_text(at: Any, now: float) -> str:
    """How long ago a moment (seconds since the epoch) was; `-` where there was none."""
    return span_text(max(0.0, now - at)) if _is_number(at) and at > 0 else "-"


def size_text(count: Any) -> str:
    """Bytes as people say them, with at most one decimal: 512 MiB, 1.5 GiB. Unknown is `unknown`, never zero."""
    if not _is_number(count):
        return "unknown"
    unit, step = next(((unit, step) for unit, step in _SIZES if abs(count) >= step), ("B", 1))
    return f"{count / step:.1f}".removesuffix(".0") + f" {unit}"


def share_text(share: Any) -> str:
    """A part of the whole, 0 to 1, in percent; empty where it is not known."""
    return f"{share:.0%}" if _is_number(share) and 0 <= share <= 1 else ""


def moment_text(at: Any, now: float) -> str:
    """A point in time on this machine's clock: today without the date."""
    if not _is_number(at) or not 0 < at < 32503680000:  # until the year 3000
        return "-"
    then, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    return then.strftime("%H:%M:%S" if then.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def names_text(names: Any, limit: int = 0) -> str:
    """Names with commas; beyond `limit` (0: none) only how many more."""
    if not isinstance(names, list):
        return "-"
    shown = [str(name) for name in (names[:limit] if limit else names)]
    more = [f"... {len(names) - limit} more"] if limit and len(names) > limit else []
    return ", ".join(shown + more)


def operands_text(operands: Any) -> str:
    """The values that an expression read: `ram_free = 812, load = unknown`."""
    if not isinstance(operands, dict) or not operands:
        return ""
    return ", ".join(f"{name} = {'unknown' if value is None else value_text(value)}" for name, value in operands.items())


def wish_text(wish: Any) -> str:
    """One thing that a trigger's code asked for: `execute log text='xen1 is low' on mail2`."""
    if not isinstance(wish, dict):
        return str(wish)
    arguments = wish.get("arguments")
    words = _argument_words(arguments) if isinstance(arguments, dict) else []
    targets = wish.get("targets")
    on = f"on {names_text(targets, 5)}" if isinstance(targets, list) and targets else ""
    return " ".join(word for word in (str(wish.get("verb", "?")).replace("_", " "), *words, on) if word)


def _argument_words(arguments: dict[str, Any]) -> list[str]:
    """The command or verb bare, its parameters as key=value; nothing where there is nothing."""
    words: list[str] = []
    for key, value in arguments.items():
        if isinstance(value, dict):
            words += [f"{name}={_argument_text(each)}" for name, each in value.items()]
        elif key in ("command", "verb"):
            words.append(str(value))
        elif value not in (None, "", []) and key != "timeout_s":
            words.append(f"{key}={_argument_text(value)}")
    return words


def _argument_text(value: Any) -> str:
    return repr(value) if isinstance(value, str) and re.search(r"[^\w.:@/-]", value) else value_text(value)


def source_lines(source: Any) -> list[str]:
    """A trigger's code as its file has it: `expr = { ... }`, blocks over several lines where they have them."""
    if isinstance(source, str):
        return source.rstrip().split("\n")
    lines: list[str] = []
    for key, code in source.items() if isinstance(source, dict) else ():
        text = str(code).strip()
        if "\n" in text:
            lines += [f"{key} = {{", *(f"    {line}" for line in text.split("\n")), "}"]
        else:
            lines.append(f"{key} = {{ {text} }}")
    return lines


def sparkline(values: list[Any], width: int) -> str:
    """The course of numbers in one line of blocks; a gap where a value is unknown. Empty when fewer than two are numbers."""
    recent = values[-width:]
    numbers = [value for value in recent if _is_number(value)]
    if len(numbers) < 2:
        return ""
    low, high = min(numbers), max(numbers)
    blocks = "▁▂▃▄▅▆▇█"
    scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
    return "".join(blocks[round((value - low) * scale)] if _is_number(value) else " " for value in recent)


def span_s(text: str) -> float:
    """`90`, `90s`, `2h`, `1h30m`, `1d` as seconds. Raises ValueError."""
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a length of time; write 90s, 15m, 2h, 1h30m or 1d")
    if len(parts) > 1 and any(not unit for _, unit in parts):
        raise ValueError(f"{text!r}: a number without unit; write 90s, 15m, 2h, 1h30m or 1d")
    return float(sum(float(number) * _UNIT_S[unit or "s"] for number, unit in parts))


def moment_at(text: str, now: float) -> float:
    """A length of time ago (`2h`), a clock time of today (`14:30`) or a date (`2026-11-24 14:30`). Raises ValueError."""
    try:
        return now - span_s(text)
    except ValueError:
        pass
    try:
        if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text):
            day = datetime.fromtimestamp(now).date().isoformat()
            return datetime.fromisoformat(f"{day} {text.zfill(8 if text.count(':') == 2 else 5)}").timestamp()
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(f"{text!r} is neither a time nor a length of time; write 2h, 14:30 or 2026-11-24T14:30") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) != float("inf")
