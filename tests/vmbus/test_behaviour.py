"""What a client gets from the daemon, over real sockets."""

from __future__ import annotations

import os
import random
import selectors
import socket
import struct
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from common.bus.vmbus.config import BusDaemonConfig
from common.bus.vmbus.server import Server

from .conftest import Start
from .wireclient import NULL_CHOICE, WireClient, packet

Address = tuple[str, int]


def test_pieces_of_a_handshake_may_come_one_by_one(address: Address) -> None:
    with WireClient(address, shake=False) as client:
        for byte in b"\x05\x00\x01\x01\x05alice":
            client.send(bytes((byte,)))
        assert client.read(6) == b"\x05NULL "
        for at in range(0, 90, 7):
            client.send(NULL_CHOICE[at : at + 7])
        client.finish()
        assert client.private == b"#alice#localhost"


def test_everything_may_come_in_one_piece(address: Address) -> None:
    private = b"#alice#localhost"
    with WireClient(address, shake=False) as client:
        hello = b"\x05\x00\x01\x01\x05alice"
        client.send(hello + NULL_CHOICE + packet(0x10000, private, [b"g"]) + packet(0x10, private, [b"g"], b"early"))
        assert client.read(6) == b"\x05NULL "
        client.finish()
        assert client.receive().kind == 0x1100
        assert client.receive().data == b"early"


def test_a_name_is_free_again_when_its_session_has_ended(address: Address) -> None:
    with WireClient(address, b"watcher") as watcher:
        watcher.join(b"g")
        watcher.receive()
        for _ in range(3):
            with WireClient(address, b"bob") as bob:
                bob.join(b"g")
                assert watcher.receive().kind == 0x1100
            assert watcher.receive().kind == 0x1400


def test_a_name_is_not_held_by_a_handshake_that_is_not_finished(address: Address) -> None:
    with WireClient(address, shake=False) as squatter:
        squatter.send(b"\x05\x00\x01\x01\x05alice")
        squatter.read(6)
        with WireClient(address, b"alice"):
            squatter.send(NULL_CHOICE)
            assert squatter.read(1) == b"\xfa"


@pytest.mark.parametrize("how", ["close", "reset", "half-close", "kill"])
def test_however_a_session_ends_the_others_see_a_disconnect_at_once(address: Address, how: str) -> None:
    with WireClient(address, b"alice") as alice, WireClient(address, b"bob") as bob:
        alice.join(b"g")
        assert alice.receive().groups == (b"#alice#localhost",)
        bob.join(b"g")
        assert alice.receive().groups == (b"#alice#localhost", b"#bob#localhost")
        if how == "reset":
            bob.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if how == "half-close":
            bob.sock.shutdown(socket.SHUT_WR)
        elif how == "kill":
            bob.send(packet(0x40000, bob.private, [bob.private]))
            assert bob.ended()
        else:
            bob.close()
        lost = alice.receive()
        assert (lost.kind, lost.groups) == (0x1400, (b"#alice#localhost",))


def test_the_last_words_of_a_session_arrive_before_its_end(address: Address) -> None:
    with WireClient(address, b"alice") as alice:
        alice.join(b"g")
        alice.receive()
        for number in range(20):
            with WireClient(address) as dying:
                dying.join(b"g")
                for _ in range(10):
                    dying.multicast([b"g"], b"last words %d" % number)
            assert alice.receive().kind == 0x1100  # the session closes with its own copies unread
            assert [alice.receive().data for _ in range(10)] == [b"last words %d" % number] * 10
            assert alice.receive().kind == 0x1400


def test_self_discard_spares_the_sender_and_keeps_its_bit(address: Address) -> None:
    with WireClient(address, b"alice", membership=False) as alice, WireClient(address, b"bob", membership=False) as bob:
        for client in (alice, bob):
            client.join(b"g")
            client.multicast([client.private], b"in")
            client.receive()
        alice.multicast([b"g"], b"others", kind=0x50)
        alice.multicast([b"g"], b"all")
        assert alice.receive().data == b"all"
        assert [(bob.receive().kind, bob.receive().data)] == [(0x50, b"all")]


def test_several_groups_give_one_copy_that_names_them_all(address: Address) -> None:
    with WireClient(address, b"alice", membership=False) as alice:
        alice.join(b"g")
        alice.join(b"h")
        targets = [b"h", b"unknown", b"g", alice.private]
        alice.multicast(targets, b"once", hint=7)
        alice.multicast([b"nobody"], b"lost")
        alice.multicast([], b"lost too")
        alice.multicast([alice.private], b"end")
        message = alice.receive()
        assert (message.groups, message.data, message.hint >> 8 & 0xFFFF) == (tuple(targets), b"once", 7)
        assert alice.receive().data == b"end"


@pytest.mark.parametrize("count", [43, 44, 100])
def test_as_many_groups_as_the_protocol_allows_are_delivered(address: Address, count: int) -> None:
    with WireClient(address, b"alice", membership=False) as alice:
        targets = [b"g%d" % number for number in range(count)]
        alice.join(targets[-1])
        alice.multicast(targets, b"many")
        assert alice.receive().groups == tuple(targets)


def test_a_session_without_membership_messages_is_a_member_all_the_same(address: Address) -> None:
    with WireClient(address, b"alice") as alice, WireClient(address, b"quiet", membership=False) as quiet:
        quiet.join(b"g")
        quiet.multicast([quiet.private], b"joined")
        assert quiet.receive().data == b"joined"
        alice.join(b"g")
        assert alice.receive().groups == (b"#alice#localhost", b"#quiet#localhost")
        quiet.leave(b"g")
        quiet.multicast([quiet.private], b"left")
        assert quiet.receive().data == b"left"


def test_joining_twice_and_leaving_what_one_is_not_in_do_nothing(address: Address) -> None:
    with WireClient(address, b"alice") as alice:
        for _ in range(2):
            alice.join(b"g")
            alice.leave(b"elsewhere")
        alice.multicast([b"g"], b"end")
        assert [alice.receive().kind, alice.receive().data] == [0x1100, b"end"]


def test_a_group_starts_anew_when_it_was_empty(address: Address) -> None:
    with WireClient(address, b"alice") as alice:
        counters = []
        for _ in range(2):
            alice.join(b"g")
            counters.append(alice.receive().data[8:12])
            alice.leave(b"g")
            alice.receive()
        assert counters == [b"\x01\0\0\0"] * 2


def test_forged_bits_of_a_type_are_taken_off(address: Address) -> None:
    with WireClient(address, b"alice") as alice:
        for kind in (0x1410, 0x80010, 0x400010, 0x3F10):
            alice.multicast([alice.private], b"x", kind=kind)
            assert alice.receive().kind == 0x10


def test_every_receiver_sees_the_same_order(address: Address) -> None:
    dice = random.Random(7)
    with ExitStack() as stack:
        clients = [stack.enter_context(WireClient(address, b"c%d" % number, membership=False)) for number in range(6)]
        receivers, senders = clients[:3], clients[3:]
        for receiver in receivers:
            receiver.join(b"g")
            receiver.multicast([receiver.private], b"in")
            receiver.receive()
        total = 900
        for number in range(total):
            dice.choice(senders).multicast([b"g"], b"%d" % number + bytes(dice.randrange(3000)), kind=1 << dice.randrange(6))
        orders = [[(m.name, m.data) for m in (receiver.receive() for _ in range(total))] for receiver in receivers]
        assert orders[0] == orders[1] == orders[2]
        for sender in senders:
            own = [int(data.rstrip(b"\0")) for name, data in orders[0] if name == sender.private]
            assert own == sorted(own)


def test_a_message_of_the_largest_size_passes_whole(address: Address) -> None:
    with WireClient(address, b"alice") as alice:
        data = os.urandom(143_152 - 32)
        for _ in range(5):
            alice.multicast([alice.private], data)
            assert alice.receive().data == data


def test_three_hundred_members_lost_at_once_are_all_told(address: Address) -> None:
    lost = 300
    with WireClient(address, b"survivor") as survivor:
        survivor.join(b"g")
        survivor.receive()
        with ExitStack() as stack:
            for _ in range(lost):
                stack.enter_context(WireClient(address, membership=False)).join(b"g")
            for _ in range(lost):
                joined = survivor.receive()
            assert len(joined.groups) == lost + 1
        views = [survivor.receive() for _ in range(lost)]
        assert {view.kind for view in views} == {0x1400}
        assert [len(view.groups) for view in views] == list(range(lost, 0, -1))


def test_the_unix_socket_serves_the_same_bus(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "bus"
    server = start(unix_path=path)
    assert path.stat().st_mode & 0o777 == 0o600
    with WireClient(str(path), b"local") as local, WireClient(server.address, b"remote") as remote:
        local.join(b"g")
        local.receive()
        remote.multicast([b"g"], b"hello")
        assert local.receive().data == b"hello"


def test_the_daemon_name_is_part_of_every_address(start: Start) -> None:
    with WireClient(start(name="farm-1").address, b"alice") as alice:
        assert alice.private == b"#alice#farm-1"
    with WireClient(start(name="n" * 19).address, b"0123456789") as longest:
        assert longest.private == b"#0123456789#" + b"n" * 19


def test_a_thousand_connects_at_once_are_all_served(start: Start) -> None:
    count = 1000
    host_port = start().address
    selector, stages, done = selectors.DefaultSelector(), dict.fromkeys(range(0), 0), 0
    with ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(host_port)
            sock.settimeout(20)
            selector.register(sock, selectors.EVENT_WRITE)
        while done < count:
            events = selector.select(20)
            assert events, f"only {done} of {count} were served"
            for key, _ in events:
                sock = key.fileobj  # type: ignore[assignment]
                if key.events == selectors.EVENT_WRITE:
                    sock.sendall(b"\x05\x00\x01\x00\x00" + NULL_CHOICE)
                    selector.modify(sock, selectors.EVENT_READ)
                    continue
                stages[key.fd] = stages.get(key.fd, 0) + len(sock.recv(100))
                if stages[key.fd] >= 6 + 5 + len("#r0-1#localhost"):
                    selector.unregister(sock)
                    done += 1


def test_stop_may_be_called_at_any_time_and_by_anyone() -> None:
    for _ in range(200):
        server = Server(BusDaemonConfig(port=0))
        serving = threading.Thread(target=server.serve)
        stopping = [threading.Thread(target=server.stop) for _ in range(2)]
        for thread in (serving, *stopping):
            thread.start()
        for thread in (*stopping, serving):
            thread.join(20)
            assert not thread.is_alive()
        server.stop()
        server.close()
