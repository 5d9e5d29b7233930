"""The policies by name: (demand, supply, settings) -> wanted. Pure; what to start or stop is the difference (switching.py)."""

from __future__ import annotations

from collections.abc import Mapping

from vmmanager.environments import quotas
from vmmanager.environments.demand import Choice, Demand, Policy, Rejected, Settings, Supply
from vmmanager.environments.waterfill import Waterfill

RUNTIME_S = 3600.0  # of jobs in an environment where none has ended yet
TINY = 1e-9


class Static:
    """Slots by the operator's shares, whatever the queues are."""

    name = "static"

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice:
        limits = quotas.bounds(demand, supply, settings)
        shares = {name: quota.share for name, quota in settings.quotas.items()}
        return Choice(quotas.kept(quotas.apportioned(shares, limits), supply, limits))


class Greedy:
    """The longest queue gets all it needs, the next one what is left."""

    name = "greedy"

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice:
        limits = quotas.bounds(demand, supply, settings)
        need = quotas.needs(demand, settings)
        order = sorted(demand, key=lambda name: (-demand[name].waiting, -supply[name].slots, name))
        return Choice(quotas.kept(quotas.in_order(order, need, limits), supply, limits), (), need)


class Proportional:
    """Slots in proportion to the jobs there are; nothing changes inside the dead band or while no job waits."""

    name = "proportional"

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice:
        limits = quotas.bounds(demand, supply, settings)
        need = quotas.needs(demand, settings)
        if any(asked.waiting for asked in demand.values() if asked.known):
            target = quotas.apportioned(need, limits)
        else:
            target = dict(limits.low)
        return quotas.settled(quotas.kept(target, supply, limits), need, demand, supply, limits, settings)


class Utilisation:
    """Feedback without a look at the queues, after COBalD's LinearController: an environment whose slots are all in use gets
    `utilisation_step` more each time, one with idle slots that many less. As all share the same slots, one takes what
    another gives.
    """

    name = "utilisation"

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice:
        limits = quotas.bounds(demand, supply, settings)
        wish = {name: has.slots + _step(has, settings) for name, has in supply.items()}
        least = {name: min(wish[name], has.slots) for name, has in supply.items()}
        target = quotas.in_order(list(supply), least, limits)
        takers = sorted(name for name in wish if wish[name] > supply[name].slots)
        target = quotas.in_order(takers, wish, limits._replace(low=target))
        return Choice(quotas.kept(target, supply, limits), (), wish)


def _step(has: Supply, settings: Settings) -> int:
    """-1, 0 or 1 times `utilisation_step`. While slots are on their way nothing can be said."""
    if has.serving < has.slots or not has.serving:
        return 0
    used = 1 - has.idle / has.serving
    if used < settings.utilisation_low:
        return -settings.utilisation_step
    return settings.utilisation_step if used >= settings.utilisation_high else 0


class Cost:
    """Moves a slot only when the waiting that it is expected to save exceeds what the switch costs.

    A queue of W jobs of r seconds on n places is gone after W r / n, and its jobs wait W^2 r / (2 n) seconds in all; the
    value of one slot more or less is the difference of that. A switch costs `switch_s` of the donor's work: for each
    place that was used one job waits that much longer.
    """

    name = "cost"

    def wanted(self, demand: Mapping[str, Demand], supply: Mapping[str, Supply], settings: Settings) -> Choice:
        limits = quotas.bounds(demand, supply, settings)
        need = quotas.needs(demand, settings)
        wanted = quotas.kept(limits.low, supply, limits)
        for _ in range(limits.slots):
            takers = [name for name in wanted if wanted[name] < min(limits.high[name], need[name])]
            givers = [name for name in wanted if wanted[name] > limits.low[name]]
            if not takers or not givers:
                break
            gain, taker = max((_waiting_s(name, wanted[name], demand, settings), name) for name in takers)
            loss, giver = min((_waiting_s(name, wanted[name] - 1, demand, settings), name) for name in givers)
            cost = loss + _price_s(giver, wanted[giver], need, settings)
            if giver == taker or gain <= cost:
                rule = f"one more would save {gain:.0f} s of waiting and cost {cost:.0f} s"
                return Choice(wanted, (Rejected(taker, wanted[taker] + 1, wanted[taker], rule),), need)
            wanted[taker] += 1
            wanted[giver] -= 1
        return Choice(wanted, (), need)


def _price_s(giver: str, slots: int, need: Mapping[str, int], settings: Settings) -> float:
    """What a switch costs beside the giver's waiting: the time itself, and the places in it that were of use."""
    used = settings.quotas[giver].jobs_per_slot if need[giver] >= slots else 0
    return settings.switch_s * (1 + used)


def _waiting_s(name: str, slots: int, demand: Mapping[str, Demand], settings: Settings) -> float:
    """Seconds of waiting, of all its jobs together, that one more slot beside `slots` saves."""
    asked, places = demand[name], settings.quotas[name].jobs_per_slot
    all_s = asked.waiting**2 * (RUNTIME_S if asked.runtime_s is None else asked.runtime_s) / 2 / places
    return all_s / max(slots, TINY) - all_s / (slots + 1)


POLICIES: dict[str, Policy] = {
    policy.name: policy for policy in (Static(), Greedy(), Proportional(), Waterfill(), Utilisation(), Cost())
}
DEFAULT = Waterfill.name
