"""What every policy keeps whatever the queues are, and what each of them is for."""

from __future__ import annotations

import pytest
from hypothesis import assume, given

from common.config.model import Code, ConfigurationError, Where
from tests.environments.worlds import World, worlds
from vmmanager.environments import quotas
from vmmanager.environments.demand import Choice, Demand, Policy, Quota, Settings, Supply
from vmmanager.environments.explain import explained
from vmmanager.environments.expression import Expression
from vmmanager.environments.policies import POLICIES


def own(text: str) -> Expression:
    return Expression(Code(text, Where("environments.ini", 1, "farm", "policy")))


ALL: list[Policy] = [*POLICIES.values(), own("env.waiting * 2 + env.running")]
BANDED = [policy for policy in ALL if policy.name in ("waterfill", "proportional", "expression")]
each_policy = pytest.mark.parametrize("policy", ALL, ids=lambda policy: policy.name)


def now(supply: dict[str, Supply]) -> dict[str, int]:
    return {name: has.slots for name, has in supply.items()}


@each_policy
@given(world=worlds())
def test_never_more_slots_than_there_are(policy: Policy, world: World) -> None:
    wanted = policy.wanted(*world).wanted
    assert list(wanted) == list(world[1])
    assert all(slots >= 0 for slots in wanted.values())
    assert sum(wanted.values()) <= sum(has.slots for has in world[1].values())


@each_policy
@given(world=worlds(known=True))
def test_floors_and_caps_are_kept(policy: Policy, world: World) -> None:
    demand, supply, settings = world
    slots = sum(has.slots for has in supply.values())
    assume(sum(quota.min for quota in settings.quotas.values()) <= slots)
    for name, wanted in policy.wanted(demand, supply, settings).wanted.items():
        quota = settings.quotas[name]
        assert quota.min <= wanted
        assert quota.max is None or wanted <= quota.max


@each_policy
@given(world=worlds())
def test_what_is_unknown_stays_as_it_is(policy: Policy, world: World) -> None:
    demand, supply, _ = world
    wanted = policy.wanted(*world).wanted
    assert all(wanted[name] == supply[name].slots for name in demand if not demand[name].known)


@each_policy
@given(world=worlds(known=True))
def test_what_was_given_is_not_taken_within_the_hold_time(policy: Policy, world: World) -> None:
    demand, supply, settings = world
    free = Settings(dict.fromkeys(settings.quotas, Quota()), settings.dead_band)
    wanted = policy.wanted(demand, supply, free).wanted
    assert all(wanted[name] >= has.held for name, has in supply.items())


@pytest.mark.parametrize("policy", BANDED, ids=lambda policy: policy.name)
@given(world=worlds(known=True))
def test_a_change_is_as_large_as_the_dead_band_or_urgent(policy: Policy, world: World) -> None:
    demand, supply, settings = world
    wanted, have = policy.wanted(demand, supply, settings).wanted, now(supply)
    limits = quotas.bounds(demand, supply, settings)
    moved = sum(abs(wanted[name] - have[name]) for name in have) / 2
    starves = any(demand[name].waiting and not have[name] for name in have)
    outside = any(not limits.low[name] <= have[name] <= limits.high[name] for name in have)
    assert wanted == have or starves or outside or moved >= settings.band(limits.slots)


@each_policy
@given(world=worlds())
def test_the_same_in_gives_the_same_out(policy: Policy, world: World) -> None:
    assert policy.wanted(*world) == policy.wanted(*world)


@each_policy
@given(world=worlds())
def test_each_choice_is_explained(policy: Policy, world: World) -> None:
    demand, supply, settings = world
    choice = policy.wanted(*world)
    lines = explained(demand, supply, settings, choice, [], {})
    for name, wanted in choice.wanted.items():
        line = next(line for line in lines if line.startswith(f"{name}: ") and f"; wanted {wanted} (" in line)
        assert ("does not answer" in line) is not demand[name].known


def two(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[dict[str, Demand], dict[str, Supply]]:
    """(waiting, running, slots) of two environments; one job a slot."""
    demand = {name: Demand(waiting, running) for name, (waiting, running, _) in (("sl4", a), ("debian", b))}
    supply = {name: Supply(slots, slots, max(0, slots - running)) for name, (_, running, slots) in (("sl4", a), ("debian", b))}
    return demand, supply


PLAIN = Settings({"sl4": Quota(), "debian": Quota()}, dead_band=0.0)


def chosen(policy: str, a: tuple[int, int, int], b: tuple[int, int, int], settings: Settings = PLAIN) -> list[int]:
    return list(POLICIES[policy].wanted(*two(a, b), settings).wanted.values())


def test_waterfill_takes_idle_slots_and_no_more_than_are_needed() -> None:
    assert chosen("waterfill", (5, 10, 10), (0, 2, 20)) == [15, 15]


def test_waterfill_divides_evenly_where_all_need_more() -> None:
    assert chosen("waterfill", (50, 10, 10), (50, 20, 20)) == [15, 15]


def test_waterfill_satisfies_a_small_need_first() -> None:
    assert chosen("waterfill", (500, 30, 30), (4, 0, 0)) == [26, 4]


def test_waterfill_leaves_idle_slots_where_they_are() -> None:
    assert chosen("waterfill", (0, 0, 10), (0, 3, 20)) == [10, 20]


def test_waterfill_starts_from_no_slot_even_inside_the_dead_band() -> None:
    assert chosen("waterfill", (1, 0, 0), (0, 3, 30), Settings(PLAIN.quotas, dead_band=0.5)) == [1, 29]


def test_greedy_gives_all_to_the_longest_queue() -> None:
    assert chosen("greedy", (50, 10, 10), (20, 20, 20)) == [30, 0]


def test_proportional_gives_by_jobs() -> None:
    assert chosen("proportional", (50, 10, 10), (10, 20, 20)) == [20, 10]


def test_static_gives_by_share() -> None:
    shares = Settings({"sl4": Quota(share=0.8), "debian": Quota(share=0.2)})
    assert chosen("static", (0, 0, 10), (90, 10, 10), shares) == [16, 4]


def test_utilisation_moves_a_step_and_does_not_look_at_the_queue() -> None:
    assert chosen("utilisation", (0, 10, 10), (90, 2, 20)) == [11, 19]


def test_utilisation_leaves_a_full_farm_as_it_is() -> None:
    assert chosen("utilisation", (90, 10, 10), (0, 20, 20)) == [10, 20]


def test_cost_moves_for_a_long_queue_and_not_for_a_short_one() -> None:
    dear = Settings(PLAIN.quotas, switch_s=3600.0)
    assert chosen("cost", (1, 10, 10), (0, 2, 20), dear) == [10, 20]
    assert chosen("cost", (200, 10, 10), (0, 2, 20), dear)[0] > 20


def test_cost_says_what_it_weighed() -> None:
    choice = POLICIES["cost"].wanted(*two((1, 10, 10), (0, 2, 20)), Settings(PLAIN.quotas, switch_s=3600.0))
    assert [str(each) for each in choice.rejected] == [
        "sl4: 11 rejected, 10 wanted: one more would save 16 s of waiting and cost 3600 s"
    ]


def test_an_explanation_reads_so() -> None:
    settings = Settings({"sl4": Quota(max=12), "debian": Quota(min=8)}, dead_band=0.0)
    demand, supply = two((5, 10, 10), (0, 2, 20))
    choice = POLICIES["waterfill"].wanted(demand, supply, settings)
    assert explained(demand, supply, settings, choice, [], {}) == [
        "sl4: 5 jobs wait, 10 run; 10 slots, 10 serve, 0 idle, could use 15; wanted 12 (+2)",
        "debian: 0 jobs wait, 2 run; 20 slots, 20 serve, 18 idle, could use 2; wanted 18 (-2)",
        "sl4: 15 rejected, 12 wanted: max = 12",
    ]


def test_the_dead_band_is_named_where_it_holds() -> None:
    choice = POLICIES["waterfill"].wanted(*two((1, 10, 10), (0, 2, 20)), Settings(PLAIN.quotas, dead_band=0.1))
    assert choice.wanted == {"sl4": 10, "debian": 20}
    assert str(choice.rejected[0]) == "sl4: 11 rejected, 10 wanted: a change of 1 is inside the dead band of 3"


def test_an_expression_decides_by_environment() -> None:
    policy = own("min(env.waiting, 3) + env.running if env.name == 'sl4' else env.running")
    assert policy.wanted(*two((9, 10, 10), (50, 5, 20)), PLAIN).wanted == {"sl4": 13, "debian": 17}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("env.waiting / 0", "the expression raised ZeroDivisionError: division by zero"),
        ("env.nonsense", "the expression raised AttributeError: 'View' object has no attribute 'nonsense'"),
        ("'many'", "the expression gave 'many', which is no number"),
        ("1e308 * 10 * env.slots", "the expression gave inf, which is no number"),
    ],
)
def test_an_expression_that_fails_changes_nothing_and_says_why(text: str, why: str) -> None:
    choice: Choice = own(text).wanted(*two((9, 10, 10), (50, 20, 20)), PLAIN)
    assert choice.wanted == {"sl4": 10, "debian": 20}
    assert [each.rule for each in choice.rejected] == [why, why]


@pytest.mark.parametrize("text", ["env.__class__", "open('/etc/passwd')", "env.waiting +", "lambda: 1"])
def test_an_expression_reaches_for_nothing_else(text: str) -> None:
    with pytest.raises(ConfigurationError):
        own(text)


@pytest.mark.parametrize("quota", [Quota(5, 3), Quota(-1), Quota(jobs_per_slot=0)])
def test_settings_without_sense_are_refused_by_name(quota: Quota) -> None:
    with pytest.raises(ValueError, match="environment sl4: "):
        Settings({"sl4": quota})
