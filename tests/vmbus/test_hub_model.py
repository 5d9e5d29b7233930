"""The hub against a simple model: whatever clients do, each session gets exactly the messages and views the model says."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from common.bus.spread.constants import JOIN_MESS, LEAVE_MESS
from common.bus.vmbus import wire
from common.bus.vmbus.config import BusDaemonConfig
from common.bus.vmbus.hub import Hub, Member

from .wireclient import packet, pad

RING = (0x1CC59726, 1795487363)
NAMES = [b"a", b"b", b"bb", b"z", b"Z", b"0123456789"]
GROUPS = [b"g", b"h", b"managers", b"g" * 31]
TARGETS = [*GROUPS, b"nobody", b"", b"#a#localhost", b"#bb#localhost", b"#no#localhost"]
names = st.sampled_from(NAMES)
groups = st.sampled_from(GROUPS)


@dataclass(frozen=True)
class Said:
    """One multicast as a test describes it."""

    targets: tuple[bytes, ...]
    data: bytes
    kind: int
    order: str
    hint: int

    def sent(self, private: bytes) -> bytes:
        return packet(self.kind, private, list(self.targets), self.data, hint=self.hint, order=self.order)

    def delivered(self, private: bytes) -> bytes:
        """Little endian always, nothing but service bits and SELF_DISCARD, the hint as the sender wrote it."""
        plain = packet(self.kind & 0x7F, private, list(self.targets), self.data)
        return plain[:40] + self.sent(private)[40:44] + plain[44:]


said = st.builds(
    Said,
    targets=st.sampled_from([(b"g",), (b"g", b"h"), (b"#a#localhost",)])
    | st.lists(st.sampled_from(TARGETS), max_size=6).map(tuple),
    data=st.binary(max_size=20),
    kind=st.sampled_from([0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x50, 0x1410, 0x80010, 0x1000010]),
    order=st.sampled_from("<>"),
    hint=st.integers(0, 0xFFFF),
)

bursts = st.lists(said, min_size=1, max_size=5)


@dataclass
class Person:
    """A session in the model."""

    private: bytes
    membership: bool
    member: Member
    expected: list[bytes] = field(default_factory=list)
    got: bytearray = field(default_factory=bytearray)
    rest: bytes = b""


class HubMachine(RuleBasedStateMachine):
    """Drives a hub and its model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.hub: Hub[Member] = Hub(BusDaemonConfig(), RING)
        self.here: dict[bytes, Person] = {}
        self.members: dict[bytes, set[bytes]] = {}
        self.changes: dict[bytes, int] = {}

    # -- what clients do

    def person(self, name: bytes) -> Person:
        """The session of that name; it connects if it is not there. Whether it wants membership messages is in its name."""
        private = b"#" + name + b"#localhost"
        if private not in self.here:
            member = Member()
            self.hub.admit(member, name, name.isupper() or name.islower())
            assert member.private == private
            self.here[private] = Person(private, member.membership, member)
        return self.here[private]

    @rule(name=names)
    def connect_again(self, name: bytes) -> None:
        self.person(name)
        with pytest.raises(wire.Refused):
            self.hub.admit(Member(), name, True)

    @rule(name=names, group=groups)
    def join(self, name: bytes, group: bytes) -> None:
        person = self.person(name)
        self.feed(person, packet(JOIN_MESS, person.private, [group]))
        if person.private not in self.members.get(group, ()):
            self.members.setdefault(group, set()).add(person.private)
            self.view(group, 0x1100, person.private)

    @rule(name=names, group=groups)
    def leave(self, name: bytes, group: bytes) -> None:
        person = self.person(name)
        self.feed(person, packet(LEAVE_MESS, person.private, [group]))
        if person.private in self.members.get(group, ()):
            self.remove(group, 0x1200, person.private)
            if person.membership:
                person.expected.append(packet(0x200, group, []))

    @rule(name=names)
    def lose(self, name: bytes) -> None:
        person = self.person(name)
        del self.here[person.private]
        for post in self.hub.drop(person.member):
            self.deliver(post.recipients, post.data)
        assert self.hub.drop(person.member) == []
        for group in sorted(self.members):
            if person.private in self.members[group]:
                self.remove(group, 0x1400, person.private)

    @rule(
        name=names, burst=st.lists(said, min_size=1, max_size=5), repeat=st.integers(1, 3), cuts=st.lists(st.integers(0, 2000))
    )
    def multicast(self, name: bytes, burst: list[Said], repeat: int, cuts: list[int]) -> None:
        person = self.person(name)
        burst = [one for one in burst for _ in range(repeat)]
        data = b"".join(one.sent(person.private) for one in burst)
        ends = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        for start, end in pairwise(ends):
            self.feed(person, data[start:end])
        for one in burst:
            reached = {name for target in one.targets for name in self.members.get(target, ())}
            reached |= {target for target in one.targets if target in self.here}
            if one.kind & 0x40:
                reached.discard(person.private)
            for private in reached:
                self.here[private].expected.append(one.delivered(person.private))

    # -- the model

    def remove(self, group: bytes, kind: int, private: bytes) -> None:
        self.members[group].discard(private)
        if self.members[group]:
            self.view(group, kind, private)
        else:
            del self.members[group], self.changes[group]

    def view(self, group: bytes, kind: int, changed: bytes) -> None:
        self.changes[group] = self.changes.get(group, 0) + 1
        present = sorted(self.members[group])
        body = struct.pack("<6I", *RING, self.changes[group], 1, 0, 1) + pad(changed)
        for private in present:
            if self.here[private].membership:
                self.here[private].expected.append(packet(kind, group, present, body))

    # -- the hub

    def feed(self, person: Person, data: bytes) -> None:
        data = person.rest + data
        position = 0
        for parcel in self.hub.parcels(person.member, data):
            assert parcel.start == position
            position = parcel.end
            if parcel.request:
                change = self.hub.join if parcel.request == JOIN_MESS else self.hub.leave
                for post in change(person.member, parcel.group):
                    self.deliver(post.recipients, post.data)
            else:
                self.deliver(parcel.recipients, data[parcel.start : parcel.end] if parcel.instead is None else parcel.instead)
        person.rest = data[position:]

    def deliver(self, recipients: object, data: bytes) -> None:
        assert isinstance(recipients, list | tuple)
        assert len(set(recipients)) == len(recipients)
        for member in recipients:
            self.here[member.private].got += data

    @invariant()
    def everybody_got_what_the_model_says(self) -> None:
        for person in self.here.values():
            assert bytes(person.got) == b"".join(person.expected)
            person.got.clear()
            person.expected.clear()


TestHub = HubMachine.TestCase
TestHub.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@pytest.mark.slow
def test_the_hub_for_longer() -> None:
    run_state_machine_as_test(HubMachine, settings=settings(max_examples=80, stateful_step_count=50, deadline=None))


def test_invented_names_are_unique_and_look_like_spreads() -> None:
    hub: Hub[Member] = Hub(BusDaemonConfig(sessions_max=100_000), RING)
    members = [Member() for _ in range(25_000)]
    for member in members:
        hub.admit(member, b"", True)
    assert len({member.private for member in members}) == len(members)
    for member in members:
        name = member.private.split(b"#")[1]
        assert len(name) <= 10
        assert name[:1] == b"r"
        assert name[1:].replace(b"-", b"", 1).isdigit()


def test_a_join_beyond_the_limits_is_rejected_as_spread_does() -> None:
    hub: Hub[Member] = Hub(BusDaemonConfig(members_per_group_max=1, groups_per_session_max=2), RING)
    a, b = Member(), Member()
    hub.admit(a, b"a", False)
    hub.admit(b, b"b", False)
    assert hub.join(a, b"g") == []
    [post] = hub.join(b, b"g")
    assert list(post.recipients) == [b]
    old_type = struct.pack("<I", 0x80000180)
    assert post.data == struct.pack("<I32siIi", 0x80400080, b.private, 2, 0x80000080, 0) + old_type + pad(b"g") + pad(b.private)
    hub.join(b, b"x")
    hub.join(b, b"y")
    assert len(hub.join(b, b"z")) == 1
    assert b.groups == {b"x", b"y"}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (packet(0x10, b"#b#localhost", [b"g"]), "speaks as"),
        (packet(0, b"#a#localhost", [b"g"]), "illegal type"),
        (packet(0x30, b"#a#localhost", [b"g"]), "illegal type"),
        (packet(0x10010, b"#a#localhost", [b"g"]), "illegal type"),
        (packet(0x1000, b"#a#localhost", [b"g"]), "illegal type"),
        (struct.pack("<I32siIi", 0x80000010, b"#a#localhost", 0, 0, 0), "illegal endian"),
        (struct.pack("<I32siIi", 0x80000090, b"#a#localhost", 0, 1, 0), "illegal hint"),
        (packet(0x10, b"#a#localhost", [b"g"] * 101), "101 groups"),
        (struct.pack("<I32siIi", 0x80000090, b"#a#localhost", -1, 0, 0), "-1 groups"),
        (packet(0x10, b"#a#localhost", [b"g"], data_bytes=143_121), "143121 bytes"),
        (packet(0x10, b"#a#localhost", [b"g"], data_bytes=-1), "-1 bytes"),
        (packet(JOIN_MESS, b"#a#localhost", [b""]), "illegal group name"),
        (packet(JOIN_MESS, b"#a#localhost", [b"#x"]), "illegal group name"),
        (packet(JOIN_MESS, b"#a#localhost", [b"a b"]), "illegal group name"),
        (packet(JOIN_MESS, b"#a#localhost", [b"x" * 32]), "illegal group name"),
        (packet(LEAVE_MESS, b"#a#localhost", []), "0 groups"),
        (packet(JOIN_MESS, b"#a#localhost", [b"g", b"h"]), "2 groups"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_violation_is_named_and_what_came_before_it_counts(message: bytes, why: str) -> None:
    hub: Hub[Member] = Hub(BusDaemonConfig(), RING)
    a = Member()
    hub.admit(a, b"a", False)
    good = packet(0x10, a.private, [a.private], b"good")
    parcels = hub.parcels(a, good + good + message)
    assert next(parcels)[:3] == (0, 2 * len(good), 2)
    with pytest.raises(wire.Violation, match=why):
        next(parcels)


def test_the_largest_message_and_the_most_groups_are_taken() -> None:
    hub: Hub[Member] = Hub(BusDaemonConfig(), RING)
    a = Member()
    hub.admit(a, b"a", False)
    for groups_count in (1, 43, 44, 100):
        data = packet(0x10, a.private, [a.private] * groups_count, bytes(143_152 - 32 * groups_count))
        [parcel] = hub.parcels(a, data)
        assert (parcel.end, list(parcel.recipients)) == (len(data), [a])


@pytest.mark.parametrize("name", [b"gr\xc3\xbcn", b"\x01", b"x" * 32])
def test_an_illegal_target_name_reaches_nobody_and_says_so(name: bytes) -> None:
    hub: Hub[Member] = Hub(BusDaemonConfig(), RING)
    a = Member()
    hub.admit(a, b"a", False)
    [parcel] = hub.parcels(a, packet(0x10, a.private, [a.private, name]))
    assert list(parcel.recipients) == []
    assert "illegal target name" in parcel.dropped


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_make_the_hub_fail_otherwise(garbage: bytes, keep: int) -> None:
    hub: Hub[Member] = Hub(BusDaemonConfig(), RING)
    a = Member()
    hub.admit(a, b"a", True)
    valid = packet(0x10, a.private, [b"g", a.private], b"data")
    data = valid[:keep] + garbage
    try:
        ends = [parcel.end for parcel in hub.parcels(a, data)]
    except wire.Violation:
        return
    assert ends == sorted(ends)
    assert all(end <= len(data) for end in ends)


@given(st.binary(max_size=40))
def test_no_hello_makes_it_fail_otherwise(data: bytes) -> None:
    try:
        hello = wire.parse_hello(data)
    except wire.Refused:
        return
    if hello is None:
        assert len(data) < 15
    else:
        assert 5 + len(hello.name) == hello.size <= len(data)
