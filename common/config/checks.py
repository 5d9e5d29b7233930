"""The check functions of our configspecs: a value of ConfigObj in, the value of the model out. Knows no key and no line.

They raise ValidateError, as configobj's `validate` wants it, with a sentence that says what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configobj.validate import ValidateError, Validator

from common.bus.contract import GROUP_BYTES_MAX
from common.config import values
from common.config.values import quoted

Raw = str | list[str]
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LIST_MAX = 1000

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_COMMAND = re.compile(r"[A-Za-z_][\w.-]*(:[\w.:/@+-]+)?")
_SERVICE = re.compile(r"[A-Za-z0-9_][\w@.:\\-]*", re.ASCII)
_NAME = re.compile(r"[\w.:/@+-][\w.:/@+ -]*")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._+-]{0,63})?", re.ASCII)
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
_AGENT = re.compile(r"fence_[A-Za-z0-9_.+-]{1,60}", re.ASCII)
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_DAEMON = re.compile(r"(\d{1,5})(?:@([A-Za-z0-9._:-]{1,253}))?", re.ASCII)


def _one(value: Raw) -> str:
    if isinstance(value, list):
        raise ValidateError(f"is a list of {len(value)}, and wants one value (quote it where the comma belongs to it)")
    return value.strip()


def _given(value: Raw) -> str:
    text = _one(value)
    if not text:
        raise ValidateError("is empty")
    return text


def _many(value: Raw) -> list[str]:
    items = [value] if isinstance(value, str) and value.strip() else [] if isinstance(value, str) else value
    if len(items) > LIST_MAX:
        raise ValidateError(f"has {len(items)} items, the limit is {LIST_MAX}")
    return items


def _between(value: float, low: str, high: str, shown: str, show: Callable[[float], str]) -> None:
    if not float(low) <= value <= float(high):
        side = "small" if value < float(low) else "large"
        raise ValidateError(f"{shown} is too {side} ({show(float(low))} to {show(float(high))})")


def _read(parse: Callable[[str], Any], value: Raw) -> Any:
    try:
        return parse(_given(value))
    except ValueError as fault:
        raise ValidateError(str(fault)) from None


def _count(number: float) -> str:
    return f"{number:g}" if number < 1e6 else str(int(number))


def duration(value: Raw, low: str, high: str) -> float:
    seconds: float = _read(values.duration, value)
    _between(seconds, low, high, _one(value), values.show_duration)
    return seconds


def ticks(value: Raw, low: str, high: str) -> float:
    text = _given(value)
    if text == "-1":
        return -1.0
    if text.startswith("-"):
        raise ValidateError(f"{quoted(text)} is not a time (write 30, 30s, 5m, 2h, or -1 for never by the clock)")
    return duration(value, low, high)


def size(value: Raw, low: str, high: str) -> int:
    count: int = _read(values.size, value)
    _between(count, low, high, _one(value), lambda limit: values.show_size(int(limit)))
    return count


def whole(value: Raw, low: str, high: str) -> int:
    text = _given(value)
    if not re.fullmatch(r"[+-]?\d{1,15}", text, re.ASCII):
        raise ValidateError(f"{quoted(text)} is not a whole number ({low} to {high})")
    _between(int(text), low, high, text, _count)
    return int(text)


def number(value: Raw, low: str, high: str) -> float:
    text = _given(value)
    if not re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,15})?", text, re.ASCII):
        raise ValidateError(f"{quoted(text)} is not a number ({low} to {high})")
    _between(float(text), low, high, text, _count)
    return float(text)


def rate(value: Raw, count_max: str, low: str, high: str) -> tuple[int, float | None]:
    """(count, seconds); no seconds where only 0, for no limit, is written."""
    if _one(value) == "0":
        return 0, None
    count, seconds = _read(values.rate, value)
    _between(count, "0", count_max, str(count), _count)
    _between(seconds, low, high, values.show_duration(seconds), values.show_duration)
    return count, seconds


def share(value: Raw) -> float:
    part: float = _read(values.share, value)
    if not 0 < part <= 1:
        raise ValidateError(f"{quoted(_one(value))} is no possible share (more than 0%, up to 100%)")
    return part


def flag(value: Raw) -> bool:
    text = _given(value).lower()
    if text in ("yes", "true", "on", "1"):
        return True
    if text in ("no", "false", "off", "0"):
        return False
    raise ValidateError(f"{quoted(text)} is neither yes nor no")


def choice(value: Raw, *options: str) -> str:
    text = _given(value)
    if text not in options:
        raise ValidateError(f"{quoted(text)} is not one of {', '.join(options)}")
    return text


def level(value: Raw) -> str:
    name = _given(value)
    return choice(name.upper() if name.upper() in LEVELS else name, *LEVELS)


def path(value: Raw) -> Path | None:
    text = _one(value)
    return Path(text) if text else None


def watchdog(value: Raw) -> str:
    engine = _given(value)
    if engine not in ("auto", "none", "sim") and not engine.startswith("/"):
        raise ValidateError(f"{quoted(engine)} is neither auto, none nor sim, nor the absolute path of a device")
    return engine


def text(value: Raw, most: str) -> str:
    line = _one(value)
    if len(line) > int(most):
        raise ValidateError(f"has {len(line)} characters, the limit is {most}")
    return line


def words(value: Raw) -> tuple[str, ...]:
    return tuple(_many(value))


def word(value: Raw) -> str:
    return _one(value)


def pattern(value: Raw) -> str:
    expression = _given(value)
    try:
        re.compile(expression)
    except (re.error, RecursionError, OverflowError) as fault:
        raise ValidateError(f"{quoted(expression)} is no regular expression: {fault}") from None
    return expression


def daemon(value: Raw) -> str:
    address = _given(value)
    found = _DAEMON.fullmatch(address)
    if not found:
        raise ValidateError(f"{quoted(address)} is no address of a daemon (write 4803@127.0.0.1, or 4803)")
    if not 1 <= int(found[1]) <= 65535:
        raise ValidateError(f"{found[1]} is no port (1 to 65535)")
    return address


def code(value: Raw) -> bool:
    """Whether a block of Python stands here; the block itself was taken out before ConfigObj read the file."""
    if value != "{ }":
        raise ValidateError("is not between braces (write { ... } around the Python)")
    return True


def group(value: Raw) -> str:
    name = _one(value)
    if name == "managers":
        raise ValidateError("managers are no clients (write clients, or a group)")
    if name:
        _group(name)
    return name


def groups(value: Raw) -> tuple[str, ...]:
    for name in _many(value):
        if name == "clients":
            raise ValidateError("every client is in clients anyway (leave it out)")
        if name == "managers":
            raise ValidateError("only managers are in managers (leave it out)")
        _group(name)
    return _distinct(value)


def _group(name: str) -> None:
    if not _GROUP.fullmatch(name):
        raise ValidateError(f"{quoted(name)} is no name of a group (letters, digits, _ . -)")
    if len(name) > GROUP_BYTES_MAX:
        raise ValidateError(f"{quoted(name)} has {len(name)} characters, the bus takes {GROUP_BYTES_MAX}")


def host(value: Raw) -> str:
    name = _one(value)
    return _matching(_HOST, name, "name of a host (letters, digits, . _ -)") if name else ""


def _matching(expression: re.Pattern[str], item: str, what: str) -> str:
    if not expression.fullmatch(item) or len(item) > 255:
        raise ValidateError(f"{quoted(item)} is no {what}")
    return item


def _distinct(value: Raw) -> tuple[str, ...]:
    items = _many(value)
    twice = next((item for at, item in enumerate(items) if item in items[:at]), None)
    if twice is not None:
        raise ValidateError(f"names {quoted(twice)} twice")
    return tuple(items)


def _list_of(expression: re.Pattern[str], what: str) -> Callable[[Raw], tuple[str, ...]]:
    return lambda value: tuple(_matching(expression, item, what) for item in _distinct(value))


def name(value: Raw) -> str:
    return _matching(_NAME, _given(value), "name")


def image(value: Raw) -> str:
    given = _given(value)
    return _matching(_IMAGE, given, "image (NAME or NAME@VERSION)") if given else ""


def agent(value: Raw) -> str:
    program = _given(value)
    if not program.startswith("/") and not _AGENT.fullmatch(program):
        raise ValidateError(f"{quoted(program)} is no fence agent (fence_... as in fence-agents, or an absolute path)")
    return program


def account(value: Raw) -> str:
    group_name = _one(value)
    return _matching(_ACCOUNT, group_name, "name of a unix group") if group_name else ""


def nic(value: Raw) -> tuple[str, str, int]:
    """(bridge, MAC or empty, VLAN or 0): `xenbr0, mac=00:16:3e:00:00:01, vlan=12`."""
    bridge, options = _options(value, ("mac", "vlan"))
    _matching(_BRIDGE, bridge, "name of a bridge (letters, digits, _ . -, 15 at most)")
    mac = options.get("mac", "").lower()
    if "mac" in options and not _MAC.fullmatch(mac):
        raise ValidateError(f"{quoted(mac)} is no address of a card (write 00:16:3e:00:00:01)")
    if mac and int(mac[:2], 16) & 1:
        raise ValidateError(f"{mac} is an address of many (the first byte must be even)")
    return bridge, mac, whole(options["vlan"], "1", "4094") if "vlan" in options else 0


def disk(value: Raw) -> tuple[str, bool, str]:
    """(path, read only, format): `/dev/vg0/mail1, ro, format=qcow2`."""
    path, options = _options(value, ("format",), ("ro", "rw"))
    if not path.startswith("/") or path.endswith("/"):
        raise ValidateError(f"{quoted(path)} is no absolute path of a disk")
    if {"ro", "rw"} <= options.keys():
        raise ValidateError("is both ro and rw")
    return path, "ro" in options, choice(options.get("format", "raw"), "raw", "qcow2")


def _options(value: Raw, names: tuple[str, ...], flags: tuple[str, ...] = ()) -> tuple[str, dict[str, str]]:
    """The first item, and what stands behind it as name=value, or as a flag."""
    items = _many(value)
    if not items:
        raise ValidateError("is empty")
    options: dict[str, str] = {}
    for item in items[1:]:
        key, equals, text = item.partition("=")
        if not (key in names and equals) and item not in flags:
            raise ValidateError(f"{quoted(item)} is not one of {', '.join([*flags, *(f'{each}=' for each in names)])}")
        if key in options:
            raise ValidateError(f"{key} is there twice")
        options[key] = text
    return items[0], options


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "account": account,
    "agent": agent,
    "choice": choice,
    "code": code,
    "commands": _list_of(_COMMAND, "name of a command"),
    "daemon": daemon,
    "disk": disk,
    "duration": duration,
    "flag": flag,
    "group": group,
    "groups": groups,
    "host": host,
    "hosts": _list_of(_HOST, "name of a host (letters, digits, . _ -)"),
    "level": level,
    "modules": _list_of(_MODULE, "name of a Python module"),
    "image": image,
    "name": name,
    "names": _list_of(_NAME, "name of a trigger"),
    "nic": nic,
    "number": number,
    "path": path,
    "pattern": pattern,
    "rate": rate,
    "services": _list_of(_SERVICE, "name of a service"),
    "share": share,
    "size": size,
    "text": text,
    "ticks": ticks,
    "watchdog": watchdog,
    "whole": whole,
    "word": word,
    "words": words,
}


def validator(more: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """`more`: functions of a file that has checks of its own."""
    return Validator({**FUNCTIONS, **(more or {})})
