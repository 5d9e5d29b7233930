"""What a worker said, checked: a plugin may write anything where its worker's answers go. Pure; in the client only."""

from __future__ import annotations

import msgspec

from common.value import plain
from vmclient.frames import Done, FrameFault, FromWorker, Importing, Log, Ready

_any: msgspec.json.Decoder[tuple[str, msgspec.Raw]] = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_kinds: dict[str, msgspec.json.Decoder[FromWorker]] = {
    kind.__name__.lower(): msgspec.json.Decoder(kind) for kind in (Importing, Ready, Done, Log)
}


def heard(body: bytes) -> FromWorker:
    """Raises FrameFault, and nothing else."""
    try:
        name, members = _any.decode(body)
        decoder = _kinds.get(name)
        if decoder is None:
            raise FrameFault(f"a frame of kind {name[:50]!r}")
        what = decoder.decode(members)
        if isinstance(what, Done):
            plain(what.value)  # what no message carries would spoil the answer about all the other properties
        return what
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as fault:
        raise FrameFault(f"not a frame: {fault}") from None


def size_of(what: Done) -> int:
    """Bytes of its value as JSON, never more than the worker itself counts."""
    return len(msgspec.json.encode(what.value))
