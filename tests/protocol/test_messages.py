"""The ten messages: what is said is what is heard, and no bytes whatsoever do harm."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import protocol
from common.bus.contract import PAYLOAD_BYTES_MAX
from common.msgpack_size import objects_over
from common.protocol import ClbControl, Execute, GetProp, Message, PropErr, PropList, PropVal, ProtocolError, Reading

from .messages import messages, values


def pack(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(fields)


def verdict(data: bytes) -> str:
    try:
        return protocol.kind(protocol.decode(data))
    except ProtocolError as fault:
        return str(fault)


@given(messages)
def test_what_is_said_is_heard(message: Message) -> None:
    assert protocol.decode(protocol.encode(message)) == message


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_protocol_error(data: bytes) -> None:
    assert verdict(data).isprintable()


@given(messages, st.integers(0), st.binary(min_size=1, max_size=4))
def test_no_damaged_message_raises_anything_but_a_protocol_error(message: Message, at: int, junk: bytes) -> None:
    data = protocol.encode(message)
    at %= len(data)
    assert verdict(data[:at] + junk + data[at + len(junk) :]).isprintable()


def nested(depth: int, leaf: Any = 1, *, by: str = "list") -> Any:
    for _ in range(depth):
        leaf = [leaf] if by == "list" else {"a": leaf}
    return leaf


BAD: dict[str, bytes] = {
    "nothing": b"",
    "a number": b"\x01",
    "no type": pack(names=[]),
    "an unknown type": pack(type="PROPVALUE"),
    "a type that would forge a line": pack(type="X\n2026-01-01 error: forged\x1b[2J" * 10_000),
    "a huge type": pack(type="x" * 1_000_000),
    "something after the end": protocol.encode(GetProp()) + b"\x00",
    "cut": protocol.encode(GetProp(names=("a", "b")))[:-1],
    "a name with a newline": pack(type="GETPROP", names=["a\nb"]),
    "a name with an escape": pack(type="GETPROP", names=["a\x1b[2J"]),
    "a name with a line separator": pack(type="GETPROP", names=["a\u2028b"]),
    "an empty name": pack(type="GETPROP", names=[""]),
    "a long name": pack(type="GETPROP", names=["x" * 256]),
    "too many names": pack(type="GETPROP", names=["x"] * (protocol.ITEMS_MAX + 1)),
    "names that are no list": pack(type="GETPROP", names="abc"),
    "a surrogate": b"\x82\xa4type\xa7GETPROP\xa5names\x91\xa3\xed\xa0\x80",
    "not UTF-8": b"\x82\xa4type\xa7GETPROP\xa5names\x91\xa1\xff",
    "bytes as a value": pack(type="PROPVAL", reading={"name": "a", "value": b"x"}),
    "bytes within a value": pack(type="PROPVAL", reading={"name": "a", "value": [b"x"]}),
    "a time stamp as a value": pack(type="PROPVAL", reading={"name": "a", "value": msgspec.msgpack.Ext(-1, bytes(4))}),
    "an extension within a value": pack(type="PROPVAL", reading={"name": "a", "value": [msgspec.msgpack.Ext(5, b"x")]}),
    "a number as key": pack(type="EXECUTE", execution="e", command="c", parameters={1: 2}),
    "a list as key": b"\x84\xa4type\xa7EXECUTE\xa9execution\xa1e\xa7command\xa1c\xaaparameters\x81\x91\x01\x01",
    "a list 17 deep": pack(type="PROPVAL", reading={"name": "a", "value": nested(17)}),
    "a map 17 deep": pack(type="PROPVAL", reading={"name": "a", "value": nested(17, by="map")}),
    "a list 500 deep": pack(type="PROPVAL", reading={"name": "a", "value": nested(500)}),
    "bytes deep in the arguments": pack(type="CONTROL", verb="v", arguments={"a": {"b": [1, {"c": b"x"}]}}),
    "a number as key deep in a result": pack(type="EXECVAL", execution="e", result=[{"a": {1: 2}}]),
    "a time in one of many readings": pack(
        type="PROPLIST", readings=[{"name": "a", "value": 1}, {"name": "b", "value": msgspec.msgpack.Ext(-1, bytes(4))}]
    ),
    "a list 100,000 deep": b"\x82\xa4type\xa7PROPVAL\xa7reading\x82\xa4name\xa1a\xa5value" + b"\x91" * 100_000 + b"\x01",
    "a list that claims four billion": b"\x82\xa4type\xa7PROPVAL\xa7reading\x82\xa4name\xa1a\xa5value\xdd\xff\xff\xff\xff",
    "an unknown field 100,000 deep": b"\x82\xa4type\xa7GETPROP\xa1x" + b"\x91" * 100_000 + b"\x01",
    "an age that is no number": pack(type="PROPVAL", reading={"name": "a", "age_s": float("nan")}),
    "an infinite age": pack(type="PROPVAL", reading={"name": "a", "age_s": float("inf")}),
    "an age below zero": pack(type="PROPVAL", reading={"name": "a", "age_s": -1.0}),
    "infinite ticks": pack(type="PROPVAL", reading={"name": "a", "ticks": float("inf")}),
    "a time limit of nothing": pack(type="EXECUTE", execution="e", command="c", timeout_s=0.0),
    "a time limit that is no number": pack(type="EXECUTE", execution="e", command="c", timeout_s=float("nan")),
    "a time limit of a week": pack(type="EXECUTE", execution="e", command="c", timeout_s=604_800.0),
    "an unknown kind of failure": pack(type="EXECERR", execution="e", kind="bored", reason=""),
    "a long reason": pack(type="EXECERR", execution="e", kind="error", reason="x" * 65_537),
    "too many readings": pack(type="PROPLIST", readings=[{"name": "a"}] * (protocol.ITEMS_MAX + 1)),
    "too many errors": pack(type="PROPERR", errors={f"n{i}": "" for i in range(protocol.ITEMS_MAX + 1)}),
    "a long key": pack(type="CLB_CONTROL", verb="hello", values={"x" * 256: 1}),
    "over the payload limit": pack(type="EXECVAL", execution="e", output="x" * PAYLOAD_BYTES_MAX),
}


@pytest.mark.parametrize("what", BAD)
def test_is_refused_in_one_short_printable_sentence(what: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.decode(BAD[what])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


def test_a_bomb_of_empty_maps_is_refused_before_it_takes_memory() -> None:
    head = b"\x82\xa4type\xa7PROPVAL\xa7reading\x82\xa4name\xa1a\xa5value"
    count = PAYLOAD_BYTES_MAX - len(head) - 5
    bomb = head + b"\xdd" + count.to_bytes(4, "big") + b"\x80" * count
    tracemalloc.start()
    with pytest.raises(ProtocolError, match="more than 1000000 objects"):
        protocol.decode(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@given(values, st.integers(0, 60))
def test_objects_are_counted_exactly(value: protocol.Value, limit: int) -> None:
    def count(value: protocol.Value) -> int:
        if isinstance(value, list):
            return 1 + sum(count(item) for item in value)
        if isinstance(value, dict):
            return 1 + sum(1 + count(item) for item in value.values())
        return 1

    assert objects_over(msgspec.msgpack.encode(value), limit) == (count(value) > limit)


@given(st.binary(max_size=300), st.integers(0, 50))
def test_counting_ends_whatever_the_bytes(data: bytes, limit: int) -> None:
    assert objects_over(data, limit) in (True, False)


@pytest.mark.parametrize(
    "message",
    [
        PropVal(reading=Reading(name="a", value=b"x")),  # type: ignore[arg-type]
        PropVal(reading=Reading(name="a", value=object())),  # type: ignore[arg-type]
        PropVal(reading=Reading(name="a", value=nested(17))),
        PropVal(reading=Reading(name="a", value=nested(100_000))),
        PropVal(reading=Reading(name="a", value=2**64)),
        PropVal(reading=Reading(name="a\n")),
        PropVal(reading=Reading(name="a", value="\ud800")),
        PropVal(reading=Reading(name="a", age_s=float("nan"))),
        PropList(readings=(Reading(name="a"),) * (protocol.ITEMS_MAX + 1)),
        PropErr(errors={"": "x"}),
        Execute(execution="e", command="c", parameters={1: 2}),  # type: ignore[dict-item]
        Execute(execution="e", command="c", timeout_s=-1),
        ClbControl(verb="hello", reason="x" * PAYLOAD_BYTES_MAX),
    ],
    ids=protocol.kind,
)
def test_what_the_other_side_would_refuse_is_not_sent(message: Message) -> None:
    with pytest.raises(ProtocolError, match=f"cannot encode {protocol.kind(message)}: "):
        protocol.encode(message)


@pytest.mark.parametrize("by", ["list", "map"])
def test_a_value_as_deep_as_may_be_arrives(by: str) -> None:
    message = PropVal(reading=Reading(name="a", value=nested(protocol.DEPTH_MAX, by=by)))
    assert protocol.decode(protocol.encode(message)) == message


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert protocol.decode(pack(type="GETPROP", names=["a"], since=12.5)) == GetProp(names=("a",))


def test_of_equal_keys_the_last_one_counts_everywhere() -> None:
    data = b"\x83\xa4type\xa7GETPROP\xa5names\x91\xa1a\xa5names\x91\xa1b"
    assert protocol.decode(data) == GetProp(names=("b",))


@pytest.mark.parametrize("name", ["xen1", "xen1.example.org", "a_b-c.1", "_x", "A" * 255])
def test_names_of_hosts_are_valid(name: str) -> None:
    assert protocol.valid_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-x", "a b", "a/b", "a\n", "a\x00", "ä", "A" * 256, "managers", "clients", "all"]
)
def test_names_that_could_be_paths_lines_options_or_groups_are_not(name: str) -> None:
    assert not protocol.valid_name(name)
