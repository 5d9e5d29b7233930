"""How a host is emptied and filled again: every step may be the last, and nothing is left unexplained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.vms.farms import HOSTS, Farm, apart, defined, farms, free_bytes, room, tied, vm
from vmmanager.vms.evacuation import Plan, Step, back, plan
from vmmanager.vms.placement import MIB, Room, after, need_bytes, place, without


def moves(found: Plan) -> list[tuple[str, str]]:
    return [(step.vm, step.target) for step in found.steps]


def moved(farm: Farm, steps: Sequence[Step]) -> Farm:
    rooms = farm.rooms
    for step in steps:
        rooms = after(without(rooms, farm.definitions[step.vm]), farm.definitions[step.vm], step.target)
    return replace(farm, rooms=rooms)


def test_important_vms_choose_first_and_move_last() -> None:
    vms = defined(vm("test", 512, priority=10), vm("mail", 512, priority=500))
    rooms = [room("xen1", vms=vms), room("xen2", 600), room("xen3", 8000)]
    found = plan("xen1", vms, vms, rooms)
    assert moves(found) == [("test", "xen3"), ("mail", "xen3")]
    one_place = plan("xen1", vms, vms, [room("xen1", vms=vms), room("xen2", 600)])
    assert moves(one_place) == [("mail", "xen2")]
    assert one_place.stays == {
        "test": "no host can take it (xen1: it is being emptied; "
        "xen2: needs 519 MiB (512 MiB and 7 MiB to run it), 81 MiB are free)"
    }


def test_the_operator_may_name_the_targets() -> None:
    vms = defined(vm("mail"))
    found = plan("xen1", vms, vms, [room("xen1", vms=vms), room("xen2", 8000), room("xen3")], to=["xen3"])
    assert moves(found) == [("mail", "xen3")]
    found = plan("xen1", vms, vms, [room("xen1", vms=vms), room("xen2", 8000), room("xen3", 100)], to=["xen3"])
    assert "xen2: the operator chose xen3" in found.stays["mail"]


def test_a_vm_without_a_definition_stays_and_is_told() -> None:
    found = plan("xen1", ["old"], {}, [room("xen1", vms=["old"]), room("xen2")])
    assert found == Plan((), {"old": "it has no definition to say where else it may run"})


def test_tied_vms_move_together_or_stay_together() -> None:
    vms = defined(vm("app", 512, affinity=("db",)), vm("db", 1024), vm("other", 256, priority=500))
    rooms = [room("xen1", vms=vms), room("xen2", 1200), room("xen3", 2000)]
    assert moves(plan("xen1", vms, vms, rooms)) == [("db", "xen3"), ("app", "xen3"), ("other", "xen3")]
    found = plan("xen1", vms, vms, [room("xen1", vms=vms), room("xen2", 1400), room("xen3", 600)])
    assert moves(found) == [("other", "xen2")]
    assert found.stays["db"].startswith("affinity ties it to app, which has to stay: no host can take it")
    assert found.stays["app"].startswith("no host can take it")


def test_one_vm_of_another_host_gives_way_where_that_helps() -> None:
    vms = defined(vm("mail", 1024), vm("small", 512), vm("vital", 512, priority=500))
    rooms = [room("xen1", vms=["mail"]), room("xen2", 600, vms=["small", "vital"]), room("xen3", 700)]
    found = plan("xen1", ["mail"], vms, rooms)
    assert moves(found) == [("small", "xen3"), ("mail", "xen2")]
    assert found.steps[0].why == "makes room for mail on xen2"
    assert moves(back(found.steps, vms, moved(Farm(vms, tuple(rooms)), found.steps).rooms)) == [
        ("mail", "xen1"),
        ("small", "xen2"),
    ]


def test_a_vm_gives_way_to_one_that_must_not_be_beside_it() -> None:
    vms = defined(vm("mail1", hosts=("xen1", "xen2"), anti_affinity=("mail2",)), vm("mail2"))
    found = plan("xen1", ["mail1"], vms, [room("xen1", vms=["mail1"]), room("xen2", vms=["mail2"]), room("xen3")])
    assert moves(found) == [("mail2", "xen3"), ("mail1", "xen2")]


def test_nobody_more_important_and_nobody_tied_gives_way() -> None:
    rooms = [room("xen1", vms=["mail"]), room("xen2", 600, vms=["other"]), room("xen3", 700)]
    for other in (vm("other", priority=500), vm("other", affinity=("pal",))):
        vms = defined(vm("mail", 1024), other, vm("pal"))
        assert plan("xen1", ["mail"], vms, rooms).steps == ()


def test_the_way_back_leaves_what_others_have_moved_or_filled() -> None:
    vms = defined(vm("a"), vm("b"), vm("c", 1024), vm("d"))
    steps = [Step(name, "xen2", "", "xen1") for name in ("a", "b", "c", "gone")]
    found = back(steps, vms, [room("xen1", 600), room("xen2", vms=["a", "c"])])
    assert moves(found) == [("a", "xen1")]
    assert found.steps[0].why == "it was there before"
    assert found.stays == {
        "b": "it is no longer on xen2, where the evacuation had put it",
        "c": "needs 1035 MiB (1024 MiB and 11 MiB to run it), 81 MiB are free",
        "gone": "it has no definition any more",
    }


def test_mates_that_want_each_other_beside_them_leave_and_return() -> None:
    vms = defined(*(vm(f"m{number}", group="mail", affinity=("mail",), priority=number) for number in range(3)))
    rooms = (room("xen1", vms=vms), room("xen2", 4096), room("xen3", 4000))
    found = plan("xen1", vms, vms, rooms)
    assert moves(found) == [("m0", "xen2"), ("m1", "xen2"), ("m2", "xen2")]
    assert moves(back(found.steps, vms, moved(Farm(vms, rooms), found.steps).rooms)) == [
        ("m0", "xen1"), ("m1", "xen1"), ("m2", "xen1")
    ]  # fmt: skip


# --- any farm, any moment at which it is stopped ----------------------------------------------------------------------------


def no_new_wrong(farm: Farm, before: Farm, step: Step) -> None:
    """After this step: the target is not over-full, and its guest is beside nobody that it must not be beside."""
    target = next(each for each in farm.rooms if each.host == step.target)
    one = farm.definitions[step.vm]
    assert not target.why_not, step
    assert target.memory_free_bytes is not None, step
    assert target.memory_free_bytes >= 0, step
    assert target.memory_free_bytes == free_bytes(next(r for r in before.rooms if r.host == step.target), before, farm.running)
    assert target.cpus is not None
    assert one.vcpus <= target.cpus, step
    assert not one.hosts or step.target in one.hosts, step
    assert not [other for other in target.vms if other in farm.definitions and apart(one, farm.definitions[other])], step


def alone(farm: Farm) -> Farm:
    """Each VM on one host only, as farms() has it, and the first host takes VMs again."""
    return replace(farm, rooms=(replace(farm.rooms[0], why_not=""), *farm.rooms[1:]))


@given(farms(vms_max=8), st.lists(st.sampled_from(HOSTS), max_size=2, unique=True))
def test_every_step_may_be_the_last_and_every_vm_is_explained_once(farm: Farm, to: list[str]) -> None:
    vms = farm.rooms[0].vms
    found = plan("xen1", vms, farm.definitions, farm.rooms, to)
    names = [step.vm for step in found.steps]
    assert sorted([name for name in names if name in vms] + list(found.stays)) == sorted(vms)
    assert len(set(names)) == len(names)
    for number, step in enumerate(found.steps, 1):
        now = moved(farm, found.steps[:number])
        no_new_wrong(now, farm, step)
        assert step.target != "xen1"
        assert step.target in (to or HOSTS)
        assert step.source == farm.running[step.vm]
        assert step.why
        tied_left = tied(step.vm, farm.definitions) & vms - set(names)
        assert not tied_left, f"{step.vm} went without {tied_left}"
    assert plan("xen1", sorted(vms, reverse=True), dict(reversed(farm.definitions.items())), farm.rooms[::-1], to) == found


@given(farms(vms_max=8))
def test_what_stays_could_not_have_gone_at_the_end(farm: Farm) -> None:
    vms = farm.rooms[0].vms
    found = plan("xen1", vms, farm.definitions, farm.rooms)
    end = [replace(r, why_not=r.why_not or ("out" if r.host == "xen1" else "")) for r in moved(farm, found.steps).rooms]
    for name in found.stays:
        if not tied(name, farm.definitions) and not farm.definitions[name].affinity:
            assert place(farm.definitions[name], farm.definitions, end).host is None


@given(farms(vms_max=8), st.integers(0, 8))
def test_an_evacuation_stopped_anywhere_can_be_taken_back(farm: Farm, taken: int) -> None:
    """If the VMs were where they may be, all of them come back, and every step of the way back may be the last, too."""
    farm = alone(farm)
    steps = plan("xen1", farm.rooms[0].vms, farm.definitions, farm.rooms).steps[:taken]
    there = moved(farm, steps)
    found = back(steps, farm.definitions, there.rooms)
    assert sorted([step.vm for step in found.steps] + list(found.stays)) == sorted(step.vm for step in steps)
    for number, step in enumerate(found.steps, 1):
        no_new_wrong(moved(there, found.steps[:number]), there, step)
        assert step.target == farm.running[step.vm]
    if lawful(farm):
        assert found.stays == {}
        assert moved(there, found.steps).running == farm.running


def lawful(farm: Farm) -> bool:
    """Whether everything that runs may be where it runs."""
    for name, host in farm.running.items():
        one = farm.definitions[name]
        others = without(farm.rooms, one)
        if place(one, farm.definitions, others, only=host).host is None:
            return False
    return True


def test_a_hundred_vms_leave_and_spread() -> None:
    vms = defined(*(vm(f"v{number:03}", 256) for number in range(100)))
    rooms: list[Room] = [room("xen00", vms=vms), *(room(f"xen{number:02}", 4096) for number in range(1, 50))]
    found = plan("xen00", vms, vms, rooms)
    assert len(found.steps) == 100
    assert not found.stays
    assert max(sum(need_bytes(vms[step.vm]) for step in found.steps if step.target == host.host) for host in rooms) < 1024 * MIB
