"""What common/bus/contract.py promises, over every bus: memory, vmbus (TCP, unix socket, plain SpreadModule), real Spread."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from common.bus.contract import (
    PAYLOAD_BYTES_MAX,
    Bus,
    BusDown,
    BusError,
    Cause,
    Closed,
    Delivery,
    Opened,
    View,
)
from tests.bus.farms import KINDS, LIMIT_S, Farm, farm_of, next_of, nothing_more, until

Open = Callable[..., Bus]


@pytest.fixture(params=KINDS)
def farm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Farm]:
    with farm_of(request.param, tmp_path) as farm:
        yield farm


@pytest.fixture
def connect(farm: Farm) -> Iterator[Open]:
    """Opens an end, joins groups, and waits until it is connected. All are closed afterwards."""
    ends: list[Bus] = []

    def open_end(name: str, *groups: str, membership: bool = True) -> Bus:
        bus = farm.open(name, membership)
        ends.append(bus)
        opened = bus.receive(LIMIT_S)
        assert isinstance(opened, Opened)
        for group in groups:
            bus.join(f"{group}{farm.mark}")
            if membership:
                next_of(bus, View)
        return bus

    yield open_end
    for bus in ends:
        bus.close()


@pytest.fixture
def group(farm: Farm) -> Callable[[str], str]:
    return lambda name: f"{name}{farm.mark}"


Group = Callable[[str], str]


def payloads(items: Sequence[object]) -> list[bytes]:
    return [item.payload for item in items if isinstance(item, Delivery)]


def test_the_contract_runs_over_a_real_spread_daemon_too() -> None:
    if "spread" not in KINDS:
        pytest.skip("no real Spread daemon: VMHERD_SPREAD=PORT@HOST is not set")


# who is who ------------------------------------------------------------------------------------------------------------------


def test_the_first_thing_ever_received_is_opened_with_our_own_address(farm: Farm) -> None:
    bus = farm.open("alice")
    opened = bus.receive(LIMIT_S)
    assert isinstance(opened, Opened)
    assert opened.name == bus.name
    bus.close()


def test_a_private_address_is_reached_without_any_group(connect: Open) -> None:
    alice, bob, carol = connect("alice"), connect("bob"), connect("carol")
    alice.send((bob.name,), b"for bob")
    assert next_of(bob, Delivery) == Delivery(alice.name, (bob.name,), b"for bob")
    assert nothing_more(carol, alice) == []


def test_the_sender_of_a_delivery_can_be_answered(connect: Open, group: Group) -> None:
    client, manager = connect("client", membership=False), connect("manager", "managers")
    client.send((group("managers"),), b"hello")
    manager.send((next_of(manager, Delivery).sender,), b"welcome")
    assert next_of(client, Delivery).payload == b"welcome"


def test_two_ends_of_one_host_have_different_addresses(connect: Open) -> None:
    first, second = connect("xen1.example.org"), connect("xen1.example.org")
    assert first.name != second.name
    second.send((first.name,), b"from the second")
    assert next_of(first, Delivery).sender == second.name


def test_what_nobody_listens_to_is_no_error(connect: Open, group: Group) -> None:
    alice = connect("alice")
    alice.send((group("nobody"), "#nobody#nowhere"), b"into the void")
    assert nothing_more(alice, alice) == []


# deliveries ------------------------------------------------------------------------------------------------------------------


def test_everybody_sees_everything_in_one_order(connect: Open, group: Group) -> None:
    ends = [connect(f"end{number}", "left", "right") for number in range(3)]
    for end in ends:
        nothing_more(end, end)
    each = 60

    def talk(number: int) -> None:
        for count in range(each):
            target = (group("left"), group("right"))[(number + count) % 2]
            ends[number].send((target,), f"{number}:{count}".encode())

    talkers = [threading.Thread(target=talk, args=(number,)) for number in range(3)]
    for talker in talkers:
        talker.start()
    seen = []
    for end in ends:
        seen.append([next_of(end, Delivery).payload for _ in range(3 * each)])
    for talker in talkers:
        talker.join(LIMIT_S)
    assert seen[0] == seen[1] == seen[2]
    for number in range(3):
        own = [payload for payload in seen[0] if payload.startswith(b"%d:" % number)]
        assert own == [b"%d:%d" % (number, count) for count in range(each)]


def test_a_member_gets_its_own_message_and_a_stranger_does_not(connect: Open, group: Group) -> None:
    member, stranger = connect("member", "club"), connect("stranger")
    member.send((group("club"),), b"mine")
    assert next_of(member, Delivery) == Delivery(member.name, (group("club"),), b"mine")
    stranger.send((group("club"),), b"from outside")
    assert next_of(member, Delivery).sender == stranger.name
    assert nothing_more(stranger, member) == []


def test_a_message_to_several_groups_comes_once_and_names_them_all(connect: Open, group: Group) -> None:
    both, one = connect("both", "left", "right"), connect("one", "right")
    groups = (group("left"), group("right"), both.name)
    one.send((*groups, group("left")), b"once")
    assert [next_of(end, Delivery) for end in (both, one)] == [Delivery(one.name, groups, b"once")] * 2
    assert payloads([*nothing_more(both, one), *nothing_more(one, both)]) == []


@pytest.mark.parametrize("size", [10, 250_000], ids=["small", "fragmented"])
def test_more_groups_than_one_message_can_name(connect: Open, group: Group, size: int) -> None:
    names = [f"g{number}" for number in range(100)]
    sender = connect("sender", membership=False)
    ends = [
        connect(f"end{number}", *joined, membership=False) for number, joined in enumerate([names[:1], names[60:62], names])
    ]
    sender_last = connect("last", names[99], membership=False)
    for end in (*ends, sender_last):
        assert nothing_more(end, end) == []  # its joins are done
    for payload in (b"a" * size, b"b" * size):
        sender.send(tuple(map(group, names)), payload)
    for end in ends:
        assert [next_of(end, Delivery).payload[:1] for _ in range(2)] == [b"a", b"b"]
        assert payloads(nothing_more(end, sender)) == []


@pytest.mark.parametrize("size", [0, 1, 99_999, 100_000, 100_001, 1_000_000])
def test_payloads_arrive_whole(connect: Open, group: Group, size: int) -> None:
    sender, receiver = connect("sender", membership=False), connect("receiver", "sink")
    payload = bytes(itertools.islice(itertools.cycle(range(251)), size))
    sender.send((group("sink"),), payload)
    assert next_of(receiver, Delivery) == Delivery(sender.name, (group("sink"),), payload)


@pytest.mark.slow
def test_the_largest_payload_arrives_whole_and_small_ones_pass_it(connect: Open, group: Group) -> None:
    sender, receiver = connect("sender", membership=False), connect("receiver", "sink")
    payload = os.urandom(PAYLOAD_BYTES_MAX)
    large = threading.Thread(target=sender.send, args=((group("sink"),), payload))
    large.start()
    sender.send((group("sink"),), b"small")
    got = [next_of(receiver, Delivery).payload for _ in range(2)]
    large.join(LIMIT_S)
    assert sorted(got, key=len) == [b"small", payload]


def test_several_threads_send_large_and_small_payloads_at_once(connect: Open, group: Group) -> None:
    senders = [connect(f"sender{number}", membership=False) for number in range(2)]
    receiver = connect("receiver", "sink")
    sent = [(sender, bytes([mark]) * size) for sender in senders for mark, size in enumerate([5, 150_000, 300_000, 80_000])]
    threads = [threading.Thread(target=sender.send, args=((group("sink"),), payload)) for sender, payload in sent]
    for thread in threads:
        thread.start()
    got = [next_of(receiver, Delivery) for _ in sent]
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted((item.sender, item.payload) for item in got) == sorted((sender.name, payload) for sender, payload in sent)


def test_what_is_too_large_or_goes_nowhere_is_refused_and_hurts_nobody(connect: Open) -> None:
    alice = connect("alice")
    with pytest.raises(BusError, match=str(PAYLOAD_BYTES_MAX)):
        alice.send((alice.name,), bytes(PAYLOAD_BYTES_MAX + 1))
    with pytest.raises(BusError, match="group"):
        alice.send((), b"to whom?")
    for illegal in ("", "a\nb", "x" * 256):
        with pytest.raises(BusError, match="illegal group name"):
            alice.send((illegal,), b"x")
        with pytest.raises(BusError, match="illegal group name"):
            alice.join(illegal)
    assert nothing_more(alice, alice) == []


@pytest.mark.parametrize("name", ["a group with spaces", "x" * 200, "#hash", "größe", "til~de"])
def test_any_printable_group_name_will_do(connect: Open, farm: Farm, name: str) -> None:
    full, other = name + farm.mark, f"{name}{farm.mark}2"[-255:]
    alice, bob = connect("alice"), connect("bob", membership=False)
    alice.join(full)
    assert next_of(alice, View).group == full
    bob.send((other,), b"not this group")
    bob.send((full,), b"this one")
    assert next_of(alice, Delivery) == Delivery(bob.name, (full,), b"this one")


def test_receive_gives_up_after_its_time(connect: Open) -> None:
    alice = connect("alice")
    assert alice.receive(0) is None
    assert alice.receive(0.01) is None


# views -----------------------------------------------------------------------------------------------------------------------


def test_views_say_who_is_there_and_why(connect: Open, farm: Farm, group: Group) -> None:
    club = group("club")
    alice = connect("alice")
    alice.join(club)
    assert next_of(alice, View) == View(club, (alice.name,), Cause.JOIN, (alice.name,))
    bob = connect("bob", "club")
    assert next_of(alice, View) == View(club, (alice.name, bob.name), Cause.JOIN, (bob.name,))
    address, die = farm.doomed(club)
    assert next_of(alice, View) == View(club, tuple(sorted((alice.name, bob.name, address))), Cause.JOIN, (address,))
    die()
    assert next_of(alice, View) == View(club, (alice.name, bob.name), Cause.DISCONNECT, (address,))
    bob.leave(club)
    assert next_of(alice, View) == View(club, (alice.name,), Cause.LEAVE, (bob.name,))


def test_who_closes_leaves_first(connect: Open, group: Group) -> None:
    alice, bob = connect("alice", "club"), connect("bob", "club")
    next_of(alice, View)
    name = bob.name
    bob.close()
    assert next_of(alice, View) == View(group("club"), (alice.name,), Cause.LEAVE, (name,))


def test_a_view_stands_at_the_same_place_for_all(connect: Open, group: Group) -> None:
    club = group("club")
    alice, bob, carol = connect("alice", "club"), connect("bob", "club"), connect("carol")
    next_of(alice, View)  # bob's join
    for end in (alice, bob):
        nothing_more(end, end)
    alice.send((club,), b"before")
    next_of(alice, Delivery)  # it is in the order now
    carol.join(club)
    next_of(carol, View)
    carol.send((club,), b"after")
    view = View(club, tuple(sorted((alice.name, bob.name, carol.name))), Cause.JOIN, (carol.name,))
    after = Delivery(carol.name, (club,), b"after")
    assert [alice.receive(LIMIT_S) for _ in range(2)] == [view, after]
    assert [bob.receive(LIMIT_S) for _ in range(3)] == [Delivery(alice.name, (club,), b"before"), view, after]


def test_the_leader_is_the_first_member_and_the_same_for_all(connect: Open) -> None:
    ends = [connect(f"end{number}", "club") for number in range(3)]
    views = [until(end, lambda item: isinstance(item, View) and len(item.members) == 3)[-1] for end in ends[:2]]
    assert views[0] == views[1]
    assert isinstance(views[0], View)
    assert views[0].leader == views[0].members[0]
    assert views[0].leader in {end.name for end in ends}


def test_who_does_not_want_views_is_a_member_and_sees_none(connect: Open, group: Group) -> None:
    silent, watcher = connect("silent", "club", membership=False), connect("watcher")
    watcher.join(group("club"))
    assert next_of(watcher, View).members == tuple(sorted((silent.name, watcher.name)))
    assert nothing_more(silent, watcher) == []


def test_who_leaves_sees_one_last_view_and_gets_nothing_more(connect: Open, group: Group) -> None:
    alice, bob = connect("alice", "club"), connect("bob")
    alice.leave(group("club"))
    assert next_of(alice, View) == View(group("club"), (), Cause.LEAVE, (alice.name,))
    bob.send((group("club"),), b"too late")
    assert nothing_more(alice, bob) == []
    alice.leave(group("club"))  # harmless
    alice.join(group("club"))
    assert next_of(alice, View).members == (alice.name,)


# the end, and what comes after it --------------------------------------------------------------------------------------------


def test_close_wakes_the_receiver_and_is_final(connect: Open) -> None:
    alice = connect("alice")
    got: list[object] = []
    receiver = threading.Thread(target=lambda: got.append(alice.receive(None)))
    receiver.start()
    alice.close()
    receiver.join(LIMIT_S)
    alice.close()
    assert [*got, alice.receive(0), alice.receive(None)] == [Closed("closed by us", final=True)] * 3
    assert alice.name == ""
    with pytest.raises(BusDown):
        alice.send(("anybody",), b"x")


def test_a_daemon_that_dies_and_comes_back(connect: Open, farm: Farm, group: Group) -> None:
    if not farm.restartable:
        pytest.skip("this daemon is not ours to restart")
    alice, bob = connect("alice", "club"), connect("bob", "club", membership=False)
    farm.stop()
    for end in (alice, bob):
        assert not next_of(end, Closed).final
        assert end.name == ""
        with pytest.raises(BusDown):
            end.send((group("club"),), b"lost")
    alice.join(group("later"))
    farm.start()
    for end in (alice, bob):
        assert next_of(end, Opened).name == end.name
    views = [until(alice, lambda item: isinstance(item, View) and item.group == group("later"))]
    assert views[0][-1] == View(group("later"), (alice.name,), Cause.JOIN, (alice.name,))
    nothing_more(bob, bob)
    alice.send((group("club"),), b"as before")
    for end in (alice, bob):
        assert next_of(end, Delivery) == Delivery(alice.name, (group("club"),), b"as before")
