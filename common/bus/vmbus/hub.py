"""Groups, order and routing of one daemon: bytes of a session in, parcels for sessions out. No socket, no clock, no queue.

The order in which the caller hands in bytes is the one total order. A `Parcel` is a run of consecutive messages of one sender
that go to the same recipients, as one piece of bytes: the work per message is one comparison of its header with the one before.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

from common.bus.spread.constants import (
    CAUSED_BY_DISCONNECT,
    CAUSED_BY_JOIN,
    CAUSED_BY_LEAVE,
    HEADER_BYTES,
    JOIN_MESS,
    KILL_MESS,
    LEAVE_MESS,
    NAME_BYTES,
    REGULAR_MESS,
    REJECT_NOT_UNIQUE,
    REJECT_QUOTA,
    SELF_DISCARD,
)

from . import wire
from .config import BusDaemonConfig
from .wire import LITTLE, LITTLE_HEADER, Violation

SERVICES = tuple(1 << bit for bit in range(REGULAR_MESS.bit_length()))  # UNRELIABLE, RELIABLE, FIFO, CAUSAL, AGREED, SAFE
AS_IT_CAME = frozenset(LITTLE | service | discard for service in SERVICES for discard in (0, SELF_DISCARD))
REQUESTS = frozenset((JOIN_MESS, LEAVE_MESS, KILL_MESS))
KINDS = frozenset(SERVICES) | REQUESTS
KIND_BITS = sum(KINDS)
ROUTES_MAX = 4096  # remembered routes; beyond it all are worked out anew


class Member:
    """One open session as the hub knows it."""

    __slots__ = ("groups", "membership", "padded", "private")

    def __init__(self) -> None:
        self.private = b""  # #name#daemon; empty until admitted
        self.padded = b""
        self.membership = False  # wants membership messages
        self.groups: set[bytes] = set()


M = TypeVar("M", bound=Member)


class Parcel(NamedTuple, Generic[M]):
    """What to do next with a session's input: deliver data[start:end] (or `instead`), or carry out `request`."""

    start: int
    end: int
    messages: int
    recipients: Sequence[M]
    instead: bytes | None = None  # the header had to be written anew
    request: int = 0  # JOIN, LEAVE or KILL; then nothing is delivered
    group: bytes = b""
    dropped: str = ""  # why nobody gets it, when that is worth a log line


class Post(NamedTuple, Generic[M]):
    """One message made by the daemon itself."""

    recipients: Sequence[M]
    data: bytes


class Group(Generic[M]):
    """Who is in, sorted by private address; `changes` counts since the group was made."""

    __slots__ = ("changes", "members", "names")

    def __init__(self) -> None:
        self.names: list[bytes] = []  # padded, sorted; members in the same order
        self.members: list[M] = []
        self.changes = 0


class Hub(Generic[M]):
    """All sessions and groups of one daemon. `ring` is (daemon id, start time): the first two words of every group id."""

    def __init__(self, config: BusDaemonConfig, ring: tuple[int, int]) -> None:
        self._config = config
        self._daemon = config.name.encode()
        self._ring = ring
        self._sessions: dict[bytes, M] = {}  # by private address
        self._groups: dict[bytes, Group[M]] = {}
        self._routes: dict[bytes, tuple[Sequence[M], str]] = {}
        self._invented = 0

    def __len__(self) -> int:
        return len(self._sessions)

    # -- sessions

    def check_name(self, name: bytes) -> None:
        """Raises Refused when `name` is taken now or no session more is admitted."""
        if len(self._sessions) >= self._config.sessions_max:
            raise wire.Refused(REJECT_QUOTA)
        if name and self._address(name) in self._sessions:
            raise wire.Refused(REJECT_NOT_UNIQUE)

    def admit(self, member: M, name: bytes, membership: bool) -> None:
        """Give the session its private address. Raises Refused."""
        self.check_name(name)
        private = self._address(name) if name else self._invent()
        member.private, member.padded, member.membership = private, wire.pad(private), membership
        self._sessions[private] = member
        self._routes.clear()

    def _address(self, name: bytes) -> bytes:
        return b"#" + name + b"#" + self._daemon

    def _invent(self) -> bytes:
        while True:
            self._invented += 1
            private = self._address(b"r%d-%d" % (self._invented // 10000 % 9999, self._invented % 10000))
            if private not in self._sessions:
                return private

    # -- membership

    def join(self, member: M, name: bytes) -> list[Post[M]]:
        """Put a session into a group; nothing when it is in already, a REJECT to itself when a limit is reached."""
        if name in member.groups:
            return []
        group = self._groups.get(name)
        if len(member.groups) >= self._config.groups_per_session_max or (
            group and len(group.members) >= self._config.members_per_group_max
        ):
            return [Post((member,), wire.join_refused(member.private, name))]
        if group is None:
            group = self._groups[name] = Group()
        insort(group.names, member.padded)
        group.members.insert(bisect_left(group.names, member.padded), member)
        member.groups.add(name)
        return self._changed(name, group, CAUSED_BY_JOIN, member)

    def leave(self, member: M, name: bytes) -> list[Post[M]]:
        """Take a session out of a group; nothing when it is not in."""
        if name not in member.groups:
            return []
        posts = self._remove(member, name, CAUSED_BY_LEAVE)
        if member.membership:
            posts.append(Post((member,), wire.self_leave(wire.pad(name))))
        return posts

    def drop(self, member: M) -> list[Post[M]]:
        """The session is gone, however it ended. Idempotent."""
        if self._sessions.pop(member.private, None) is None:
            return []
        self._routes.clear()
        return [post for name in sorted(member.groups) for post in self._remove(member, name, CAUSED_BY_DISCONNECT)]

    def _remove(self, member: M, name: bytes, cause: int) -> list[Post[M]]:
        member.groups.discard(name)
        group = self._groups[name]
        at = bisect_left(group.names, member.padded)
        del group.names[at], group.members[at]
        if not group.members:
            del self._groups[name]
        return self._changed(name, group, cause, member)

    def _changed(self, name: bytes, group: Group[M], cause: int, changed: M) -> list[Post[M]]:
        self._routes.clear()
        group.changes += 1
        watching = [member for member in group.members if member.membership]
        if not watching:
            return []
        return [Post(watching, wire.view(cause, wire.pad(name), group.names, changed.padded, (*self._ring, group.changes)))]

    # -- messages

    def parcels(self, member: M, data: bytes) -> Iterator[Parcel[M]]:
        """Everything whole in `data`, in order, as long runs as can be. Carry out each before asking for the next.

        Raises Violation at the first message that breaks the protocol; what came before it is yielded first."""
        position, size = 0, len(data)
        run: Parcel[M] | None = None
        while size - position >= HEADER_BYTES:
            try:
                parcel = self._one(member, data, position)
            except Violation:
                if run:
                    yield run
                raise
            if parcel is None:
                break
            position = parcel.end
            if parcel.request or parcel.instead is not None or parcel.dropped:
                if run:
                    yield run
                    run = None
                yield parcel
                continue
            length = parcel.end - parcel.start  # the same header again needs no second check
            same = data[parcel.start : parcel.start + HEADER_BYTES + NAME_BYTES * data[parcel.start + 36]]
            while position + length <= size and data.startswith(same, position):
                position += length
            messages = (position - parcel.start) // length
            if run and run.recipients is parcel.recipients:
                run = Parcel(run.start, position, run.messages + messages, run.recipients)
            else:
                if run:
                    yield run
                run = Parcel(parcel.start, position, messages, parcel.recipients)
        if run:
            yield run

    def _one(self, member: M, data: bytes, start: int) -> Parcel[M] | None:
        """The message that begins at `start`; None while it is not whole. Raises Violation."""
        kind, name, groups, hint, length = LITTLE_HEADER.unpack_from(data, start)
        anew = kind not in AS_IT_CAME
        if anew:
            kind, groups, hint, length = self._unusual(data, start)
        if name != member.padded:
            if name.partition(b"\0")[0] != member.private:
                raise Violation(f"speaks as {name.partition(chr(0).encode())[0]!r}")
            anew = True
        if hint & ~wire.HINT_LEGAL:
            raise Violation(f"illegal hint 0x{hint:08x}")
        if not 0 <= groups <= self._config.groups_per_message_max:
            raise Violation(f"{groups} groups in one message, at most {self._config.groups_per_message_max}")
        body = length + NAME_BYTES * groups
        if length < 0 or body > self._config.body_bytes_max:
            raise Violation(f"message of {length} bytes to {groups} groups, together at most {self._config.body_bytes_max}")
        end = start + HEADER_BYTES + body
        if end > len(data):
            return None
        targets = data[start + HEADER_BYTES : start + HEADER_BYTES + NAME_BYTES * groups]
        if kind & KIND_BITS in REQUESTS:
            return self._request(kind & KIND_BITS, groups, targets, start, end)
        recipients, dropped = self._routes.get(targets) or self._route(targets)
        if kind & SELF_DISCARD:
            recipients = self._without(member, recipients)
        instead = None
        if anew:
            own = LITTLE_HEADER.pack(kind | LITTLE, member.padded, groups, 0, length)
            instead = own[:40] + data[start + 40 : start + 44] + own[44:] + data[start + HEADER_BYTES : end]
        return Parcel(start, end, 1, recipients, instead, 0, b"", dropped)

    def _unusual(self, data: bytes, start: int) -> tuple[int, int, int, int]:
        """Type (masked), number of groups, hint, data length of a header that is not plain little endian. Raises Violation."""
        kind, _, groups, hint, length = LITTLE_HEADER.unpack_from(data, start)
        if not kind & LITTLE:
            kind, _, groups, hint, length = wire.BIG_HEADER.unpack_from(data, start)
            if kind & LITTLE:
                raise Violation(f"illegal endian bits in type 0x{kind:08x}")
        elif kind & LITTLE != LITTLE:
            raise Violation(f"illegal endian bits in type 0x{kind:08x}")
        if kind & KIND_BITS not in KINDS:
            raise Violation(f"illegal type 0x{kind:08x}")
        return kind & (KIND_BITS | SELF_DISCARD), groups, hint, length

    @staticmethod
    def _request(kind: int, groups: int, targets: bytes, start: int, end: int) -> Parcel[M]:
        if kind == KILL_MESS:
            return Parcel(start, end, 1, (), None, kind)
        if groups != 1:
            raise Violation(f"joins or leaves {groups} groups in one message")
        return Parcel(start, end, 1, (), None, kind, wire.group_name(targets))

    # -- routing

    def _route(self, targets: bytes) -> tuple[Sequence[M], str]:
        """Who gets a message to `targets` (32-byte fields): every session once; and why nobody does, if a name is illegal."""
        names = [targets[at : at + NAME_BYTES].partition(b"\0") for at in range(0, len(targets), NAME_BYTES)]
        recipients: Sequence[M] = ()
        dropped = ""
        for name, nul, _ in names:
            if not nul or name.translate(None, wire.TARGET_LETTERS):
                dropped = f"illegal target name {name!r}"
        if not dropped:
            found: dict[M, None] = {}
            for name, _, _ in names:
                found.update(dict.fromkeys(self._called(name)))
            recipients = tuple(found)
        if len(self._routes) >= ROUTES_MAX:
            self._routes.clear()
        self._routes[targets] = recipients, dropped
        return recipients, dropped

    def _called(self, name: bytes) -> Sequence[M]:
        if name.startswith(b"#"):
            session = self._sessions.get(name)
            return () if session is None else (session,)
        group = self._groups.get(name)
        return () if group is None else group.members

    def _without(self, member: M, recipients: Sequence[M]) -> Sequence[M]:
        return tuple(other for other in recipients if other is not member) if member in recipients else recipients
