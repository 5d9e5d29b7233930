"""What a Nagios-compatible program prints: text, long text, performance data. Text in, values out; runs nothing.

The form is that of the Monitoring Plugins Development Guidelines: `TEXT | 'label'=value[UOM];[warn];[crit];[min];[max] ...`,
then lines of long text, then after another `|` more performance data to the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from common.value import Value

LABELS_MAX = 1000
_ITEM = re.compile(r"\s*(?:'((?:[^']|'')*)'|([^\s'=]+))=(\S*)")
_VALUE = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Printed:
    """`perfdata`: label -> {value, unit, warn, crit, min, max}; value None: undetermined (`U`). warn and crit are ranges."""

    text: str
    long_text: str
    perfdata: dict[str, Value]


def parse(output: str) -> Printed:
    """Never raises: what is no performance data is left out."""
    lines = output.strip("\r\n").splitlines() or [""]
    text, _, perf = lines[0].partition("|")
    long_lines: list[str] = []
    perf_lines = [perf]
    in_perf = False
    for line in lines[1:]:
        if in_perf:
            perf_lines.append(line)
            continue
        words, bar, rest = line.partition("|")
        long_lines.append(words.rstrip())
        if bar:
            in_perf = True
            perf_lines.append(rest)
    return Printed(text.strip(), "\n".join(long_lines).strip(), perfdata(" ".join(perf_lines)))


def perfdata(text: str) -> dict[str, Value]:
    """One line of it, or several joined by blanks. A label given twice counts once, the last."""
    found: dict[str, Value] = {}
    position = 0
    while len(found) < LABELS_MAX:
        match = _ITEM.match(text, position)
        if match is None:
            start = re.compile(r"\S+\s*").match(text, len(text) - len(text[position:].lstrip()))
            if start is None:
                break
            position = start.end()  # no item: skip the word
            continue
        position = match.end()
        label = match[1].replace("''", "'") if match[1] is not None else match[2]
        item = _item(match[3])
        if item is not None and label:
            found[label] = item
    return found


def _item(text: str) -> dict[str, Value] | None:
    first, *limits = text.split(";")
    if first == "U":
        value, unit = None, ""
    else:
        match = _VALUE.fullmatch(first)
        if match is None:
            return None
        value, unit = _number(match[1]), match[2]
    parts: list[str] = [*limits, "", "", "", ""][:4]
    item: dict[str, Value] = {"value": value, "unit": unit, "warn": parts[0] or None, "crit": parts[1] or None}
    return item | {"min": _number(parts[2]), "max": _number(parts[3])}


def _number(text: str) -> int | float | None:
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None
