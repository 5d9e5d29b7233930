"""The ten messages, as frozen structs, and their msgpack form. Bytes in, messages out; no clock, no socket, no key.

The names are the prototype's. Requests go from a manager to clients (and between managers), answers from a client to the
group `managers`, so that every standby has the state. See docs/protocol.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from common.bus.contract import PAYLOAD_BYTES_MAX
from common.msgpack_size import objects_over
from common.value import DEPTH_MAX as DEPTH_MAX
from common.value import Value as Value  # part of the protocol; stands there so that workers need not load this

GROUP_MANAGERS = "managers"
GROUP_CLIENTS = "clients"

NOT_READ = "not read yet"  # the error of a property whose first reading is under way

RESERVED = frozenset({GROUP_MANAGERS, GROUP_CLIENTS, "all"})  # no daemon may be called so

ITEMS_MAX = 10_000  # readings, errors or names in one message
OBJECTS_MAX = 1_000_000  # msgpack objects in one message: one byte of it can become 72 bytes of memory, an empty dict

ADDRESS_PATTERN = r"\A[A-Za-z0-9_][A-Za-z0-9._-]*\Z"  # no path, no hidden file, nothing that could forge a log line
NAME_PATTERN = r"\A[^\x00-\x1f\x7f-\x9f\u2028\u2029]+\Z"  # one line

Address = Annotated[str, Meta(min_length=1, max_length=255, pattern=ADDRESS_PATTERN)]
"""A daemon or a group, as envelopes name them."""

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=NAME_PATTERN)]
Names = Annotated[tuple[Name, ...], Meta(max_length=ITEMS_MAX)]
Text = Annotated[str, Meta(max_length=65536)]
Word = Annotated[str, Meta(max_length=255)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]  # so neither NaN nor infinite

Values = dict[Annotated[str, Meta(max_length=255)], Value]
_PLAIN = frozenset({type(None), bool, int, float, str})

_address = re.compile(ADDRESS_PATTERN)


def valid_address(name: str) -> bool:
    """May a daemon or a group be called so?"""
    return len(name) <= 255 and _address.match(name) is not None


def valid_name(name: str) -> bool:
    """May a daemon be called so?"""
    return valid_address(name) and name not in RESERVED


class ProtocolError(Exception):
    """Bytes that are no message of ours. The only exception `decode` raises."""


class Reading(Struct, frozen=True, kw_only=True):
    """One property as the client last read it. A failed read has `error` and no value: unknown, never zero.

    `age_s` counts from the read to the sending on the client's monotonic clock, so clocks of hosts need not agree.
    `ticks` is the period in seconds (-1: never by the clock)."""

    name: Name
    value: Value = None
    type: Word = "str"
    unit: Word = ""
    age_s: Seconds = 0.0
    ticks: Annotated[float, Meta(ge=-1, le=1e10)] = -1.0
    error: Text = ""


class GetProp(Struct, frozen=True, kw_only=True, tag="GETPROP"):
    """Send the last values read. No names: all."""

    names: Names = ()


class FetchProp(Struct, frozen=True, kw_only=True, tag="FETCHPROP"):
    """Read now, then answer. No names: all."""

    names: Names = ()


class Execute(Struct, frozen=True, kw_only=True, tag="EXECUTE"):
    """Run a plugin command. `execution` is the idempotency key: a repeat is answered from the record, not run again."""

    execution: Name
    command: Name
    parameters: Values = {}
    timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 60.0


class Control(Struct, frozen=True, kw_only=True, tag="CONTROL"):
    """A verb for the receiving daemon itself: ping, reload, set-ticks, pause, resume, shutdown, ..."""

    verb: Name
    arguments: Values = {}


class PropVal(Struct, frozen=True, kw_only=True, tag="PROPVAL"):
    """One reading: the answer to one name, or pushed unasked (then the envelope answers nothing)."""

    reading: Reading


class PropList(Struct, frozen=True, kw_only=True, tag="PROPLIST"):
    """Several readings, failed ones included. `complete`: these are all properties this client has."""

    readings: Annotated[tuple[Reading, ...], Meta(max_length=ITEMS_MAX)]
    complete: bool = False


class PropErr(Struct, frozen=True, kw_only=True, tag="PROPERR"):
    """The named properties could not be given: no such property, reader failed, timed out. Name -> reason."""

    errors: Annotated[dict[Name, Text], Meta(max_length=ITEMS_MAX)]


class ExecVal(Struct, frozen=True, kw_only=True, tag="EXECVAL"):
    """A command ended well. `repeated`: answered from the record of an earlier run."""

    execution: Name
    result: Value = None
    output: str = ""
    elapsed_s: Seconds = 0.0
    repeated: bool = False


class ExecErr(Struct, frozen=True, kw_only=True, tag="EXECERR"):
    """A command did not end well, and why. `interrupted`: the client died in the middle, the outcome is not known."""

    execution: Name
    kind: Literal["error", "timeout", "refused", "busy", "interrupted"]
    reason: Text
    result: Value = None
    output: str = ""
    elapsed_s: Seconds = 0.0
    repeated: bool = False


class ClbControl(Struct, frozen=True, kw_only=True, tag="CLB_CONTROL"):
    """The call-back of CONTROL; unasked with verb `hello` when a client connects (values: see docs/protocol.md)."""

    verb: Name
    ok: bool = True
    reason: Text = ""
    values: Values = {}


Request = GetProp | FetchProp | Execute | Control
Answer = PropVal | PropList | PropErr | ExecVal | ExecErr | ClbControl
Message = Request | Answer

FROM_MANAGER = (GetProp, FetchProp, Execute, Control)
FROM_CLIENT = (PropVal, PropList, PropErr, ExecVal, ExecErr, ClbControl)

_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_encoder = msgspec.msgpack.Encoder()


def flat(one: Any) -> dict[str, Value]:
    """The fields of a dataclass with slots, as they are: asdict would copy them deeply."""
    return {name: getattr(one, name) for name in one.__slots__}


def kind(message: Message) -> str:
    """The wire name, as the prototype has it: GETPROP, PROPVAL, ..."""
    return str(message.__struct_config__.tag)


def encode(message: Message) -> bytes:
    """Raises ProtocolError when the other side would not take it: too large, too deep, or what msgpack cannot carry."""
    return _carried(message)[0]


def carried(message: Message) -> Message:
    """As the other side has it. Raises ProtocolError like `encode`."""
    return _carried(message)[1]


def _carried(message: Message) -> tuple[bytes, Message]:
    try:
        data = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as fault:
        raise ProtocolError(f"cannot encode {kind(message)}: {_short(fault)}") from None
    try:
        return data, decode(data)
    except ProtocolError as fault:
        raise ProtocolError(f"cannot encode {kind(message)}: {fault}") from None


def decode(data: bytes) -> Message:
    """Raises ProtocolError, and nothing else, whatever the bytes are."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise ProtocolError(f"{len(data)} bytes, the limit is {PAYLOAD_BYTES_MAX}")
    if objects_over(data, OBJECTS_MAX):
        raise ProtocolError(f"more than {OBJECTS_MAX} objects")
    try:
        message = _decoder.decode(data)
        _check_values(_values_of(message), DEPTH_MAX)
    except (msgspec.DecodeError, RecursionError, ValueError, OverflowError) as fault:
        raise ProtocolError(f"not a message: {_short(fault)}") from None
    return message


def _values_of(message: Message) -> Iterable[Value]:
    match message:
        case PropVal():
            return (message.reading.value,)
        case PropList():
            return [reading.value for reading in message.readings]
        case Execute():
            return message.parameters.values()
        case Control():
            return message.arguments.values()
        case ExecVal() | ExecErr():
            return (message.result,)
        case ClbControl():
            return message.values.values()
    return ()


def _check_values(values: Iterable[Any], depth: int) -> None:
    """Raises ValueError for what is no Value: msgpack has also bytes, times, extensions, and keys of any type.

    A type that says all this (a union that nests itself) costs msgspec 2^depth nodes; this costs 20 ns for each value."""
    odd = set(map(type, values)) - _PLAIN
    if not odd:
        return
    if not odd <= {list, dict}:
        raise ValueError(f"a value holds {', '.join(sorted(kind.__name__ for kind in odd - {list, dict}))}")
    if not depth:
        raise ValueError(f"a value is more than {DEPTH_MAX} deep")
    for value in values:
        if type(value) is list:
            _check_values(value, depth - 1)
        elif type(value) is dict:
            if not set(map(type, value)) <= {str}:
                raise ValueError("a value holds a key that is no text")
            _check_values(value.values(), depth - 1)


def _short(fault: Exception) -> str:
    """Faults quote what they found, and that may be anything."""
    return ascii(str(fault)[:200])[1:-1]
