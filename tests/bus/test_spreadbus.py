"""Spread sessions that break, hang, flood or lie, and what a user of the bus sees of it."""

from __future__ import annotations

import logging
import random
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bus import spread
from common.bus.connector import delay_s
from common.bus.contract import PAYLOAD_BYTES_MAX, BusDown, BusError, Cause, Closed, Delivery, Opened, View
from common.bus.fragments import KIND_FRAGMENT, KIND_WHOLE
from common.bus.intake import Intake
from common.bus.links import Patience
from common.bus.names import GroupNames
from common.bus.open import open_bus
from common.bus.spread.codec import Message, encode_message
from common.bus.spread.messages import MembershipMsgType, RefusedMsgType, RegularMsgType
from common.bus.spreadbus import SpreadBus
from common.bus.vmbus.config import BusDaemonConfig
from common.bus.vmbus.server import Server
from common.config.model import BusConfig
from tests.bus import scripted
from tests.bus.farms import LIMIT_S, VmbusFarm, next_of, nothing_more, plain_module, until
from tests.bus.scripted import request, until_gone, welcome


def bus_to(daemon: str, patience: Patience | None = None, module: Any = spread) -> SpreadBus:
    config = BusConfig(daemon=daemon, reconnect_min_s=0.01, reconnect_max_s=0.1)
    return SpreadBus(module, config, "me", membership=True, rng=random.Random(1), patience=patience)


# connecting --------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.floats(0.001, 10), st.floats(0.001, 100), st.integers())
def test_delays_grow_to_the_limit_and_never_beyond(attempt: int, least: float, most: float, seed: int) -> None:
    assert 0 <= delay_s(attempt, least, most, random.Random(seed)) <= most
    assert delay_s(0, least, most, random.Random(seed)) <= least


def test_delays_of_many_clients_spread_over_the_whole_time() -> None:
    delays = [delay_s(6, 0.2, 10.0, random.Random(seed)) for seed in range(300)]
    assert min(delays) < 1.0
    assert max(delays) > 9.0


def test_a_daemon_that_comes_up_late_is_found(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with caplog.at_level(logging.INFO, "bus"):
        bus = bus_to(f"{port}@127.0.0.1")
        bus.join("club")
        assert bus.receive(0.2) is None
        assert bus.name == ""
        with pytest.raises(BusDown, match="not connected"):
            bus.send(("club",), b"too early")
        server = Server(BusDaemonConfig(port=port))
        thread = threading.Thread(target=server.serve)
        thread.start()
        assert isinstance(bus.receive(LIMIT_S), Opened)
        assert next_of(bus, View).group == "club"
        bus.close()
        server.stop()
        thread.join(LIMIT_S)
    refused = [record.message for record in caplog.records if "no connection" in record.message]
    assert len(refused) == 1, "one sentence, however many attempts"
    assert "Connection refused" in refused[0]


def test_settings_that_can_never_work_are_refused_at_once() -> None:
    with pytest.raises(BusError, match="daemon = 4803:localhost: must be PORT@HOST"):
        open_bus(BusConfig(daemon="4803:localhost"), "me", membership=False)
    with pytest.raises(BusError, match="module = spread"):
        open_bus(BusConfig(module="spread"), "me", membership=False)


def test_the_configured_daemon_is_opened() -> None:
    farm = VmbusFarm()
    bus = open_bus(BusConfig(daemon=farm.daemon), "worker-node-17.example.org", membership=True)
    opened = next_of(bus, Opened)
    assert opened.name.startswith("#wor~")
    bus.close()
    farm.stop()


def test_a_bus_can_be_closed_while_it_still_connects() -> None:
    with scripted.daemon(until_gone) as address:  # accepts, and never says a word
        bus = bus_to(address)
        bus.close()
        assert bus.receive(None) == Closed("closed by us", final=True)


def test_daemons_that_refuse_us_are_tried_again_until_one_does_not() -> None:
    def full(sock: socket.socket) -> None:
        sock.recv(100)
        sock.sendall(b"\xfd")

    def works(sock: socket.socket) -> None:
        welcome(sock)
        until_gone(sock)

    with scripted.daemon(full, lambda sock: None, works) as address:
        bus = bus_to(address)
        assert bus.receive(LIMIT_S) == Opened("#me#scripted")
        bus.close()


def test_a_taken_name_is_tried_once_more_then_variants() -> None:
    hellos = []

    def taken(sock: socket.socket) -> None:
        hellos.append(sock.recv(100)[5:])
        sock.sendall(b"\xfa")

    def works(sock: socket.socket) -> None:
        hellos.append(welcome(sock)[5:])
        until_gone(sock)

    with scripted.daemon(taken, taken, taken, works) as address:
        bus = bus_to(address)
        next_of(bus, Opened)
        bus.close()
    assert hellos[:2] == [b"me", b"me"]
    assert all(name.startswith(b"me~") for name in hellos[2:])
    assert len({*hellos}) == 3


# sessions that break or hang ---------------------------------------------------------------------------------------------


def test_a_session_cut_in_the_middle_of_a_message_is_reopened_and_joins_again() -> None:
    joins = []

    def cut(sock: socket.socket) -> None:
        welcome(sock)
        joins.append(request(sock).groups)
        sock.sendall(encode_message(Message(0x10, "#a#b", ("club",), KIND_WHOLE, bytes(1000)))[:300])

    def works(sock: socket.socket) -> None:
        welcome(sock)
        joins.append(request(sock).groups)
        sock.sendall(encode_message(Message(0x10, "#a#b", ("club",), KIND_WHOLE, b"whole")))
        until_gone(sock)

    with scripted.daemon(cut, works) as address:
        bus = bus_to(address)
        bus.join("club")
        got = until(bus, lambda item: isinstance(item, Delivery))
        bus.close()
    assert got == [
        Opened("#me#scripted"),
        Closed("Connection closed by spread"),
        Opened("#me#scripted"),
        Delivery("#a#b", ("club",), b"whole"),
    ]
    assert joins == [("club",), ("club",)]


@pytest.mark.slow
@pytest.mark.parametrize("module", [spread, plain_module()], ids=["native", "plain"])
def test_a_daemon_that_takes_nothing_cannot_hold_a_sender_for_ever(module: Any) -> None:
    stay = threading.Event()

    def stuck(sock: socket.socket) -> None:
        welcome(sock)
        assert stay.wait(LIMIT_S)

    with scripted.daemon(stuck) as address:
        bus = bus_to(address, Patience(send_s=0.3), module)
        next_of(bus, Opened)
        faults: list[BusDown] = []

        def send() -> None:
            try:
                while True:
                    bus.send(("club",), bytes(100_000))
            except BusDown as fault:
                faults.append(fault)

        sender = threading.Thread(target=send)
        sender.start()
        assert not next_of(bus, Closed).final
        sender.join(LIMIT_S)
        assert not sender.is_alive()
        assert len(faults) == 1
        bus.close()
        stay.set()


def test_a_daemon_that_says_nothing_any_more_is_left() -> None:
    """It reads, so no send ever fails; but what we send to ourselves does not come back."""

    def silent(sock: socket.socket) -> None:
        welcome(sock)
        until_gone(sock)

    with scripted.daemon(silent) as address:
        bus = bus_to(address, Patience(idle_s=0.05, answer_s=0.1))
        next_of(bus, Opened)
        assert "silent" in next_of(bus, Closed).reason
        next_of(bus, Opened)
        bus.close()


@pytest.mark.parametrize("module", [spread, plain_module()], ids=["native", "plain"])
def test_a_bus_at_rest_asks_the_daemon_and_stays(module: Any) -> None:
    farm = VmbusFarm()
    patience = Patience(idle_s=0.02, answer_s=LIMIT_S)
    bus, other = bus_to(farm.daemon, patience, module), bus_to(farm.daemon)
    next_of(bus, Opened), next_of(other, Opened)
    assert bus.receive(0.2) is None  # several questions and answers, of which nobody sees anything
    assert nothing_more(bus, other) == []
    bus.close()
    other.close()
    farm.stop()


def test_bytes_that_are_no_message_cost_the_session_only() -> None:
    def garbage(sock: socket.socket) -> None:
        welcome(sock)
        sock.sendall(b"\xff" * 100)
        until_gone(sock)

    def works(sock: socket.socket) -> None:
        welcome(sock)
        until_gone(sock)

    with scripted.daemon(garbage, works) as address:
        bus = bus_to(address)
        got = [bus.receive(LIMIT_S) for _ in range(3)]
        bus.close()
    assert got[0] == got[2] == Opened("#me#scripted")
    assert isinstance(got[1], Closed)
    assert "Illegal message (" in got[1].reason


@pytest.mark.slow
def test_close_ends_a_send_that_is_stuck() -> None:
    stay = threading.Event()

    def stuck(sock: socket.socket) -> None:
        welcome(sock)
        request(sock)  # the join
        request(sock)  # the first fragment; the rest fills every buffer
        began.set()
        assert stay.wait(LIMIT_S)

    began = threading.Event()
    with scripted.daemon(stuck) as address:
        bus = bus_to(address, Patience(send_s=1000.0))
        bus.join("club")
        next_of(bus, Opened)
        faults: list[BusDown] = []

        def send() -> None:
            try:
                bus.send(("club",), bytes(PAYLOAD_BYTES_MAX))
            except BusDown as fault:
                faults.append(fault)

        sender = threading.Thread(target=send)
        sender.start()
        assert began.wait(LIMIT_S)
        closer = threading.Thread(target=bus.close)
        closer.start()
        for thread in (closer, sender):
            thread.join(LIMIT_S)
            assert not thread.is_alive()
        assert len(faults) == 1
        stay.set()


# what comes in -----------------------------------------------------------------------------------------------------------


def regular(groups: tuple[str, ...], data: bytes, kind: int = KIND_WHOLE) -> RegularMsgType:
    return RegularMsgType("#mallory#d", groups, data, kind, 0)


def test_messages_that_are_not_ours_are_dropped_and_counted() -> None:
    intake = Intake("#me#d", GroupNames())
    hostile = [
        regular(("club\n2026 ERROR forged log line",), b"x"),
        regular(("caf\udce9",), b"x"),
        regular(("club",), b"from spuser", kind=0),
        regular(("club",), b"short", kind=KIND_FRAGMENT),
        RefusedMsgType(0x400100, ("club", "#me#d")),
        MembershipMsgType(0, 0x2000, "club", None, (), (), None, ()),
        MembershipMsgType(0x300, 0x1000, "club", None, (), (), None, ()),
    ]
    assert intake.take(hostile, 0.0) == []
    assert intake.dropped == {
        "illegal group name": 2,
        "foreign message": 1,
        "malformed": 1,
        "refused by the daemon": 1,
    }
    assert intake.take([regular(("club",), b"fine")], 0.0) == [Delivery("#mallory#d", ("club",), b"fine")]


def test_what_a_lost_member_began_to_send_is_forgotten() -> None:
    intake = Intake("#me#d", GroupNames())
    begun = (7).to_bytes(8, "little") + (200_000).to_bytes(4, "little") + bytes(4) + bytes(90_000)
    assert intake.take([regular(("club",), begun, KIND_FRAGMENT)], 0.0) == []
    assert intake.unfinished_bytes > 90_000
    lost = MembershipMsgType(0x400, 0x1000, "club", None, ("#me#d",), ("#mallory#d",), "#mallory#d", (("#mallory#d",),))
    assert intake.take([lost], 0.0) == [View("club", ("#me#d",), Cause.DISCONNECT, ("#mallory#d",))]
    assert intake.unfinished_bytes == 0


def test_messages_of_other_programs_are_counted_on_the_bus() -> None:
    farm = VmbusFarm()
    bus = bus_to(farm.daemon)
    name = next_of(bus, Opened).name
    stranger = spread.connect(farm.daemon, "stranger", 0, 0)
    for _ in range(3):
        stranger.multicast(spread.AGREED_MESS, name, b"hello from spuser")
    bus.send((name,), b"mark")
    while next_of(bus, Delivery).payload != b"mark" or bus.dropped["foreign message"] < 3:
        bus.send((name,), b"mark")
    assert bus.dropped == {"foreign message": 3}
    stranger.disconnect()
    bus.close()
    farm.stop()
