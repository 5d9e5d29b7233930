"""The bytes a real 5.0.1 daemon was seen to send, and to accept."""

from __future__ import annotations

import struct

import pytest

from .wireclient import NULL_CHOICE, WireClient, packet, pad

Address = tuple[str, int]
HELLO = bytes.fromhex("05 00 01 01 05 61 6c 69 63 65")


def test_the_handshake_of_alice(address: Address) -> None:
    with WireClient(address, shake=False) as alice:
        alice.send(HELLO)
        assert alice.read(6) == bytes.fromhex("05 4e 55 4c 4c 20")
        alice.send(NULL_CHOICE)
        expected = "01 05 00 01 10 23 61 6c 69 63 65 23 6c 6f 63 61 6c 68 6f 73 74"
        assert alice.read(21) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("hello", "answer"),
    [
        (HELLO, "fa"),  # the name is taken
        (b"\x05\x00\x01\x01\x0b" + b"a" * 11, "fb"),
        (b"\x05\x00\x01\x01\x03a b", "fb"),
        (b"\x05\x00\x01\x01\x03a#b", "fb"),
        (b"\x05\x00\x01\x01\x02\xc3\xa9", "fb"),
        (b"\x02\x09\x09\x01\x01a", "f9"),
        (b"\x03\x00\x00\x01\x01a", "f9"),
    ],
)
def test_a_bad_hello_gets_its_code_and_the_end(address: Address, hello: bytes, answer: str) -> None:
    with WireClient(address, b"alice"), WireClient(address, shake=False) as other:
        other.send(hello)
        assert other.read(1) == bytes.fromhex(answer)
        assert other.ended()


@pytest.mark.parametrize("method", [b"NOPE", b"", b"IP", b"NULLx"])
def test_an_unknown_authentication_method_is_refused(address: Address, method: bytes) -> None:
    with WireClient(address, shake=False) as client:
        client.send(HELLO)
        client.read(6)
        client.send(method.ljust(90, b"\0"))
        assert client.read(1) == b"\xf7"
        assert client.ended()


def test_a_session_too_many_is_refused(address: Address, start: object) -> None:
    assert callable(start)
    small = start(sessions_max=2).address
    with WireClient(small, b"a"), WireClient(small, b"b"), WireClient(small, shake=False) as third:
        third.send(HELLO)
        assert third.read(1) == b"\xfd"


def test_a_multicast_comes_back_byte_for_byte(address: Address) -> None:
    sent = (
        bytes.fromhex("90 00 00 80")
        + pad(b"#alice#localhost")
        + bytes.fromhex("01 00 00 00 80 34 12 80 05 00 00 00")
        + pad(b"grp")
        + b"hello"
    )
    with WireClient(address, b"alice") as alice:
        alice.send(
            bytes.fromhex("80 00 01 80")
            + pad(b"#alice#localhost")
            + bytes.fromhex("01 00 00 00 80 00 00 80 00 00 00 00")
            + pad(b"grp")
        )
        assert alice.receive().kind == 0x1100
        alice.send(sent)
        assert alice.read(len(sent)) == sent


def test_a_big_endian_sender_is_rewritten_but_for_its_hint(address: Address) -> None:
    with WireClient(address, b"alice") as alice:
        alice.join(b"grp")
        alice.receive()
        alice.send(packet(0x10, alice.private, [b"grp"], b"hello", hint=0x0102, order=">"))
        expected = packet(0x10, alice.private, [b"grp"], b"hello", hint=0)
        assert alice.read(len(expected)) == expected[:40] + bytes.fromhex("00 01 02 00") + expected[44:]


def test_the_join_of_bob_as_alice_sees_it(address: Address) -> None:
    with WireClient(address, b"alice") as alice, WireClient(address, b"bob") as bob:
        alice.join(b"grp")
        first = alice.receive()
        bob.join(b"grp")
        seen = alice.receive()
        assert bob.receive().raw == seen.raw
        gid = seen.data[:12]
        assert seen.raw == (
            bytes.fromhex("80 11 00 80")
            + pad(b"grp")
            + bytes.fromhex("02 00 00 00 80 00 00 80 38 00 00 00")
            + pad(b"#alice#localhost")
            + pad(b"#bob#localhost")
            + gid
            + bytes.fromhex("01 00 00 00 00 00 00 00 01 00 00 00")
            + pad(b"#bob#localhost")
        )
        assert len(seen.raw) == 168
        assert gid == first.data[:8] + struct.pack("<I", 2)
        assert first.data[8:12] == struct.pack("<I", 1)


def test_leaving_as_the_leaver_and_as_the_others_see_it(address: Address) -> None:
    with WireClient(address, b"alice") as alice, WireClient(address, b"bob") as bob:
        for client in (alice, bob):
            client.join(b"grp")
            client.receive()
        alice.receive()
        bob.leave(b"grp")
        assert bob.read(48) == bytes.fromhex("80 02 00 80") + pad(b"grp") + bytes.fromhex("00 00 00 00 80 00 00 80 00 00 00 00")
        left = alice.receive()
        assert (left.kind, left.groups, left.data[-32:]) == (0x1200, (b"#alice#localhost",), pad(b"#bob#localhost"))
