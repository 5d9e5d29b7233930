"""Past values of one property, in as few bytes as they need. Knows no client and no clock.

300 clients with 20 properties and 1,000 samples each are 6 million samples: as pairs of Python objects 670 MB, here 96 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, overload

from common.protocol import Value

Sample = tuple[float, Value]

TEXT_CHARS_MAX = 1024  # longer texts, and lists and dicts, have no history: only their last value is kept
TEXTS_MAX = 100  # samples of text kept per property: 100 KB at most
_EXACT = 2**53  # integers up to here are exact as float
_CODES: dict[type, str] = {bool: "b", int: "q", float: "d"}


class History(Sequence[Sample]):
    """(time, value), oldest first, at most `keep` of them. Times are the manager's wall clock, in seconds.

    One type per history: when a reader changes its type, what came before is dropped (but int becomes float)."""

    __slots__ = ("_code", "_keep", "_times", "_values")

    def __init__(self, keep: int, samples: Sequence[Sample] = ()) -> None:
        self._keep = keep
        self._code = ""
        self._times = array("d")
        self._values: Any = []
        for time, value in samples:
            self.append(time, value)

    def append(self, time: float, value: Value) -> None:
        code = _code_of(value)
        if not code or self._keep <= 0:
            return
        if code != self._code:
            self._turn_into(code)
        if self._code == "d" and code == "q":
            value = float(value)  # type: ignore[arg-type]
        self._times.append(time)
        self._values.append(value)
        self._trim(self._keep if self._code != "s" else min(self._keep, TEXTS_MAX))

    def forget_before(self, time: float) -> None:
        """Drops what is older than `time`."""
        gone = 0
        while gone < len(self._times) and self._times[gone] < time:
            gone += 1
        if gone:
            del self._times[:gone], self._values[:gone]

    def shift(self, by_s: float) -> None:
        """The wall clock was set: the samples stay as old as they are."""
        self._times = array("d", [time + by_s for time in self._times])

    def set_keep(self, keep: int) -> None:
        self._keep = keep
        self._trim(keep)

    def _trim(self, keep: int) -> None:
        extra = len(self._times) - keep
        if extra > keep // 8 or (extra > 0 and keep < 8):  # by the lot: deleting at the front moves all the rest
            del self._times[:extra], self._values[:extra]

    def _turn_into(self, code: str) -> None:
        if self._code == "d" and code == "q":
            return
        if self._code == "q" and code == "d" and all(-_EXACT <= value <= _EXACT for value in self._values):
            self._code, self._values = "d", array("d", self._values)
            return
        self._code = code
        self._times = array("d")
        self._values = [] if code == "s" else array(code)

    def _start(self) -> int:
        keep = self._keep if self._code != "s" else min(self._keep, TEXTS_MAX)
        return max(0, len(self._times) - keep)

    def _value(self, index: int) -> Value:
        value: Value = self._values[index]
        return bool(value) if self._code == "b" else value

    def __len__(self) -> int:
        return len(self._times) - self._start()

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(self._start(), len(self._times))[index]
        return self._times[place], self._value(place)

    def __iter__(self) -> Iterator[Sample]:
        for place in range(self._start(), len(self._times)):
            yield self._times[place], self._value(place)

    def __reversed__(self) -> Iterator[Sample]:
        for place in range(len(self._times) - 1, self._start() - 1, -1):
            yield self._times[place], self._value(place)


def _code_of(value: Value) -> str:
    """How a value is kept: an array's type code, `s` for text; empty: not at all."""
    code = _CODES.get(type(value), "")
    if code == "q" and not -(2**63) <= value < 2**63:  # type: ignore[operator]
        return ""
    if isinstance(value, str) and len(value) <= TEXT_CHARS_MAX:
        return "s"
    return code
