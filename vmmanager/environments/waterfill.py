"""The default policy: each environment gets what it needs while there is enough, else the same level as the others. Pure.

Idle slots stay where they are until somebody needs them. Quotas, hold time and dead band are kept.
"""

from __future__ import annotations

from collections.abc import Mapping

from vmmanager.environments import quotas
from vmmanager.environments.demand import Choice, Demand, Settings, Supply


class Waterfill:
    name = "waterfill"

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice:
        limits = quotas.bounds(demand, supply, settings)
        need = quotas.needs(demand, settings)
        target = quotas.level(need, supply, limits)
        return quotas.settled(quotas.kept(target, supply, limits), need, demand, supply, limits, settings)
