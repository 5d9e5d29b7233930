"""Hostile, broken and slow clients: each costs itself only, and the log says who was cut and why."""

from __future__ import annotations

import logging
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.bus.vmbus.notices import Notices

from .conftest import Start
from .wireclient import WireClient, packet

Address = tuple[str, int]
BLOCK = bytes(10_000)


@contextmanager
def flooding(client: WireClient, groups: list[bytes]) -> Iterator[None]:
    """Sends without pause in a thread until the block ends."""
    stop = threading.Event()

    def flood() -> None:
        with suppress(OSError):
            while not stop.is_set():
                client.multicast(groups, BLOCK)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        with suppress(OSError):  # cut already
            client.sock.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        assert not thread.is_alive()


def echo(client: WireClient, data: bytes = b"ping") -> None:
    """A round trip through the daemon, whatever else comes in between."""
    client.multicast([client.private], data)
    while (client.receive().data) != data:
        pass


def send_numbered(sender: WireClient, total: int) -> None:
    for number in range(total):
        sender.multicast([b"g"], b"%08d" % number + BLOCK)


def member(address: Address, group: bytes, name: bytes = b"", membership: bool = False) -> WireClient:
    client = WireClient(address, name, membership=membership)
    client.join(group)
    echo(client)
    return client


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (packet(0x10, b"#alice#localhost", [b"g"], data_bytes=143_121), "speaks as"),
        (packet(0x10, b"#evil#localhost", [b"g"], data_bytes=143_121), "message of 143121 bytes"),
        (packet(0x10, b"#evil#localhost", [b"g"], data_bytes=2_000_000_000), "message of 2000000000 bytes"),
        (packet(0x10, b"#evil#localhost", [b"g"] * 101), "101 groups in one message"),
        (struct.pack("<I32siIi", 0x80000090, b"#evil#localhost", 2**31 - 1, 0, 0), "2147483647 groups"),
        (packet(0x1400, b"#evil#localhost", [b"g"]), "illegal type 0x80001480"),
        (packet(0x10000, b"#evil#localhost", [b"\x07"]), "illegal group name"),
        (b"\xff" * 48, "illegal"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_who_breaks_the_protocol_is_cut_and_named(
    address: Address, message: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with member(address, b"g", b"alice", True) as alice, member(address, b"g", b"evil") as evil:
        assert alice.receive().kind == 0x1100
        evil.send(message)
        assert evil.ended()
        assert alice.receive().kind == 0x1400
        echo(alice)
        [line] = [record.getMessage() for record in caplog.records if "was cut" in record.getMessage()]
        host, port = "127.0.0.1", line.split(" from 127.0.0.1:")[1].split(" ")[0]
        assert line.startswith(f"#evil#localhost from {host}:{port} was cut: ")
        assert why in line


def test_silent_connections_hold_nobody_up_and_are_cut(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    address = start(handshake_s=0.5).address
    with ExitStack() as stack:
        silent = [stack.enter_context(WireClient(address, shake=False)) for _ in range(50)]
        half = stack.enter_context(WireClient(address, shake=False))
        half.send(b"\x05\x00\x01\x01\x05al")
        with WireClient(address, b"alice") as alice:
            echo(alice)
            assert all(client.ended() for client in (*silent, half))
            echo(alice)
    assert any("no handshake within 0.5 s" in record.getMessage() for record in caplog.records)


def test_too_many_unfinished_handshakes_cost_the_oldest(start: Start) -> None:
    address = start(handshakes_max=10).address
    with ExitStack() as stack:
        silent = [stack.enter_context(WireClient(address, shake=False)) for _ in range(30)]
        assert all(client.ended() for client in silent[:20])
        with WireClient(address, b"alice") as alice:
            echo(alice)


def test_a_reader_that_is_stuck_is_cut_and_the_others_miss_nothing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    address = start(pause_bytes=500_000, pause_messages=1, stall_s=0.5).address
    with (
        member(address, b"g", b"good", True) as good,
        member(address, b"g", b"stuck") as stuck,
        WireClient(address, membership=False) as sender,
    ):
        assert good.receive().kind == 0x1100
        numbers, lost = [], False
        with flooding(sender, [b"g"]):
            while not lost:
                message = good.receive()
                lost = message.kind == 0x1400
                numbers.append(len(message.data))
            assert message.groups == (b"#good#localhost",)
            for _ in range(100):  # and life goes on
                assert len(good.receive().data) == len(BLOCK)
        assert stuck.ended()
    [line] = [record.getMessage() for record in caplog.records if "#stuck#" in record.getMessage()]
    assert "reads too slowly" in line
    assert "others waited 0.5 s" in line


def test_a_reader_that_is_only_slower_than_the_sender_gets_everything(start: Start) -> None:
    address = start(pause_bytes=500_000, pause_messages=1).address
    total = 2000
    with member(address, b"g", b"slow") as slow, WireClient(address, membership=False) as sender:
        thread = threading.Thread(target=send_numbered, args=(sender, total))
        thread.start()
        assert [int(slow.receive().data[:8]) for _ in range(total)] == list(range(total))
        thread.join(20)


def test_who_sends_to_himself_without_reading_is_cut_at_the_limit(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    address = start(pause_bytes=500_000, pause_messages=1, stall_s=0.3).address
    with WireClient(address, b"loop") as loop, flooding(loop, [loop.private]), WireClient(address, b"other") as other:
        while not any("#loop#" in record.getMessage() for record in caplog.records):
            echo(other)
        with WireClient(address, b"loop"):
            pass


def test_a_client_may_be_a_window_ahead_of_its_own_reading(address: Address) -> None:
    """Spread's spflooder sends 200 messages of 100 KB to itself before it reads."""
    with WireClient(address, b"flooder") as client:
        for number in range(200):
            client.multicast([client.private], b"%03d" % number + bytes(100_000))
        assert [int(client.receive().data[:3]) for _ in range(200)] == list(range(200))


def test_all_queues_together_are_bounded(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Ten sessions that do not read, each below its own limit: senders wait, and the worst are cut until it is enough."""
    address = start(total_bytes_max=4_000_000, stall_s=0.3).address
    with ExitStack() as stack:
        stuck = [stack.enter_context(WireClient(address, b"s%d" % number)) for number in range(10)]
        for client in stuck:
            sender = stack.enter_context(WireClient(address))
            stack.enter_context(flooding(sender, [client.private]))
        while not any("all queues together are full" in record.getMessage() for record in caplog.records):
            with WireClient(address):  # the daemon goes on serving
                pass


def test_a_reader_that_takes_nothing_for_long_is_cut(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    address = start(stuck_s=0.5).address
    with member(address, b"g", b"stuck") as stuck, WireClient(address, membership=False) as sender:
        for _ in range(300):
            sender.multicast([b"g"], BLOCK)
        with WireClient(address) as watcher:
            while not caplog.records:
                echo(watcher)
        assert "#stuck#localhost" in caplog.text
        assert "none taken for 0.5 s" in caplog.text
        assert stuck.ended()


def test_a_flood_of_joins_leaves_room_for_others(address: Address) -> None:
    """Each join and leave is a message of 3 KB to a hundred members; who asks for thousands waits his turn."""
    rounds = 2000
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(member(address, b"g"))
        watcher = stack.enter_context(member(address, b"g", b"watcher", True))
        restless = stack.enter_context(WireClient(address, b"restless", membership=False))
        polite = stack.enter_context(WireClient(address, b"polite"))
        turn = packet(0x10000, restless.private, [b"g"]) + packet(0x20000, restless.private, [b"g"])
        flood = threading.Thread(target=restless.send, args=(turn * rounds,))
        flood.start()
        for number in range(20):
            echo(polite, b"%d" % number)
        views = [watcher.receive() for _ in range(2 * rounds)]
        assert [view.kind for view in views] == [0x1100, 0x1200] * rounds
        flood.join(20)


def test_a_flood_leaves_room_for_others(address: Address) -> None:
    with (
        member(address, b"flood", b"sink") as sink,
        WireClient(address, membership=False) as flooder,
        WireClient(address, b"polite") as polite,
    ):
        swallowed = threading.Thread(target=sink.ended)
        with flooding(flooder, [b"flood"]):
            swallowed.start()
            for number in range(200):
                echo(polite, b"%d" % number)
        sink.sock.shutdown(socket.SHUT_RDWR)
        swallowed.join(20)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_who_hangs_up_while_he_has_to_wait_is_heard_to_the_end(start: Start, tmp_path: Path, family: str) -> None:
    path = tmp_path / "bus"
    address = start(pause_bytes=500_000, pause_messages=1, stall_s=30, unix_path=path).address
    near = address if family == "tcp" else str(path)
    with member(address, b"g", b"slow") as slow, WireClient(near, membership=False) as sender:
        message, sent = packet(0x10, sender.private, [b"g"], BLOCK), 0
        while select.select([], [sender.sock], [], 0.5)[1]:
            sent += sender.sock.send(message[sent % len(message) :])
        sender.close()
        with WireClient(address, b"other") as other:
            for _ in range(50):  # the daemon has seen it by now
                echo(other)
        for _ in range(sent // len(message)):
            assert slow.receive().data == BLOCK
        echo(slow)  # nothing comes of the message it had only begun


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(min_size=1, max_size=300), after=st.sampled_from(["connect", "hello", "handshake", "header"]))
def test_no_garbage_disturbs_the_others(address: Address, garbage: bytes, after: str) -> None:
    with WireClient(address, shake=after in ("handshake", "header"), name=b"") as evil:
        if after == "hello":
            evil.send(b"\x05\x00\x01\x01\x00")
        if after == "header":
            evil.send(packet(0x10, evil.private, [b"g"])[:44])
        evil.send(garbage)
        evil.sock.shutdown(socket.SHUT_WR)
        assert evil.ended()
    with WireClient(address, b"alice") as alice:
        echo(alice)


def test_log_lines_cannot_be_multiplied(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices(logging.getLogger("vmbus"), lines=3, period_s=10)
    for number in range(100):
        notices.say(50 + number / 100, logging.WARNING, f"line {number}")
    assert [record.getMessage() for record in caplog.records] == ["line 0", "line 1", "line 2"]
    notices.catch_up(61)
    assert caplog.records[-1].getMessage() == "97 more lines like these were left out within 10 s"
    notices.say(61, logging.WARNING, "again")
    assert caplog.records[-1].getMessage() == "again"
