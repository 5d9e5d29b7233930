"""Hypothesis strategies for everything that may be said, and a little farm of keys to say it with."""

from __future__ import annotations

from hypothesis import strategies as st
from nacl.signing import SigningKey

from common import keys
from common.envelope import Opener, Sealer
from common.keys import Keyring
from common.protocol import (
    ClbControl,
    Control,
    ExecErr,
    Execute,
    ExecVal,
    FetchProp,
    GetProp,
    Message,
    PropErr,
    PropList,
    PropVal,
    Reading,
    Value,
)

NOW = 1_800_000_000.0

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)
seconds = st.floats(0, 1e10)
plain: st.SearchStrategy[Value] = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts
)
values: st.SearchStrategy[Value] = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
).filter(lambda value: depth(value) <= 8)
arguments = st.dictionaries(texts, values, max_size=4)
readings = st.builds(
    Reading, name=names, value=values, type=texts, unit=texts, age_s=seconds, ticks=st.just(-1.0) | seconds, error=texts
)
manager_messages: st.SearchStrategy[Message] = (
    st.builds(GetProp, names=st.lists(names, max_size=4).map(tuple))
    | st.builds(FetchProp, names=st.lists(names, max_size=4).map(tuple))
    | st.builds(Execute, execution=names, command=names, parameters=arguments, timeout_s=st.floats(0.1, 86400))
    | st.builds(Control, verb=names, arguments=arguments)
)
client_messages: st.SearchStrategy[Message] = (
    st.builds(PropVal, reading=readings)
    | st.builds(PropList, readings=st.lists(readings, max_size=4).map(tuple), complete=st.booleans())
    | st.builds(PropErr, errors=st.dictionaries(names, texts, max_size=4))
    | st.builds(ExecVal, execution=names, result=values, output=texts, elapsed_s=seconds, repeated=st.booleans())
    | st.builds(
        ExecErr,
        execution=names,
        kind=st.sampled_from(("error", "timeout", "refused", "busy", "interrupted")),
        reason=texts,
        result=values,
        output=texts,
        elapsed_s=seconds,
        repeated=st.booleans(),
    )
    | st.builds(ClbControl, verb=names, ok=st.booleans(), reason=texts, values=arguments)
)
messages = manager_messages | client_messages


def depth(value: Value) -> int:
    if isinstance(value, list):
        return 1 + max((depth(item) for item in value), default=0)
    if isinstance(value, dict):
        return 1 + max((depth(item) for item in value.values()), default=0)
    return 0


class Farm:
    """A manager m1, an accepted client xen1, and the keys by which they know each other. Keys are fixed, so bytes are too."""

    def __init__(self) -> None:
        self.secrets = {name: SigningKey(bytes([n] * 32)) for n, name in enumerate(("m1", "xen1"), 1)}
        self.keyring = Keyring()
        self.keyring.set("m1", keys.raw_public(self.secrets["m1"]), "manager", "accepted")
        self.keyring.set("xen1", keys.raw_public(self.secrets["xen1"]), "client", "accepted")
        self.m1 = Sealer("m1", self.secrets["m1"])
        self.xen1 = Sealer("xen1", self.secrets["xen1"])

    def at_xen1(self, *, epoch: int = 0, floors: dict[str, int] | None = None) -> Opener:
        return Opener(("xen1", "clients", "dom0"), self.keyring, epoch=epoch, floors=floors)

    def at_m1(self, *, floors: dict[str, int] | None = None) -> Opener:
        return Opener(("m1", "managers"), self.keyring, floors=floors)
