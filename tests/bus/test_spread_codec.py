"""The session protocol as bytes: golden vectors observed on a real 5.0.1 daemon, round trips, and bytes from nowhere."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.bus.spread import codec, constants
from common.bus.spread.codec import Accepted, Header, Hello, Membership, Message, ProtocolError
from common.bus.spread.messages import MembershipMsgType, RefusedMsgType, RegularMsgType, received
from common.bus.spread.stream import Stream


def pad(name: bytes) -> bytes:
    return name.ljust(32, b"\0")


ALICE = pad(b"#alice#localhost")
MULTICAST = bytes.fromhex("90000080") + ALICE + bytes.fromhex("01000000 80341280 05000000") + pad(b"grp") + b"hello"
JOIN = bytes.fromhex("80000180") + ALICE + bytes.fromhex("01000000 80000080 00000000") + pad(b"grp")
GROUP_ID = bytes.fromhex("2697c51c 53d6046b 02000000")
BOB_JOINED = (
    bytes.fromhex("80110080")
    + pad(b"grp")
    + bytes.fromhex("02000000 80000080 38000000")
    + ALICE
    + pad(b"#bob#localhost")
    + GROUP_ID
    + bytes.fromhex("01000000 00000000 01000000")
    + pad(b"#bob#localhost")
)
SELF_LEAVE = bytes.fromhex("80020080") + pad(b"grp") + bytes.fromhex("00000000 80000080 00000000")
TRANSITIONAL = bytes.fromhex("80200080") + pad(b"g") + bytes.fromhex("00000000 80000080 0c000000") + GROUP_ID


# what a real daemon says and hears -------------------------------------------------------------------------------------------


def test_hello() -> None:
    golden = bytes.fromhex("05000101 05 616c696365")
    hello = Hello((5, 0, 1), True, 0, "alice")
    assert codec.encode_hello(hello) == golden
    assert codec.decode_hello(golden) == (hello, len(golden))
    assert all(codec.decode_hello(golden[:cut]) is None for cut in range(len(golden)))


def test_authentication_methods_and_choice() -> None:
    assert codec.encode_auth_methods(["NULL"]) == bytes.fromhex("05 4e554c4c20")
    assert codec.decode_auth_methods(b"NULL ") == ("NULL",)
    assert codec.encode_auth_choice(["NULL"]) == b"NULL" + bytes(86)
    assert codec.decode_auth_choice(b"NULL" + bytes(86)) == ("NULL",)


def test_accept_message() -> None:
    golden = bytes.fromhex("01 050001 10") + b"#alice#localhost"
    assert codec.encode_accepted(Accepted((5, 0, 1), "#alice#localhost")) == golden
    assert codec.decode_accepted(golden[1:]) == Accepted((5, 0, 1), "#alice#localhost")


@pytest.mark.parametrize(
    ("byte", "code"), [(b"\xfa", -6), (b"\xfb", -5), (b"\xf9", -7), (b"\xfd", -3), (b"\xf7", -9), (b"\x05", 5)]
)
def test_answer_bytes_are_signed(byte: bytes, code: int) -> None:
    assert codec.signed_byte(byte) == code
    assert codec.encode_reply_code(code) == byte


def test_multicast() -> None:
    message = Message(constants.AGREED_MESS, "#alice#localhost", ("grp",), 0x1234, b"hello")
    assert codec.encode_message(message) == MULTICAST
    assert codec.decode_message(MULTICAST) == message


def test_join_request() -> None:
    assert codec.encode_request(constants.JOIN_MESS, "#alice#localhost", "grp") == JOIN


def test_message_type_of_a_big_endian_client() -> None:
    header = bytearray(MULTICAST[:48])
    header[40:44] = bytes.fromhex("00010200")
    decoded = codec.decode_header(bytes(header))
    assert (decoded.message_type, decoded.sender_order) == (0x0102, ">")


def test_negative_message_type() -> None:
    message = Message(constants.AGREED_MESS, "#a#b", ("g",), -3, b"")
    assert codec.encode_message(message)[40:44] == (0x80FFFD80).to_bytes(4, "little")
    assert codec.decode_message(codec.encode_message(message)).message_type == -3


def test_join_as_the_members_see_it() -> None:
    message = received(codec.decode_message(BOB_JOINED))
    assert isinstance(message, MembershipMsgType)
    assert (message.reason, message.msg_subtype, message.group) == (0x100, 0x1000, "grp")
    assert message.members == ("#alice#localhost", "#bob#localhost")
    assert message.extra == ("#bob#localhost",)
    assert message.changed_member == "#bob#localhost"
    assert message.orig_members == (("#bob#localhost",),)
    assert repr(message.group_id) == "<group_id 1CC59726:6B04D653:00000002>"


def test_self_leave() -> None:
    message = received(codec.decode_message(SELF_LEAVE))
    assert isinstance(message, MembershipMsgType)
    assert (message.reason, message.msg_subtype, message.group_id) == (0x200, 0, None)
    assert (message.members, message.extra, message.changed_member, message.orig_members) == ((), (), None, ())


def test_transitional_membership() -> None:
    message = received(codec.decode_message(TRANSITIONAL))
    assert isinstance(message, MembershipMsgType)
    assert (message.reason, message.msg_subtype, message.members, message.extra) == (0, 0x2000, (), ())
    assert message.group_id is not None


def test_merge_of_two_parts_as_each_part_sees_it() -> None:
    sets = (("#bob#d2",), ("#alice#d1", "#carol#d1"))
    for mine, offset in ((1, 36), (0, 0)):
        body = codec.encode_membership_body(Membership((1, 2, 3), sets, mine))
        assert body[12:20] == (2).to_bytes(4, "little") + offset.to_bytes(4, "little")
        message = received(Message(0x1800, "g", ("#alice#d1", "#carol#d1", "#bob#d2"), 0, body))
        assert isinstance(message, MembershipMsgType)
        assert (message.extra, message.orig_members, message.changed_member) == (sets[mine], sets, None)


def test_reject_has_four_bytes_more() -> None:
    refused = Message(constants.REJECT_MESS, "#a#b", ("g", "#a#b"), 7, b"data", refused_type=constants.AGREED_MESS)
    data = codec.encode_message(refused)
    assert len(data) == 48 + 4 + 2 * 32 + 4
    assert codec.decode_message(data) == refused
    message = received(refused)
    assert isinstance(message, RefusedMsgType)
    assert str(message.error) == f"Unknown message type: {constants.AGREED_MESS | constants.REJECT_MESS}"


def test_foreign_bits_on_a_regular_message_do_not_make_it_anything_else() -> None:
    for bits in (0x1410, 0x400010, 0x1000010):
        sent = Message(bits, "#mallory#d", ("g",), 0, b"no view")
        message = received(codec.decode_message(codec.encode_message(sent)))
        assert isinstance(message, RegularMsgType)
        assert message.message == b"no view"


# round trips -----------------------------------------------------------------------------------------------------------------

names = st.text(st.characters(min_codepoint=0x24, max_codepoint=0x7E), min_size=1, max_size=31)
orders = st.sampled_from(["<", ">"])
types = st.sampled_from([0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x50, 0x1100, 0x0200, 0x2000, 0x1800, 0x10000, 0x20000, 0x40000])
messages = st.builds(
    Message,
    st.one_of(types, st.just(constants.REJECT_MESS)),
    names,
    st.lists(names, max_size=12).map(tuple),
    st.integers(-0x8000, 0x7FFF),
    st.binary(max_size=300),
    orders,
    orders,
).map(lambda message: message._replace(refused_type=0x20 if message.type & constants.REJECT_MESS else 0))


@given(messages)
def test_a_message_is_what_it_was_after_the_wire(message: Message) -> None:
    assert codec.decode_message(codec.encode_message(message)) == message


@given(st.lists(messages, max_size=8), st.data())
def test_a_stream_gives_the_same_messages_however_it_is_cut(sent: list[Message], data: st.DataObject) -> None:
    stream, got, rest = Stream(buffer_bytes=128), [], b"".join(map(codec.encode_message, sent))
    while rest:
        count = data.draw(st.integers(1, len(rest)))
        got += stream.feed(rest[:count])
        rest = rest[count:]
    assert got == sent
    assert stream.pending_bytes == 0


@given(
    st.tuples(*[st.integers(0, 0xFFFFFFFF)] * 3),
    st.lists(st.lists(names, min_size=1, max_size=4).map(tuple), min_size=1, max_size=4).map(tuple),
    orders,
    st.data(),
)
def test_membership_bodies(
    group_id: tuple[int, int, int], sets: tuple[tuple[str, ...], ...], order: codec.ByteOrder, data: st.DataObject
) -> None:
    membership = Membership(group_id, sets, data.draw(st.integers(0, len(sets) - 1)))
    body = codec.encode_membership_body(membership, order)
    assert codec.decode_membership(Message(0x1800, "g", (), 0, body, order)) == membership


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_names_that_are_no_text_keep_their_bytes(first: bytes, second: bytes) -> None:
    for raw in (first, second):
        cut = raw.partition(b"\0")[0][:31]
        assert codec.encode_name(codec.decode_name(pad(cut))) == pad(cut)


# bytes from nowhere ---------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
@example(b"\x80\0\0\0" + bytes(44))
@example(bytes(36) + b"\xff\xff\xff\xff" + bytes(8))
def test_any_bytes_are_messages_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        for message in Stream().feed(data):
            received(message)


@given(st.sampled_from([MULTICAST, JOIN, BOB_JOINED, SELF_LEAVE, TRANSITIONAL]), st.integers(0, 200), st.integers(0, 255))
def test_one_wrong_byte_is_a_message_or_a_protocol_error(golden: bytes, at: int, value: int) -> None:
    data = bytearray(golden)
    data[at % len(data)] = value
    with contextlib.suppress(ProtocolError):
        received(codec.decode_message(bytes(data)))


@given(st.binary(max_size=200), st.sampled_from([0x1100, 0x1800, 0x2000, 0x0200]), orders)
def test_any_membership_body_is_decoded_or_refused(body: bytes, kind: int, order: codec.ByteOrder) -> None:
    with contextlib.suppress(ProtocolError):
        codec.decode_membership(Message(kind, "g", (), 0, body, order))


@given(st.binary(max_size=120))
def test_any_handshake_is_decoded_or_refused(data: bytes) -> None:
    for decode in (codec.decode_hello, codec.decode_auth_choice, codec.decode_accepted):
        with contextlib.suppress(ProtocolError):
            decode(data)


@pytest.mark.parametrize(("groups", "data_bytes"), [(-1, 0), (0, -1), (0, constants.RECEIVED_BYTES_MAX), (2**31 - 1, 0)])
def test_a_header_cannot_announce_more_than_the_limit(groups: int, data_bytes: int) -> None:
    header = Header(0x10, "#a#b", groups, 0, data_bytes)
    with pytest.raises(ProtocolError, match="limit"):
        Stream().feed(codec.encode_header(header))


def test_a_stream_holds_no_more_than_one_message() -> None:
    stream = Stream(buffer_bytes=1024)
    large = Message(0x10, "#a#b", ("g",), 0, bytes(100_000))
    data = codec.encode_message(large)
    for _ in range(3):
        assert stream.feed(data[:-1]) == []
        assert stream.missing == 1
        assert stream.feed(data[-1:] + b"x" * 0) == [large]
        assert len(stream.space()) == 1024  # the large buffer was given back
