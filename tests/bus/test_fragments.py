"""Payloads in frames: whole, in order, once, and never more memory than the limits allow."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.bus import fragments
from common.bus.contract import PAYLOAD_BYTES_MAX
from common.bus.fragments import FRAME_BYTES_MAX, GROUPS_MAX, KIND_FRAGMENT, OVERHEAD_BYTES, Assembler, Frame, frames


def groups(count: int) -> tuple[str, ...]:
    return tuple(f"g{number}" for number in range(count))


def arriving(assembler: Assembler, sender: str, sent: Iterable[Frame], now: float = 0.0) -> list[bytes]:
    got = (assembler.receive(sender, frame.kind, frame.data, now) for frame in sent)
    return [payload for payload in got if payload is not None]


def fragment(payload_id: int, size: int, offset: int, data: bytes) -> bytes:
    return payload_id.to_bytes(8, "little") + size.to_bytes(4, "little") + offset.to_bytes(4, "little") + data


@given(
    st.integers(1, 130),
    st.one_of(st.integers(0, 300), st.integers(FRAME_BYTES_MAX - 20, FRAME_BYTES_MAX + 20), st.integers(0, 450_000)),
)
@settings(max_examples=60)
def test_every_group_gets_the_payload_and_no_frame_is_too_large(count: int, size: int) -> None:
    payload = bytes(size)
    sent = list(frames(groups(count), payload, 7))
    assert all(len(frame.data) <= FRAME_BYTES_MAX and 1 <= len(frame.groups) <= GROUPS_MAX for frame in sent)
    for group in groups(count)[:: GROUPS_MAX // 2]:
        assert arriving(Assembler(), "s", [frame for frame in sent if group in frame.groups]) == [payload]
    assert arriving(Assembler(), "s", sent) == [payload]  # who is in all groups gets it once


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 250_000)), max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_payloads_of_several_senders_mix_freely(sent: list[tuple[str, int]], random: object) -> None:
    draw = random.randrange  # type: ignore[attr-defined]
    queues: dict[str, list[Frame]] = {}
    expected: dict[str, list[bytes]] = {}
    for number, (sender, size) in enumerate(sent):
        payload = bytes([number]) * size
        queues.setdefault(sender, []).extend(frames(("g",), payload, number))
        expected.setdefault(sender, []).append(payload)
    assembler = Assembler()
    got: dict[str, list[bytes]] = {sender: [] for sender in queues}
    while any(queues.values()):
        sender = sorted(name for name, queue in queues.items() if queue)[draw(sum(map(bool, queues.values())))]
        got[sender] += arriving(assembler, sender, [queues[sender].pop(0)])
    assert got == expected
    assert assembler.bytes == 0


def test_who_joins_in_the_middle_gets_nothing_of_it_and_all_of_the_next() -> None:
    assembler = Assembler()
    first, second = list(frames(("g",), b"a" * 250_000, 1)), list(frames(("g",), b"b" * 250_000, 2))
    assert arriving(assembler, "s", [*first[1:], *second]) == [b"b" * 250_000]
    assert assembler.bytes == 0


def test_a_hole_gives_the_payload_up() -> None:
    assembler = Assembler()
    sent = list(frames(("g",), bytes(350_000), 1))
    assert arriving(assembler, "s", [sent[0], sent[2], sent[3]]) == []
    assert (assembler.bytes, assembler.dropped["out of order"]) == (0, 1)


def test_a_payload_that_never_ends_is_given_up_in_time() -> None:
    assembler = Assembler()
    sent = list(frames(("g",), bytes(250_000), 1))
    arriving(assembler, "s", sent[:1], now=0.0)
    assembler.expire(fragments.PARTIAL_S - 1)
    assert assembler.bytes > 0
    arriving(assembler, "s", sent[1:2], now=fragments.PARTIAL_S - 1)
    assembler.expire(fragments.PARTIAL_S)  # there was progress
    assert assembler.bytes > 0
    assembler.expire(2 * fragments.PARTIAL_S)
    assert (assembler.bytes, assembler.dropped["never completed"]) == (0, 1)


def test_what_a_lost_sender_began_is_forgotten() -> None:
    assembler = Assembler()
    arriving(assembler, "s", list(frames(("g",), bytes(250_000), 1))[:2])
    assembler.forget("s")
    assembler.forget("nobody")
    assert assembler.bytes == 0


def test_one_sender_cannot_begin_many_payloads() -> None:
    assembler = Assembler()
    for number in range(100):
        assembler.receive("s", KIND_FRAGMENT, fragment(number, PAYLOAD_BYTES_MAX, 0, b"x"), 0.0)
    assert assembler.bytes <= fragments.PARTIALS_PER_SENDER * (OVERHEAD_BYTES + 1)
    assert arriving(assembler, "other", frames(("g",), bytes(250_000), 1)) == [bytes(250_000)]


def test_many_senders_cannot_fill_the_memory_and_small_ones_survive_the_greedy() -> None:
    assembler = Assembler(bytes_total=3_000_000, bytes_per_sender=2_000_000)
    honest = list(frames(("g",), bytes(250_000), 1))
    arriving(assembler, "honest", honest[:2])
    for number in range(10):
        for at in range(0, 1_500_000, 90_000):
            assembler.receive(f"greedy{number}", KIND_FRAGMENT, fragment(1, PAYLOAD_BYTES_MAX, at, bytes(90_000)), 0.0)
            assert assembler.bytes <= 3_000_000
    assert assembler.dropped["too many bytes in all"] > 0
    assert arriving(assembler, "honest", honest[2:]) == [bytes(250_000)]


def test_one_sender_cannot_hold_more_than_its_share() -> None:
    assembler = Assembler(bytes_per_sender=200_000)
    for number in range(3):
        assembler.receive("s", KIND_FRAGMENT, fragment(number, PAYLOAD_BYTES_MAX, 0, bytes(90_000)), 0.0)
    assert assembler.bytes <= 200_000
    assert assembler.dropped["too many bytes of one sender"] == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0x5600, 0x5606), st.binary(max_size=40)), max_size=30))
def test_any_frames_give_payloads_or_nothing_and_the_count_stays_right(sent: list[tuple[str, int, bytes]]) -> None:
    assembler = Assembler()
    for sender, kind, data in sent:
        payload = assembler.receive(sender, kind, data, 0.0)
        assert payload is None or isinstance(payload, bytes)
    held = sum(OVERHEAD_BYTES + len(partial.data) for queue in assembler._senders.values() for partial in queue.values())
    assert assembler.bytes == held
    assembler.expire(fragments.PARTIAL_S)
    assert assembler.bytes == 0


@pytest.mark.parametrize("size", [0, PAYLOAD_BYTES_MAX + 1, 2**32 - 1])
def test_an_impossible_size_is_dropped(size: int) -> None:
    assembler = Assembler()
    assert assembler.receive("s", KIND_FRAGMENT, fragment(1, size, 0, b"x"), 0.0) is None
    assert (assembler.bytes, assembler.dropped["malformed"]) == (0, 1)


def test_messages_of_other_programs_are_dropped_and_counted() -> None:
    assembler = Assembler()
    assert assembler.receive("s", 0, b"hello from spuser", 0.0) is None
    assert assembler.dropped["foreign message"] == 1
