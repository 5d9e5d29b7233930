"""Any demand, supply and settings that can be, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from vmmanager.environments.demand import Demand, Quota, Settings, Supply

NAMES = ("debian", "rescue", "sl4", "sl5")
World = tuple[dict[str, Demand], dict[str, Supply], Settings]


@st.composite
def supplies(draw: st.DrawFn) -> Supply:
    slots = draw(st.integers(0, 30))
    serving = draw(st.integers(0, slots))
    return Supply(slots, serving, draw(st.integers(0, serving)), draw(st.integers(0, slots)))


@st.composite
def quotas(draw: st.DrawFn) -> Quota:
    least = draw(st.integers(0, 6))
    most = draw(st.none() | st.integers(least, 40))
    return Quota(least, most, draw(st.floats(0, 1)), draw(st.integers(1, 4)))


@st.composite
def worlds(draw: st.DrawFn, known: bool | None = None) -> World:
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    jobs = st.integers(0, 60)
    answers = st.booleans() if known is None else st.just(known)
    demand = {name: Demand(draw(jobs), draw(jobs), draw(st.none() | st.floats(0, 1e5)), draw(answers)) for name in names}
    supply = {name: draw(supplies()) for name in names}
    settings = Settings(
        {name: draw(quotas()) for name in names},
        dead_band=draw(st.sampled_from((0.0, 0.02, 0.1, 0.5))),
        switch_s=draw(st.floats(0, 3600)),
    )
    return demand, supply, settings
