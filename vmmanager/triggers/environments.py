"""What a trigger's code sees of environments: `manager.environments`, read-only. Notes every read, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vmmanager.state import Environment
from vmmanager.triggers.unknown import Unknown

if TYPE_CHECKING:
    from vmmanager.triggers.views import Views


class EnvironmentView:
    """One environment; what its queue holds is Unknown while the batch system does not answer."""

    __slots__ = ("_views", "name")

    def __init__(self, views: Views, name: str) -> None:
        self._views = views
        self.name = name

    def __repr__(self) -> str:
        return f"<environment {self.name}>"

    def _now(self) -> Environment:
        now = self._views.farm.environments.get(self.name) or Environment(self.name)
        self._views.reads.seen["environment", self.name] = now
        return now

    @property
    def known(self) -> bool:
        return self._now().known

    @property
    def slots(self) -> int:
        return self._now().slots

    @property
    def serving(self) -> int:
        return self._now().serving

    @property
    def wanted(self) -> Any:
        wanted = self._now().wanted
        return Unknown(f"nothing was decided of {self.name} yet") if wanted is None else wanted

    @property
    def waiting(self) -> Any:
        return self._jobs("waiting")

    @property
    def running(self) -> Any:
        return self._jobs("running")

    def _jobs(self, which: str) -> Any:
        now = self._now()
        return (
            getattr(now, which)
            if now.known
            else Unknown(f"the jobs of {self.name} are not known: the batch system is not heard")
        )


class EnvironmentsView(Mapping[str, Any]):
    """Environments by name."""

    __slots__ = ("_views",)

    def __init__(self, views: Views) -> None:
        self._views = views

    def _names(self) -> list[str]:
        names = sorted(self._views.farm.environments)
        self._views.reads.seen["environments",] = len(names)
        return names

    def __getitem__(self, name: str) -> Any:
        return EnvironmentView(self._views, name) if name in self._names() else Unknown(f"there is no environment {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())
