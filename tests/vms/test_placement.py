"""Where a VM goes, and what the administrator is told of it."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given

from tests.vms.farms import HOSTS, Farm, assignments, defined, farms, may_be, room, vm
from vmmanager.vms.placement import MIB, Placement, Room, after, need_bytes, place, place_all, seat, without

MAIL = vm("mail1", 512)


# --- one VM -----------------------------------------------------------------------------------------------------------------


def test_it_goes_where_most_memory_stays_free_and_every_other_host_has_its_reason() -> None:
    found = place(MAIL, defined(MAIL), [room("xen2", 4096), room("xen1", 6144), room("xen3", 300)])
    assert found == Placement(
        "xen1",
        "of 2 possible hosts the least used: then 32 % of its memory is used",
        {
            "xen2": "possible, but 57 % of its memory would be used, on xen1 32 %",
            "xen3": "needs 519 MiB (512 MiB and 7 MiB to run it), 300 MiB are free",
        },
    )


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (room("xen1", why_not="it is in maintenance (new disks)"), "it is in maintenance (new disks)"),
        (room("xen1", None), "its free memory is not known"),
        (room("xen1", cpus=None), "its number of CPUs is not known"),
        (room("xen1", cpus=1), "needs 2 CPUs, the host has 1"),
        (room("xen1", 512), "needs 520 MiB (512 MiB and 8 MiB to run it), 512 MiB are free"),
        (room("xen1", vms=["mail2"]), "anti_affinity keeps it apart from mail2"),
        (room("xen4"), "its definition allows only xen1, xen2"),
    ],
)
def test_a_host_that_cannot_take_it_says_why(host: Room, why: str) -> None:
    mail = vm("mail1", 512, vcpus=2, hosts=("xen1", "xen2"), anti_affinity=("mail2",))
    found = place(mail, defined(mail, vm("mail2")), [host])
    assert found == Placement(None, f"no host can take it ({host.host}: {why})", {host.host: why})


def test_without_any_host_it_says_so() -> None:
    assert place(MAIL, defined(MAIL), []) == Placement(None, "no host is known")


def test_of_many_hosts_the_summary_names_three() -> None:
    found = place(MAIL, defined(MAIL), [room(f"xen{number}", 100) for number in range(1, 6)])
    assert found.why.endswith("; and 2 more)")
    assert len(found.rejected) == 5


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        ({"cpus": 16}, {"cpus": 8}, "it would have 0.12 vCPUs for each CPU, xen2 0.06"),
        ({"load": 1.0}, {"load": 4.0}, "its load is higher than that of xen2"),
        ({"load": 1.0}, {"load": None}, "its load is not known"),
    ],
)
def test_where_memory_is_equal_cpus_and_load_decide(better: dict[str, Any], worse: dict[str, Any], why: str) -> None:
    found = place(MAIL, defined(MAIL), [room("xen1", **worse), room("xen2", **better)])
    assert (found.host, found.rejected) == ("xen2", {"xen1": f"possible, but {why}"})


def test_among_equals_the_first_name() -> None:
    found = place(MAIL, defined(MAIL), [room("xen2"), room("xen1")])
    assert (found.host, found.rejected) == ("xen1", {"xen2": "possible, but xen1 is as good, and comes first by name"})


def test_it_stays_where_it_was_if_that_is_possible() -> None:
    rooms = [room("xen1", 8000), room("xen2", 600)]
    found = place(MAIL, defined(MAIL), rooms, prefer="xen2")
    assert found == Placement("xen2", "it was there before", {"xen1": "possible, but it was on xen2 before"})
    assert place(MAIL, defined(MAIL), [rooms[0], room("xen2", 100)], prefer="xen2").host == "xen1"


def test_the_operators_choice_is_taken_or_refused_but_never_replaced() -> None:
    rooms = [room("xen1", 8000), room("xen2", 600), room("xen3", 100)]
    found = place(MAIL, defined(MAIL), rooms, only="xen2")
    assert found == Placement("xen2", "the operator chose it", dict.fromkeys(("xen1", "xen3"), "the operator chose xen2"))
    found = place(MAIL, defined(MAIL), rooms, only="xen3")
    assert found.host is None
    assert found.why == "xen3 cannot take it: needs 519 MiB (512 MiB and 7 MiB to run it), 100 MiB are free"
    assert found.rejected["xen3"].startswith("needs 519 MiB")
    assert place(MAIL, defined(MAIL), rooms, only="xen9").why == "xen9 cannot take it: there is no such host"


def test_a_vm_that_a_host_counts_already_needs_no_more_memory_there() -> None:
    assert place(MAIL, defined(MAIL), [room("xen1", 0, vms=["mail1"])]).host == "xen1"


# --- with whom --------------------------------------------------------------------------------------------------------------


def test_anti_affinity_holds_both_ways_and_for_groups() -> None:
    other = vm("mail2", anti_affinity=("mail1",))
    grouped = vm("mail3", anti_affinity=("mailers",))
    mail = vm("mail1", group="mailers")
    rooms = [room("xen1", vms=["mail2"]), room("xen2", vms=["mail3"]), room("xen3", vms=["mail4"])]
    found = place(mail, defined(mail, other, grouped, vm("mail4")), rooms)
    assert found.host == "xen3"
    assert found.rejected == {
        "xen1": "anti_affinity keeps it apart from mail2",
        "xen2": "anti_affinity keeps it apart from mail3",
    }


def test_a_group_that_keeps_its_own_members_apart_spreads() -> None:
    web = [vm(f"web{number}", group="web", anti_affinity=("web",)) for number in range(1, 5)]
    found = place_all(web, defined(*web), [room("xen1"), room("xen2"), room("xen3")])
    assert [one.host for one in found.values()] == ["xen1", "xen2", "xen3", None]


def test_affinity_ties_both_ways_and_through_others() -> None:
    vms = defined(vm("app", affinity=("db",)), vm("web", affinity=("db",)), vm("db"))
    rooms = [room("xen1", 8000), room("xen2", 1000, vms=["app"])]
    for name in ("web", "db"):
        found = place(vms[name], vms, rooms)
        assert (found.host, found.why) == ("xen2", "affinity ties it to app on xen2")
        assert found.rejected == {"xen1": "affinity ties it to app on xen2"}


def test_affinity_to_a_group_wants_one_of_it_and_leaves_the_group_free() -> None:
    vms = defined(vm("cache", affinity=("web",)), vm("web1", group="web"), vm("web2", group="web"), vm("web3", group="web"))
    rooms = [room("xen1", 8000), room("xen2", 2000, vms=["web1"]), room("xen3", 1000, vms=["web2"])]
    found = place(vms["cache"], vms, rooms)
    assert found.host == "xen2"
    assert found.rejected["xen1"] == "affinity wants one of web beside it, and those are on xen2, xen3"
    assert place(vms["web3"], vms, rooms).host == "xen1"


def test_one_of_a_group_goes_to_the_vm_that_waits_for_it() -> None:
    vms = defined(vm("cache", affinity=("web",)), vm("web1", group="web"))
    found = place(vms["web1"], vms, [room("xen1", 8000), room("xen2", 2000, vms=["cache"])])
    assert (found.host, found.why) == ("xen2", "a VM there wants one of its group beside it")


def test_tied_vms_go_where_all_of_them_fit() -> None:
    vms = defined(vm("app", 512, affinity=("db",)), vm("db", 2048))
    found = place_all(vms.values(), vms, [room("xen1", 2500, 2600), room("xen2", 2700, 16000)])
    assert {name: one.host for name, one in found.items()} == {"db": "xen2", "app": "xen2"}
    assert found["db"].rejected["xen1"].startswith("possible, but not for those tied to it by affinity: app: needs 519 MiB")


# --- many VMs ---------------------------------------------------------------------------------------------------------------


def test_what_is_important_has_its_place_first() -> None:
    vms = defined(vm("big", 1024, priority=10), vm("small", 256, priority=500))
    found = place_all(vms.values(), vms, [room("xen1", 1100)])
    assert {name: one.host for name, one in found.items()} == {"small": "xen1", "big": None}


def test_many_vms_spread_over_equal_hosts() -> None:
    vms = [vm(f"v{number:02}", 256) for number in range(30)]
    found = place_all(vms, defined(*vms), [room(f"xen{number}", 8192) for number in range(1, 4)])
    assert sorted(one.host or "" for one in found.values()) == sorted(["xen1", "xen2", "xen3"] * 10)


def test_taking_one_off_gives_back_what_seating_it_took() -> None:
    rooms = (room("xen1", 1000), room("xen2", None))
    for host in ("xen1", "xen2"):
        assert without(after(rooms, MAIL, host), MAIL) == rooms
    assert after(rooms, MAIL, "xen1")[0].memory_free_bytes == 1000 * MIB - need_bytes(MAIL)
    assert after(rooms, MAIL, "xen2")[1].memory_free_bytes is None
    assert seat([MAIL], {}, rooms, "xen9") == "there is no host xen9"


@given(farms())
def test_each_choice_and_each_refusal_is_right_and_every_host_is_explained_once(farm: Farm) -> None:
    where = farm.running
    for name, found in place_all(farm.stopped, farm.definitions, farm.rooms).items():
        one = farm.definitions[name]
        allowed = {each.host for each in farm.rooms if may_be(one, each, farm, where)}
        assert ({found.host} if found.host else set()) | set(found.rejected) == {each.host for each in farm.rooms}
        assert found.host not in found.rejected
        assert {host for host, why in found.rejected.items() if why.startswith("possible")} == allowed - {found.host}
        assert (found.host in allowed) if allowed else found.host is None
        assert all([found.why, *found.rejected.values()])
        if found.host:
            where[name] = found.host


@given(farms())
def test_the_order_in_which_things_are_given_does_not_matter(farm: Farm) -> None:
    expected = place_all(farm.stopped, farm.definitions, farm.rooms)
    turned = dict(reversed(farm.definitions.items()))
    found = place_all(farm.stopped[::-1], turned, farm.rooms[::-1])
    assert list(found.items()) == list(expected.items())


def test_a_way_to_place_all_is_missed_at_most_once_in_ten_nearly_full_farms() -> None:
    """Against every possible way. What is missed is missed because no earlier choice is taken back; here is how often."""
    possible = missed = 0
    for seed in range(500):
        farm = _nearly_full(Random(seed))
        if next(assignments(farm.stopped, farm), None) is None:
            continue
        possible += 1
        missed += None in [found.host for found in place_all(farm.stopped, farm.definitions, farm.rooms).values()]
    assert possible > 400
    assert missed <= possible / 10, f"{missed} of {possible}"


def _nearly_full(random: Random) -> Farm:
    vms = [
        vm(
            f"v{number}",
            random.choice((256, 512, 768, 1024)),
            anti_affinity=(f"v{number - 1}",) if number and random.random() < 0.3 else (),
            hosts=tuple(random.sample(HOSTS, 2)) if random.random() < 0.3 else (),
        )
        for number in range(5)
    ]
    return Farm(defined(*vms), tuple(room(host, random.choice((1100, 1600, 2200)), 4096) for host in HOSTS))


@given(farms())
def test_more_memory_never_makes_a_host_impossible(farm: Farm) -> None:
    for one in farm.stopped:
        before = place(one, farm.definitions, farm.rooms)
        larger = [
            replace(r, memory_free_bytes=(r.memory_free_bytes or 0) + 512 * MIB, memory_bytes=r.memory_bytes + 512 * MIB)
            for r in farm.rooms
        ]
        after_ = place(one, farm.definitions, larger)
        assert before.host is None or after_.host is not None
