"""Checks of provision.ini besides those of common/config/checks.py: addresses, networks, packages. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Any

from configobj.validate import ValidateError

from common.config.values import quoted

Raw = str | list[str]
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_RELEASE = re.compile(r"[a-z]*")
_OPTIONS = re.compile(r"[\w.,:=@/+\[\]()% -]*", re.ASCII)  # nothing that GRUB's script would take for its own
_MOUNT = re.compile(r"[\w.:/@-]+:/\S* /\S+( [\w=.,:/-]+)?", re.ASCII)
_STATE = re.compile(r"(LABEL=|UUID=|/dev/)[\w./-]+", re.ASCII)


def _items(value: Raw) -> list[str]:
    return value if isinstance(value, list) else [value] if value.strip() else []


def _one(value: Raw) -> str:
    if isinstance(value, list):
        raise ValidateError(f"is a list of {len(value)}, and wants one value (quote it where the comma belongs to it)")
    return value.strip()


def mac(value: Raw) -> str:
    text = _one(value).lower().replace("-", ":")
    if not _MAC.fullmatch(text):
        raise ValidateError(f"{quoted(text)} is no address of a card (write 00:16:3e:00:00:01)")
    if int(text[:2], 16) & 1:
        raise ValidateError(f"{text} is an address of many (the first byte must be even)")
    return text


def address(value: Raw) -> IPv4Address:
    text = _one(value)
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ValidateError(f"{quoted(text)} is no address (write 192.0.2.11)") from None


def addresses(value: Raw) -> tuple[IPv4Address, ...]:
    return tuple(address(one) for one in _items(value))


def address_range(value: Raw) -> tuple[IPv4Address, ...]:
    """First and last, with a hyphen between."""
    first, hyphen, last = _one(value).partition("-")
    if not hyphen:
        raise ValidateError(f"{quoted(first)} is no range of addresses (write 192.0.2.100-192.0.2.199)")
    ends = address(first), address(last)
    if ends[1] < ends[0]:
        raise ValidateError(f"{ends[1]} comes before {ends[0]}")
    return ends


def subnet(value: Raw) -> IPv4Network:
    text = _one(value)
    try:
        found = IPv4Network(text)
    except (AddressValueError, NetmaskValueError, ValueError) as fault:
        hint = "the address has bits beyond its mask" if "host bits" in str(fault) else "write 192.0.2.0/24"
        raise ValidateError(f"{quoted(text)} is no network ({hint})") from None
    if "/" not in text or found.prefixlen > 30:
        raise ValidateError(f"{quoted(text)} has no room for machines (write 192.0.2.0/24)")
    return found


def _list_of(expression: re.Pattern[str], what: str) -> Callable[[Raw], tuple[str, ...]]:
    def check(value: Raw) -> tuple[str, ...]:
        for one in _items(value):
            if not expression.fullmatch(one):
                raise ValidateError(f"{quoted(one)} is no {what}")
        return tuple(_items(value))

    return check


def _one_of(expression: re.Pattern[str], what: str) -> Callable[[Raw], str]:
    def check(value: Raw) -> str:
        text = _one(value)
        if text and not expression.fullmatch(text):
            raise ValidateError(f"{quoted(text)} is no {what}")
        return text

    return check


def options(value: Raw) -> str:
    """A kernel's or Xen's. A comma needs no quotes here: these lists have a meaning of their own."""
    text = ",".join(value) if isinstance(value, list) else value.strip()
    if not _OPTIONS.fullmatch(text):
        raise ValidateError(f"{quoted(text)} has a character that a boot menu would not pass on")
    return text


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "address": address,
    "addresses": addresses,
    "address_range": address_range,
    "bridge": _one_of(_BRIDGE, "name of a bridge (letters, digits, _ . -, 15 at most)"),
    "mac": mac,
    "mounts": _list_of(_MOUNT, 'mount (write "SERVER:/folder /place ro")'),
    "options": options,
    "packages": _list_of(_PACKAGE, "name of a package"),
    "release": _one_of(_RELEASE, "name of a release (bookworm)"),
    "state": _one_of(_STATE, "device (LABEL=..., UUID=... or /dev/...)"),
    "subnet": subnet,
}
