"""What the batch system says, as it comes from the bus: good, garbled, partial; and whose jobs are whose."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.batch import Demand, Node
from common.config.model import EnvironmentConfig, EnvironmentsConfig, Where
from vmmanager.environments.headnode import counted, parsed

HERE = Where("environments.ini")
CONFIG = EnvironmentsConfig(
    (
        EnvironmentConfig("sl4", HERE, queue=("long", "short")),
        EnvironmentConfig("gpu", HERE, queue=("long",), feature="gpu"),
        EnvironmentConfig("physics", HERE, user_group=("atlas",)),
    )
)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "state", "jobs", "queue", "waiting"]), inner)
    ),
    max_leaves=10,
)


def _rows(*rows: Demand) -> list[Any]:
    return [asdict(row) for row in rows]


def _waiting(*rows: Demand) -> dict[str, int]:
    found = counted(_rows(*rows), CONFIG)
    assert found is not None
    return {name: asked.waiting for name, asked in found[0].items()} | {"nobody's": found[2]}


def test_jobs_belong_to_the_environment_that_says_most_about_them() -> None:
    assert _waiting(
        Demand("long", waiting=1),
        Demand("short", waiting=2),
        Demand("long", feature="gpu&big", waiting=4),
        Demand("short", feature="gpu", waiting=8),
        Demand("other", group="atlas", waiting=16),
        Demand("other", group="cms", waiting=32),
    ) == {"sl4": 11, "gpu": 4, "physics": 16, "nobody's": 32}


def test_a_job_of_four_processors_counts_as_four() -> None:
    assert _waiting(Demand("long", waiting=2, waiting_cores=8))["sl4"] == 8


@pytest.mark.parametrize(
    "value",
    [
        None,
        "idle",
        [{"name": "n1", "state": "sleeping", "jobs": 0}],
        [{"name": "n1", "state": "idle", "jobs": -1}],
        [{"name": "n1", "state": "idle", "jobs": "none"}],
        [{"state": "idle"}],
        [asdict(Node("n1", "idle")), "n2"],
    ],
)
def test_nodes_that_are_not_understood_are_unknown_all_of_them(value: Any) -> None:
    assert parsed(value) is None


@pytest.mark.parametrize("value", [None, "3", [3], [{"queue": "long", "waiting": -1}], [{"queue": "long", "running": 1.5}]])
def test_jobs_that_are_not_understood_are_unknown_all_of_them(value: Any) -> None:
    assert counted(value, CONFIG) is None


def test_no_jobs_and_no_nodes_are_an_answer() -> None:
    assert parsed([]) == {}
    found = counted([], CONFIG)
    assert found is not None
    assert all(asked.known and not asked.waiting for asked in found[0].values())


@given(VALUES)
def test_whatever_comes_is_counted_or_unknown(value: Any) -> None:
    parsed(value)
    counted(value, CONFIG)
