"""What a trigger's code sees: `manager` and `client`, read-only, over the farm as it is. Notes every read, changes nothing.

A value that is missing, failed or stale is an Unknown with the reason. Time is the one the reads were started with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from vmmanager.state import Client, Farm, Key, Property
from vmmanager.triggers.environments import EnvironmentsView
from vmmanager.triggers.unknown import Unknown

NEWS_OF_GROUP = "news-of-group"  # Key (NEWS_OF_GROUP, G): any news of any member of G
NEWS_OF_ALL: Key = ("news-of-all",)
ANY_GROUP: Key = ("any-group",)  # a group appeared or went
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Reads:
    """What one evaluation has read so far. `seen`: Key -> value for all that must wake it; `among`: values of members that
    were iterated over (the news of them wakes it anyway); `results`: what functions over history gave."""

    __slots__ = ("among", "members", "results", "seen", "stale_factor", "wake", "wall")

    def __init__(self, stale_factor: float) -> None:
        self.stale_factor = stale_factor
        self.seen: dict[Key, Any] = {}
        self.among: dict[Key, Any] = {}
        self.results: dict[str, Any] = {}
        self.members = 0  # how many were gone through
        self.wall = 0.0
        self.wake = float("inf")  # wall clock: when a value read will become stale, so that the result may change

    def start(self, wall: float) -> None:
        self.seen.clear()
        self.among.clear()
        self.results.clear()
        self.members = 0
        self.wall = wall
        self.wake = float("inf")


class PropertyView:
    """One property with all that is known of it; `value` is Unknown where it is missing, failed or stale."""

    __slots__ = ("age", "error", "name", "ticks", "type", "unit", "value")

    def __init__(self, name: str, value: Any, held: Property | None, wall: float) -> None:
        self.name = name
        self.value = value
        self.age: Any = wall - held.read_at if held is not None else value
        self.error = held.reading.error if held is not None else ""
        self.unit = held.reading.unit if held is not None else ""
        self.type = held.reading.type if held is not None else ""
        self.ticks = held.reading.ticks if held is not None else -1.0

    def __repr__(self) -> str:
        return f"<property {self.name}: {self.value!r}>"


class ClientView:
    """One client. `c.ram_free` and `c.props["ram_free"]` are the property's value."""

    __slots__ = ("_farm", "_into", "_reads", "name")

    def __init__(self, name: str, farm: Farm, reads: Reads, into: dict[Key, Any]) -> None:
        self.name = name
        self._farm = farm
        self._reads = reads
        self._into = into

    def __getattr__(self, name: str) -> Any:
        if name[0] == "_":
            raise AttributeError(name)
        return self._value(name)

    def __repr__(self) -> str:
        return f"<client {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClientView) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def address(self) -> str:
        return self._client().address

    @property
    def groups(self) -> tuple[str, ...]:
        return self._client().groups

    @property
    def active_timestamp(self) -> float:
        return self._client().active_timestamp

    @property
    def age(self) -> float:
        """Seconds since its last message."""
        return self._reads.wall - self._client().active_timestamp

    @property
    def connected(self) -> bool:
        return bool(self._client().address)

    @property
    def version(self) -> str:
        return self._client().version

    @property
    def props(self) -> PropsView:
        return PropsView(self)

    def property(self, name: str) -> PropertyView:
        return PropertyView(name, self._value(name), self._held(name), self._reads.wall)

    def _client(self) -> Client:
        client = self._farm.clients.get(self.name) or Client(self.name)
        self._into["client", self.name] = self._reads.wall - client.active_timestamp
        return client

    def _held(self, name: str) -> Property | None:
        client = self._farm.clients.get(self.name)
        return None if client is None else client.properties.get(name)

    def _value(self, name: str) -> Any:
        value = self._current(name)
        self._into["property", self.name, name] = value
        return value

    def _current(self, name: str) -> Any:
        client = self._farm.clients.get(self.name)
        held = None if client is None else client.properties.get(name)
        if held is None:
            return Unknown(f"{self.name} has no {name}")
        reading, reads = held.reading, self._reads
        if reading.error:
            return Unknown(f"{name} of {self.name} failed: {reading.error}")
        if reading.ticks > 0:
            stale_at = held.read_at + reads.stale_factor * reading.ticks
            if reads.wall > stale_at:
                return Unknown(f"{name} of {self.name} is stale (age {reads.wall - held.read_at:.0f} s)")
            if stale_at < reads.wake:
                reads.wake = stale_at
        value = reading.value
        return Unknown(f"{name} of {self.name} has no value") if value is None else value


class PropsView(Mapping[str, Any]):
    """The properties of one client by name. A missing one is Unknown, by `get` the default."""

    __slots__ = ("_view",)

    def __init__(self, view: ClientView) -> None:
        self._view = view

    def __getitem__(self, name: str) -> Any:
        return self._view._value(name)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        self._view._value(name)
        return self._view._held(name) is not None

    def get(self, name: str, default: Any = None) -> Any:
        value = self._view._value(name)
        return default if self._view._held(name) is None else value

    def __iter__(self) -> Iterator[str]:
        self._view._client()  # a property that appears comes with news of the client
        client = self._view._farm.clients.get(self._view.name)
        return iter(sorted(client.properties) if client is not None else ())

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ClientsView(Mapping[str, Any]):
    """Clients by name: all, or the members of a group. To go through them is to read the news of each."""

    __slots__ = ("_all", "_key", "_news", "_views", "name")

    def __init__(self, views: Views, group: str | None) -> None:
        self.name = "" if group is None else group
        self._all = group is None
        self._views = views
        self._key: Key = ("clients",) if group is None else ("group", group)
        self._news: Key = NEWS_OF_ALL if group is None else (NEWS_OF_GROUP, group)

    def _members(self) -> dict[str, Client]:
        farm = self._views.farm
        return farm.clients if self._all else farm.groups.get(self.name, {})

    def _noted(self) -> dict[str, Client]:
        members = self._members()
        self._views.reads.seen[self._key] = len(members)
        return members

    def _gone_through(self) -> dict[str, Client]:
        members = self._noted()
        self._views.reads.seen[self._news] = None
        self._views.reads.members += len(members)
        return members

    def __len__(self) -> int:
        return len(self._noted())

    def __contains__(self, name: object) -> bool:
        return name in self._noted()

    def __getitem__(self, name: str) -> Any:
        if name in self._noted():
            return self._views.client(name)
        return Unknown(f"there is no client {name}" if self._all else f"{name} is not in group {self.name}")

    def get(self, name: str, default: Any = None) -> Any:
        return self._views.client(name) if name in self._noted() else default

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._gone_through()))

    def keys(self) -> list[str]:  # type: ignore[override]
        return list(self._gone_through())

    def values(self) -> list[ClientView]:  # type: ignore[override]
        member = self._views.member
        return [member(name) for name in self._gone_through()]

    def items(self) -> list[tuple[str, ClientView]]:  # type: ignore[override]
        member = self._views.member
        return [(name, member(name)) for name in self._gone_through()]

    def __repr__(self) -> str:
        return f"<{'all clients' if self._all else f'group {self.name}'}: {len(self._members())}>"


class GroupsView(Mapping[str, ClientsView]):
    """Groups by name; a group nobody is in is empty, not an error."""

    __slots__ = ("_views",)

    def __init__(self, views: Views) -> None:
        self._views = views

    def __getitem__(self, name: str) -> ClientsView:
        return self._views.group(name)

    def __contains__(self, name: object) -> bool:
        self._views.reads.seen["group", str(name)] = None
        return bool(self._views.farm.groups.get(str(name)))

    def __iter__(self) -> Iterator[str]:
        self._views.reads.seen[ANY_GROUP] = None
        return iter(sorted(name for name, members in self._views.farm.groups.items() if members))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ManagersView:
    """The managers, in the order of the bus's view; the first leads."""

    __slots__ = ("_views",)

    def __init__(self, views: Views) -> None:
        self._views = views

    @property
    def members(self) -> tuple[str, ...]:
        self._views.reads.seen["view",] = None
        return self._views.farm.managers

    @property
    def leader(self) -> str:
        self._views.reads.seen["view",] = self._views.farm.leader
        return self._views.farm.leader


class ManagerView:
    """`manager`: what is known of the whole farm."""

    __slots__ = ("clients", "environments", "groups", "view", "vms")

    def __init__(self, views: Views) -> None:
        self.clients = ClientsView(views, None)
        self.groups = GroupsView(views)
        self.view = ManagersView(views)
        self.vms = NOTHING  # filled by the fail-over part
        self.environments = EnvironmentsView(views)

    def __repr__(self) -> str:
        return "<manager>"


class Views:
    """All views over one farm; each is made once. A member of a group that was gone through notes its reads apart."""

    def __init__(self, farm: Farm, stale_factor: float) -> None:
        self.farm = farm
        self.reads = Reads(stale_factor)
        self._clients: dict[str, ClientView] = {}
        self._members: dict[str, ClientView] = {}
        self._groups: dict[str, ClientsView] = {}
        self.manager = ManagerView(self)

    def client(self, name: str) -> ClientView:
        view = self._clients.get(name)
        if view is None:
            view = self._clients[name] = ClientView(name, self.farm, self.reads, self.reads.seen)
        return view

    def member(self, name: str) -> ClientView:
        view = self._members.get(name)
        if view is None:
            view = self._members[name] = ClientView(name, self.farm, self.reads, self.reads.among)
        return view

    def group(self, name: str) -> ClientsView:
        view = self._groups.get(name)
        if view is None:
            view = self._groups[name] = ClientsView(self, name)
        return view

    def forget_gone(self) -> None:
        """Clients that are no longer known, so that the views do not grow for ever."""
        for views in (self._clients, self._members):
            for name in views.keys() - self.farm.clients.keys():
                del views[name]
