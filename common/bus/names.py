"""Names that fit the bus: short, legal, stable, and different for different hosts and groups. Strings in, strings out.

Spread allows 10 bytes for a session and 31 for a group, each of '$'..'~'. What fits is used as it is; the rest is cut and
gets a digest. The full names travel in the protocol's hello message.
"""

from __future__ import annotations

from typing import Final

from nacl.bindings import crypto_hash_sha256

from common.bus.contract import GROUP_BYTES_MAX, PRIVATE_BYTES_MAX, BusError

NAME_CHARS_MAX: Final = 255  # of a full name, before it is cut
_LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"  # 64: 6 bits each
_PRIVATE_DIGEST_LETTERS: Final = 6  # 36 bits: among 2,000 hosts two are alike once in 34,000 farms, and then a variant helps
_GROUP_DIGEST_LETTERS: Final = 14  # 84 bits: nobody finds two groups that become one
_MARK: Final = "~"  # stands before a digest


def _digest(text: str, letters: int) -> str:
    hashed = crypto_hash_sha256(text.encode("utf-8", "surrogateescape"))  # not hashlib: that maps OpenSSL, 4 MB in every client
    number = int.from_bytes(hashed[:16], "big")
    return "".join(_LETTERS[number >> (6 * at) & 63] for at in range(letters))


def _legal(text: str) -> bool:
    return all("$" <= letter <= "~" for letter in text)


def _kept(text: str, letters: int) -> str:
    """The first letters that are safe everywhere, so that people recognise the name."""
    return "".join(letter for letter in text if letter.isascii() and (letter.isalnum() or letter in "_-"))[:letters]


def private_name(full_name: str, variant: int = 0) -> str:
    """The session name of a host, at most 10 bytes. Each `variant` is another name, for when one is taken.

    The host's name without its domain where that fits: hosts of two domains that are called alike get variants."""
    label = full_name.partition(".")[0]
    for fitting in (full_name, label):
        if not variant and 0 < len(fitting) <= PRIVATE_BYTES_MAX and _legal(fitting) and _MARK not in fitting:
            return fitting
    room = PRIVATE_BYTES_MAX - _PRIVATE_DIGEST_LETTERS - len(_MARK)
    digest = _digest(f"{full_name}\0{variant}", _PRIVATE_DIGEST_LETTERS)
    return f"{_kept(label, room)}{_MARK}{digest}"


def group_name(group: str) -> str:
    """What a group is called on the bus, at most 31 bytes; a private address (#name#daemon) stays as it is.

    Raises BusError for a name that is empty, over 255 characters, or holds a control character."""
    if not group or len(group) > NAME_CHARS_MAX or not group.isprintable():
        raise BusError(f"illegal group name {group[: NAME_CHARS_MAX + 1]!r}")
    if is_private(group):
        return group
    if len(group) <= GROUP_BYTES_MAX and _legal(group) and _MARK not in group:
        return group
    room = GROUP_BYTES_MAX - _GROUP_DIGEST_LETTERS - len(_MARK)
    return f"{_kept(group, room)}{_MARK}{_digest(group, _GROUP_DIGEST_LETTERS)}"


def is_private(name: str) -> bool:
    """Is this the address of a session: #name#daemon?"""
    short, _, daemon = name[1:].partition("#")
    return name[:1] == "#" and 0 < len(name) <= GROUP_BYTES_MAX and all(part and _legal(part) for part in (short, daemon))


class GroupNames:
    """Remembers which full name stands behind a name on the bus, for the groups that were joined."""

    def __init__(self) -> None:
        self._full: dict[str, str] = {}

    def joined(self, group: str) -> str:
        """The name on the bus."""
        wire = group_name(group)
        if wire != group:
            self._full[wire] = group
        return wire

    def full(self, wire: str) -> str:
        """The name it was joined under; unknown names stay as they are."""
        return self._full.get(wire, wire)

    def full_names(self, wires: tuple[str, ...]) -> tuple[str, ...]:
        """The same for several; costs nothing where no name was cut."""
        return tuple(map(self.full, wires)) if self._full else wires
