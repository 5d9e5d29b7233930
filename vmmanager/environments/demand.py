"""What a policy is told and what it answers: demand, supply, settings, choice. Knows no batch system, no slot's name, no clock.

Counts are slots unless a name says jobs. A slot is a place for one VM; an environment is a class of VMs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

ENVIRONMENTS_MAX = 64


class Demand(NamedTuple):
    """What the batch system says of one environment. `known` is false when it does not answer; then the rest says nothing."""

    waiting: int  # jobs
    running: int  # jobs
    runtime_s: float | None = None  # mean of the jobs that ended lately
    known: bool = True


class Supply(NamedTuple):
    """What one environment has. All environments' `slots` together are the slots there are."""

    slots: int  # they serve it, or are on their way to it; one that drains counts where it goes
    serving: int = 0  # of these: the batch system can use them now
    idle: int = 0  # of these: no job on it
    held: int = 0  # of `slots`: given to it less than `hold_s` ago


@dataclass(frozen=True, slots=True)
class Quota:
    """What the operator allows one environment."""

    min: int = 0
    max: int | None = None
    share: float = 1.0  # of the farm, against the others' shares: only the policy `static` looks at it
    jobs_per_slot: int = 1


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings. Raises ValueError, naming the environment, where they make no sense."""

    quotas: Mapping[str, Quota]
    dead_band: float = 0.02  # share of all slots: a smaller change of the mix is not worth a switch
    hold_s: float = 900.0  # a slot serves so long before it is switched again
    switch_s: float = 300.0  # what a switch takes, without the drain
    switches_max: int = 10  # slots that stop, start or join at the same time: spares the image server
    utilisation_low: float = 0.9  # the policy `utilisation`: below it an environment gives slots away
    utilisation_high: float = 0.98  # from it on it takes some
    utilisation_step: int = 1  # so many slots each time

    def __post_init__(self) -> None:
        if not 0 < len(self.quotas) <= ENVIRONMENTS_MAX:
            raise ValueError(f"{len(self.quotas)} environments, 1 to {ENVIRONMENTS_MAX} are possible")
        for name, quota in self.quotas.items():
            if quota.min < 0 or (quota.max is not None and quota.max < quota.min):
                raise ValueError(f"environment {name}: min = {quota.min} and max = {quota.max} leave nothing between them")
            if quota.jobs_per_slot < 1 or quota.share < 0:
                raise ValueError(f"environment {name}: jobs_per_slot must be 1 or more, share 0 or more")
        if not 0 <= self.dead_band <= 1 or self.hold_s < 0 or self.switch_s < 0 or self.switches_max < 1:
            raise ValueError("dead_band is a share of 0 to 1, hold_s and switch_s are not negative, switches_max is 1 or more")

    def band(self, slots: int) -> int:
        """The smallest change that is made, of a farm with so many slots: at least one slot."""
        return max(1, round(self.dead_band * slots))


class Rejected(NamedTuple):
    """What a policy did not do for one environment, and by which rule."""

    environment: str
    would: int  # slots, without the rule
    slots: int  # slots, with it
    rule: str

    def __str__(self) -> str:
        return f"{self.environment}: {self.would} rejected, {self.slots} wanted: {self.rule}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The wanted mix. What to start or stop is its difference to the supply."""

    wanted: dict[str, int]
    rejected: tuple[Rejected, ...] = ()
    needed: dict[str, int] = field(default_factory=dict)  # what each could use, before the others and the rules were looked at


class Policy(Protocol):
    """One pure method. The keys of demand, supply and settings.quotas are the same."""

    @property
    def name(self) -> str: ...

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice: ...
