"""Leaders' decisions are numbered, and each says which one it follows: so a manager knows whether it has heard them all. Pure.

docs/design/0040 says what goes wrong without. What a doubt means for hosts and VMs, watch.py, proof.py and protection.py say.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.protocol import Value
from vmmanager.failover.authority import Authority

Number = tuple[int, int]  # a reign, and so many of its decisions


class Sequence:
    """`at`: up to there all is known. `doubt`: a reign before may have told something that we have not heard."""

    def __init__(self) -> None:
        self.at: Number = (0, 0)
        self.doubt = False
        self._reigned = 0  # the last reign of our own

    def restore(self, row: Mapping[str, Value]) -> None:
        self.at, self.doubt = _number([row.get("epoch"), row.get("told")]), row.get("doubt") is True

    def row(self, at: Number) -> dict[str, Value]:
        return {"epoch": at[0], "told": at[1], "doubt": self.doubt}

    def next(self, authority: Authority) -> dict[str, Value]:
        """What a decision of ours says of its place."""
        after = self.at
        if authority.epoch:  # else we lead no longer, and decide nothing
            authority.told += 1
            self.at = (authority.epoch, authority.told)
        return {"after": list(after), "heard": list(self.at)}

    def after(self, arguments: Mapping[str, Value], *, own: bool) -> Number:
        """Up to where all is known once this decision is heard. Who has heard the one before has heard all up to it: whoever
        was away has not, until a leader tells it the whole state."""
        if not own and _number(arguments.get("after")) != self.at:  # safety: what came between is not known here
            return self.at
        return _number(arguments.get("heard"))

    def took_over(self, authority: Authority) -> bool:
        """Is everything known that the reign before has decided?"""
        is_same = authority.epoch == self._reigned
        knows_all = is_same or authority.alone or authority.before <= self.at
        self._reigned = authority.epoch
        self.doubt = not authority.alone and (self.doubt or not knows_all)  # safety: a host may have got what we do not know of
        return knows_all


def _number(value: Value) -> Number:
    numbers = value if isinstance(value, list) and len(value) == 2 else [0, 0]
    epoch, told = (each if isinstance(each, int) else 0 for each in numbers)
    return epoch, told
