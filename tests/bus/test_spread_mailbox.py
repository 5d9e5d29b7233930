"""SpreadModule's API as programs written for it know it, on a vmbus daemon and on scripted ones."""

from __future__ import annotations

import gc
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.bus import spread
from common.bus.spread import codec
from common.bus.spread.codec import Message
from common.bus.spread.connection import DEAD_PEER_S, parse_daemon
from common.bus.spread.constants import ERROR_TEXTS, JOIN_MESS, KILL_MESS
from common.bus.spread.messages import spread_error
from common.bus.vmbus.config import BusDaemonConfig
from tests.bus import scripted
from tests.bus.farms import LIMIT_S, VmbusFarm
from tests.bus.scripted import request, until_gone, welcome

Connect = Callable[..., spread.MailboxType]


@pytest.fixture
def daemon() -> Iterator[str]:
    farm = VmbusFarm()
    yield farm.daemon
    farm.stop()


@pytest.fixture
def connect(daemon: str) -> Iterator[Connect]:
    mailboxes: list[spread.MailboxType] = []

    def open_mailbox(name: str = "", membership: int = 1) -> spread.MailboxType:
        mailboxes.append(spread.connect(daemon, name, 0, membership))
        return mailboxes[-1]

    yield open_mailbox
    for mailbox in mailboxes:
        mailbox.disconnect()


@pytest.fixture
def alice(connect: Connect) -> spread.MailboxType:
    return connect("alice")


def readable(mailbox: spread.MailboxType, limit_s: float = LIMIT_S) -> bool:
    return bool(select.select([mailbox], [], [], limit_s)[0])


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.001)


# as a user of SpreadModule does -----------------------------------------------------------------------------------------------


def test_a_message_comes_back_to_the_group(alice: spread.MailboxType) -> None:
    assert alice.private_group == "#alice#localhost"
    alice.join("grp")
    joined = alice.receive()
    assert type(joined) is spread.MembershipMsgType
    assert (joined.reason, joined.msg_subtype) == (spread.CAUSED_BY_JOIN, spread.REG_MEMB_MESS)
    assert (joined.group, joined.members, joined.extra) == ("grp", ("#alice#localhost",), ("#alice#localhost",))
    assert joined.changed_member == "#alice#localhost"
    assert alice.multicast(spread.AGREED_MESS, "grp", "grüße", 0x1234) == 7
    message = alice.receive()
    assert type(message) is spread.RegularMsgType
    assert (message.sender, message.groups, message.message) == ("#alice#localhost", ("grp",), "grüße".encode())
    assert (message.msg_type, message.endian) == (0x1234, 0)
    alice.leave("grp")
    left = alice.receive()
    assert type(left) is spread.MembershipMsgType
    assert (left.reason, left.msg_subtype, left.members, left.group_id) == (spread.CAUSED_BY_LEAVE, 0, (), None)


def test_join_leave_and_loss_as_another_member_sees_them(alice: spread.MailboxType, connect: Connect) -> None:
    alice.join("grp")
    first = alice.receive()
    bob = connect("bob")
    seen: list[Any] = []
    acts: list[Callable[[], None]] = [
        lambda: bob.join("grp"),
        lambda: bob.leave("grp"),
        lambda: bob.join("grp"),
        bob.disconnect,
    ]
    for act in acts:
        act()
        seen.append(alice.receive())
    assert [message.reason for message in seen] == [0x100, 0x200, 0x100, 0x400]
    assert {message.changed_member for message in seen} == {"#bob#localhost"}
    assert [message.members for message in seen[:2]] == [("#alice#localhost", "#bob#localhost"), ("#alice#localhost",)]
    assert isinstance(first, spread.MembershipMsgType)
    assert first.group_id == first.group_id
    assert len({repr(message.group_id) for message in (first, *seen)}) == 5
    with pytest.raises(TypeError):
        hash(first.group_id)


def test_several_groups_get_one_copy_with_all_their_names(alice: spread.MailboxType) -> None:
    for group in ("left", "right"):
        alice.join(group)
        alice.receive()
    assert alice.multigroup_multicast(spread.SAFE_MESS, ("left", "right", "unknown"), b"x") == 1
    message = alice.receive()
    assert isinstance(message, spread.RegularMsgType)
    assert message.groups == ("left", "right", "unknown")
    assert alice.poll() == 0


def test_self_discard(alice: spread.MailboxType, connect: Connect) -> None:
    bob = connect("bob", 0)
    for mailbox in (alice, bob):
        mailbox.join("grp")
        alice.receive()
    alice.multicast(spread.FIFO_MESS | spread.SELF_DISCARD, "grp", b"others only")
    assert getattr(bob.receive(), "message", None) == b"others only"
    alice.multicast(spread.FIFO_MESS, alice.private_group, b"mark")
    assert getattr(alice.receive(), "message", None) == b"mark"


def test_an_empty_name_lets_the_daemon_choose(connect: Connect) -> None:
    assert connect("").private_group != connect("").private_group


def test_a_name_is_cut_to_ten_bytes(connect: Connect) -> None:
    assert connect("abcdefghijklm").private_group == "#abcdefghij#localhost"


def test_unix_socket(tmp_path: Path) -> None:
    farm = VmbusFarm(config=BusDaemonConfig(port=0, unix_path=tmp_path / "bus"))
    try:
        mailbox = spread.connect(str(tmp_path / "bus"), "alice")
        mailbox.multicast(spread.AGREED_MESS, mailbox.private_group, b"x" * 143_000)
        assert len(getattr(mailbox.receive(), "message", b"")) == 143_000
        mailbox.disconnect()
    finally:
        farm.stop()


def test_constants_and_version() -> None:
    assert spread.version() == (5, 0, 1)
    assert (spread.REGULAR_MESS, spread.MEMBERSHIP_MESS, spread.ENDIAN_RESERVED) == (63, 0x3F00, -2147483520)
    assert all(isinstance(getattr(spread, name), int) for name in spread.__all__ if name.isupper())
    assert not hasattr(spread, "JOIN_MESS")


# poll and select ----------------------------------------------------------------------------------------------------------


def test_no_complete_message_hides_from_select_and_poll(alice: spread.MailboxType) -> None:
    assert not readable(alice, 0)
    for number in range(5):
        alice.multicast(spread.AGREED_MESS, alice.private_group, b"%d" % number)
    size = 48 + 32 + 1
    wait_for(lambda: alice.poll() == 5 * size)
    for number in range(5):
        assert readable(alice, 0)
        assert alice.poll() == (5 - number) * size
        assert getattr(alice.receive(), "message", None) == b"%d" % number
    assert not readable(alice, 0)
    assert alice.poll() == 0


def test_the_fast_read_takes_all_that_waits_and_mixes_with_the_exact_one(alice: spread.MailboxType) -> None:
    assert alice.receive_available() == []
    sent = [bytes([number]) * 50_000 for number in range(8)]
    got: list[bytes] = []

    def read() -> None:
        while len(got) < len(sent):
            if len(got) % 2:
                got.append(getattr(alice.receive(), "message", b""))
            elif readable(alice):
                got.extend(getattr(message, "message", b"") for message in alice.receive_available())

    reader = threading.Thread(target=read)
    reader.start()
    for payload in sent:
        alice.multicast(spread.AGREED_MESS, alice.private_group, payload)
    reader.join(LIMIT_S)
    assert got == sent


def test_poll_counts_the_part_of_a_message_that_was_taken_already() -> None:
    data = codec.encode_message(Message(0x10, "#a#b", ("g",), 0, b"hello"))
    more = threading.Event()

    def script(sock: socket.socket) -> None:
        welcome(sock)
        sock.sendall(data[:60])
        assert more.wait(LIMIT_S)
        sock.sendall(data[60:])
        until_gone(sock)

    with scripted.daemon(script) as address:
        mailbox = spread.connect(address, "me")
        wait_for(lambda: mailbox.poll() == 60)
        assert mailbox.receive_available() == []
        assert mailbox.poll() == 60
        more.set()
        assert getattr(mailbox.receive(), "message", None) == b"hello"
        mailbox.disconnect()


# wrong use ----------------------------------------------------------------------------------------------------------------


def test_service_types(alice: spread.MailboxType) -> None:
    with pytest.raises(ValueError, match="invalid service type"):
        alice.multicast(0x80, "grp", b"")
    for service in (0, spread.SELF_DISCARD, spread.AGREED_MESS | spread.SAFE_MESS):
        with pytest.raises(spread.error) as caught:
            alice.multicast(service, "grp", b"")
        assert caught.value.args == (-12, "Illegal service request")


@pytest.mark.parametrize("group", ["", "a b", "#x", "x" * 32, "größe"])
def test_illegal_groups_cannot_be_joined(alice: spread.MailboxType, group: str) -> None:
    for act in (alice.join, alice.leave):
        with pytest.raises(spread.error) as caught:
            act(group)
        assert caught.value.args == (-14, "Illegal group")


def test_targets_are_not_checked_but_cut(alice: spread.MailboxType) -> None:
    alice.join("x" * 31)
    alice.receive()
    assert alice.multicast(spread.AGREED_MESS, "", b"nowhere") == 7
    alice.multicast(spread.AGREED_MESS, "x" * 50, b"cut to 31")
    assert getattr(alice.receive(), "message", None) == b"cut to 31"


def test_arguments_of_the_wrong_type(alice: spread.MailboxType) -> None:
    wrong: Any = alice
    with pytest.raises(TypeError):
        wrong.multigroup_multicast(spread.AGREED_MESS, ["grp"], b"")
    with pytest.raises(ValueError, match="there must be at least one group in the tuple"):
        alice.multigroup_multicast(spread.AGREED_MESS, (), b"")
    with pytest.raises(TypeError, match="groups must be strings only"):
        wrong.multigroup_multicast(spread.AGREED_MESS, (b"grp",), b"")
    with pytest.raises(TypeError):
        wrong.multicast(spread.AGREED_MESS, b"grp", b"")
    with pytest.raises(TypeError):
        wrong.multicast(service_type=spread.AGREED_MESS, group="grp", message=b"")
    with pytest.raises(TypeError):
        wrong.join(7)
    with pytest.raises(AttributeError):
        wrong.private_group = "#root#localhost"
    with pytest.raises(TypeError):
        spread.connect(spread_name="4803@localhost")  # type: ignore[call-arg]


def test_message_types_are_cut_to_16_bits_with_a_sign(alice: spread.MailboxType) -> None:
    for given, got in ((70000, 4464), (-5, -5), (0x7FFF, 0x7FFF)):
        alice.multicast(spread.AGREED_MESS, alice.private_group, b"", given)
        assert getattr(alice.receive(), "msg_type", None) == got


@pytest.mark.parametrize("groups", [1, 2, 43])
def test_messages_that_kill_a_real_daemon_are_refused(alice: spread.MailboxType, groups: int) -> None:
    largest = 143_152 - 32 * groups
    names = (alice.private_group, *(f"g{number}" for number in range(groups - 1)))
    with pytest.raises(spread.error) as caught:
        alice.multigroup_multicast(spread.AGREED_MESS, names, bytes(largest + 1))
    assert caught.value.args == (-17, "The message body + group names was too large to fit in a message")
    assert alice.multigroup_multicast(spread.AGREED_MESS, names, bytes(largest)) == largest
    assert len(getattr(alice.receive(), "message", b"")) == largest


def test_44_groups_reach_nobody_on_a_real_daemon_and_are_refused(alice: spread.MailboxType) -> None:
    with pytest.raises(spread.error) as caught:
        alice.multigroup_multicast(spread.AGREED_MESS, tuple(f"g{number}" for number in range(44)), b"")
    assert caught.value.args[0] == -17


def test_after_disconnect_every_method_says_so(alice: spread.MailboxType) -> None:
    alice.disconnect()
    alice.disconnect()
    calls: dict[str, Callable[[], object]] = {
        "receive": alice.receive,
        "poll": alice.poll,
        "fileno": alice.fileno,
        "join": lambda: alice.join("grp"),
        "leave": lambda: alice.leave("grp"),
        "multicast": lambda: alice.multicast(spread.AGREED_MESS, "grp", b""),
        "multigroup_multicast": lambda: alice.multigroup_multicast(spread.AGREED_MESS, ("grp",), b""),
    }
    for name, call in calls.items():
        with pytest.raises(spread.error) as caught:
            call()
        assert caught.value.args == (f"{name}() called on closed mbox",)
    assert alice.private_group == "#alice#localhost"


# where to connect, and who says no ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "daemon", ["x@localhost", "@localhost", "4803@", "0@localhost", "65536@localhost", "-1", "host", "4803@nowhere.invalid"]
)
def test_addresses_that_make_no_sense(daemon: str) -> None:
    with pytest.raises(spread.error) as caught:
        spread.connect(daemon)
    assert caught.value.args == (-1, "Illegal spread was provided")


def test_addresses() -> None:
    assert parse_daemon("").path == parse_daemon("4803").path == "/tmp/4803"
    assert (parse_daemon("4804@::1").host, parse_daemon("4804@::1").port) == ("::1", 4804)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for daemon in (f"{port}@127.0.0.1", str(tmp_path / "none")):
        with pytest.raises(spread.error) as caught:
            spread.connect(daemon)
        assert caught.value.args == (-2, "Could not connect. Is Spread running?")


def test_a_taken_name_and_an_illegal_one(connect: Connect) -> None:
    kept = connect("alice")
    for name, code in (("alice", -6), ("a b", -5), ("é", -5)):
        with pytest.raises(spread.error) as caught:
            connect(name)
        assert caught.value.args == (code, ERROR_TEXTS[code])
    kept.disconnect()

    def free() -> bool:
        try:
            return connect("alice").private_group == "#alice#localhost"
        except spread.error:
            return False

    wait_for(free)


@pytest.mark.parametrize("code", [-3, -5, -6, -7, -9])
def test_reject_codes_of_the_first_and_the_last_answer(code: int) -> None:
    def at_once(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(codec.encode_reply_code(code))

    def at_last(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(b"\x05NULL ")
        scripted.exactly(sock, 90)
        sock.sendall(codec.encode_reply_code(code))

    with scripted.daemon(at_once, at_last) as address:
        for _ in range(2):
            with pytest.raises(spread.error) as caught:
                spread.connect(address, "me")
            assert caught.value.args == (code, ERROR_TEXTS[code])


def test_the_hello_goes_out_in_one_piece() -> None:
    hellos = []
    with scripted.daemon(lambda sock: hellos.append(welcome(sock))) as address:
        spread.connect(address, "alice", spread.LOW_PRIORITY, 0).disconnect()
    assert hellos == [bytes.fromhex("05000100 05") + b"alice"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", -8),  # closes at once
        (b"\x05NU", -8),  # closes in the middle
        (b"\x03IP ", -9),  # knows no method of ours
        (b"\x05NULL \x01\x05\0\x01\x03me", -8),  # a private group cut short
        (b"\x05NULL \x01\x05\0\x01\x03\nme", -8),  # or made of nonsense
        (b"\x05NULL \x01\x05\0\x01\0", -8),
        (b"\x05NULL \x01\x03\x11\0\x04#a#b", -7),  # Spread 3.17: another format of views
        (b"\x05NULL \x02", -9),
    ],
)
def test_daemons_that_answer_badly(answer: bytes, code: int) -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(answer)
        sock.shutdown(socket.SHUT_WR)
        until_gone(sock)

    with scripted.daemon(script) as address, pytest.raises(spread.error) as caught:
        spread.connect(address, "me")
    assert caught.value.args == (code, ERROR_TEXTS[code])


# the end of a session -----------------------------------------------------------------------------------------------------


def test_a_daemon_that_dies_in_the_middle_of_a_message() -> None:
    def script(sock: socket.socket) -> None:
        welcome(sock)
        sock.sendall(codec.encode_message(Message(0x10, "#a#b", ("g",), 0, bytes(1000)))[:500])

    with scripted.daemon(script) as address:
        mailbox = spread.connect(address, "me")
        with pytest.raises(spread.error) as caught:
            mailbox.receive()
        assert caught.value.args == (-8, "Connection closed by spread")
        with pytest.raises(spread.error, match="called on closed mbox"):
            mailbox.receive()


def test_bytes_that_are_no_message_end_the_session() -> None:
    def script(sock: socket.socket) -> None:
        welcome(sock)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n" * 10)
        until_gone(sock)

    with scripted.daemon(script) as address:
        mailbox = spread.connect(address, "me")
        with pytest.raises(spread.error) as caught:
            mailbox.receive()
        assert caught.value.args == (-13, "Illegal message")


def test_a_message_sent_back_by_the_daemon_is_an_error_and_the_next_one_comes() -> None:
    def script(sock: socket.socket) -> None:
        welcome(sock)
        sock.sendall(codec.encode_message(Message(spread.REJECT_MESS, "#me#d", ("g", "#me#d"), 0, b"", refused_type=0x100)))
        sock.sendall(codec.encode_message(Message(spread.AGREED_MESS, "#a#d", ("g",), 0, b"next")))
        until_gone(sock)

    with scripted.daemon(script) as address:
        mailbox = spread.connect(address, "me")
        with pytest.raises(spread.error, match="Unknown message type: "):
            mailbox.receive()
        assert getattr(mailbox.receive(), "message", None) == b"next"
        mailbox.disconnect()


def test_disconnect_says_kill_and_a_deleted_mailbox_does_too() -> None:
    said: list[tuple[int, tuple[str, ...]]] = []

    def script(sock: socket.socket) -> None:
        welcome(sock)
        for _ in range(2):
            message = request(sock)
            said.append((message.type, message.groups))

    with scripted.daemon(script) as address:
        mailbox = spread.connect(address, "me")
        mailbox.join("grp")
        mailbox.disconnect()
        mailbox = spread.connect(address, "me")
        mailbox.join("grp")
        del mailbox
        gc.collect()
        wait_for(lambda: len(said) == 4)
    assert said == [(JOIN_MESS, ("grp",)), (KILL_MESS, ("#me#scripted",))] * 2


def test_a_forked_child_that_ends_does_not_end_its_parents_session(connect: Connect) -> None:
    mailbox = connect("parent")
    child = os.fork()
    if child == 0:
        mailbox.disconnect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    mailbox.multicast(spread.AGREED_MESS, mailbox.private_group, b"still here")
    assert getattr(mailbox.receive(), "message", None) == b"still here"


def test_disconnect_wakes_who_receives(alice: spread.MailboxType) -> None:
    faults: list[object] = []

    def receive() -> None:
        try:
            alice.receive()
        except spread.error as fault:
            faults.append(fault.args[0])

    receiver = threading.Thread(target=receive)
    receiver.start()
    alice.disconnect()
    receiver.join(LIMIT_S)
    assert faults in ([-8], ["receive() called on closed mbox"])


def test_a_daemon_that_takes_nothing_cannot_hold_a_sender_for_ever() -> None:
    stay = threading.Event()

    def script(sock: socket.socket) -> None:
        welcome(sock)
        assert stay.wait(LIMIT_S)

    with scripted.daemon(script) as address:
        mailbox = spread.connect(address, "me")
        mailbox.send_timeout_s = 0.2

        def send() -> None:
            for _ in range(1000):  # 100 MB: more than any socket's buffers
                mailbox.multicast(spread.AGREED_MESS, "grp", bytes(100_000))

        with pytest.raises(spread.error) as caught:
            send()
        assert caught.value.args[0] == spread.CONNECTION_CLOSED
        assert isinstance(caught.value.__cause__, TimeoutError)
        stay.set()


def test_a_slow_daemon_gets_whole_messages_of_many_threads() -> None:
    """Each thread's messages are larger than what a socket takes at once."""
    got: list[bytes] = []

    def script(sock: socket.socket) -> None:
        welcome(sock)
        while len(got) < 120:
            got.append(request(sock).data)

    with scripted.daemon(script) as address:
        mailbox = spread.connect(address, "me")

        def send(mark: int) -> None:
            for _ in range(30):
                mailbox.multicast(spread.AGREED_MESS, "grp", bytes([mark]) * 100_000)

        threads = [threading.Thread(target=send, args=(mark,)) for mark in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        wait_for(lambda: len(got) == 120)
        mailbox.disconnect()
    assert all(len(data) == 100_000 and len(set(data)) == 1 for data in got)


def test_a_peer_that_vanishes_without_a_word_is_noticed(alice: spread.MailboxType) -> None:
    """What the kernel was asked for; a cut cable cannot be had on loopback."""
    sock = socket.socket(fileno=os.dup(alice.fileno()))
    with sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        idle, interval, count = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + interval * count <= DEAD_PEER_S
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == DEAD_PEER_S * 1000
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_texts_of_codes_that_have_none() -> None:
    assert spread_error(-19).args == (-19, "unrecognized error")
