"""Names on the bus: they fit, they are legal, they stay, and they differ where the full names differ."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bus.contract import GROUP_BYTES_MAX, PRIVATE_BYTES_MAX, BusError
from common.bus.names import GroupNames, group_name, private_name
from common.bus.spread.codec import legal_name

printable = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=255)


@given(printable, st.integers(0, 20))
def test_private_names_are_legal_and_stay_the_same(full: str, variant: int) -> None:
    name = private_name(full, variant)
    assert legal_name(name, PRIVATE_BYTES_MAX)
    assert name == private_name(full, variant)


@given(printable)
def test_group_names_are_legal_and_a_name_on_the_bus_is_its_own(full: str) -> None:
    name = group_name(full)
    assert legal_name(name.replace("#", "$"), GROUP_BYTES_MAX)
    if not name.startswith("#"):
        assert "~" in name or name == full


def test_short_names_are_used_as_they_are() -> None:
    assert private_name("xen1") == "xen1"
    assert private_name("n-17.site") == "n-17.site"
    assert group_name("managers") == "managers"
    assert group_name("#xen1#localhost") == "#xen1#localhost"


def test_long_names_can_be_recognised() -> None:
    assert private_name("xen12.example.org") == "xen12"
    assert private_name("xen12.example.org", 1).startswith("xen~")
    assert private_name("worker-node-17.example.org").startswith("wor~")
    assert group_name("worker nodes of the second floor").startswith("workernodesofthe~")


def test_a_farm_of_2000_hosts_with_like_names_gets_2000_private_names() -> None:
    assert len({private_name(f"worker-node-{number:04}.farm.example.org") for number in range(2000)}) == 2000


def test_hosts_called_alike_in_two_domains_have_different_variants() -> None:
    assert private_name("db1.first.example.org") == private_name("db1.second.example.org")
    assert private_name("db1.first.example.org", 1) != private_name("db1.second.example.org", 1)


def test_variants_differ_from_the_name_and_from_each_other() -> None:
    assert len({private_name("xen1", variant) for variant in range(50)}) == 50


def test_nobody_can_name_a_group_so_that_it_becomes_another() -> None:
    long = "x" * 40
    assert group_name(group_name(long)) != group_name(long)  # a digest is no name to be used as it is
    assert len({group_name(f"{long}{number}") for number in range(1000)}) == 1000


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "\x1b[31m", "x" * 256, "\ud800"])
def test_names_that_could_forge_a_log_line_are_refused(name: str) -> None:
    with pytest.raises(BusError, match="illegal group name"):
        group_name(name)


def test_full_names_come_back_for_groups_that_were_joined() -> None:
    names = GroupNames()
    wire = names.joined("a very long name of a group indeed")
    assert names.full(wire) == "a very long name of a group indeed"
    assert names.full("other") == "other"
