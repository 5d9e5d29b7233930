"""What a worker said, checked: a plugin may write anything where its worker's answers go. Pure; in the client only."""

from __future__ import annotations

import msgspec

from common.value import plain
from vmclient.frames import TEXT_CHARS_MAX, Done, FrameFault, FromWorker, Importing, Log, Progress, Ready

_any: msgspec.json.Decoder[tuple[str, msgspec.Raw]] = msgspec.json.Decoder(tuple[str, msgspec.Raw])
_kinds: dict[str, msgspec.json.Decoder[FromWorker]] = {
    kind.__name__.lower(): msgspec.json.Decoder(kind) for kind in (Importing, Ready, Done, Log, Progress)
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
        if isinstance(what, Progress):
            _check(what)
        return what
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as fault:
        raise FrameFault(f"not a frame: {fault}") from None


def _check(progress: Progress) -> None:
    """Raises ValueError for what no message carries."""
    plain(progress.text)
    if len(progress.text) > TEXT_CHARS_MAX:
        raise ValueError(f"progress of {len(progress.text)} characters, the limit is {TEXT_CHARS_MAX}")
    if progress.share is not None and not 0.0 <= progress.share <= 1.0:
        raise ValueError(f"a share of {progress.share:g}")


def size_of(what: Done) -> int:
    """Bytes of its value as JSON, never more than the worker itself counts."""
    return len(msgspec.json.encode(what.value))
