"""How far the list of a host can be trusted."""

from __future__ import annotations

import pytest

from common.protocol import NOT_READ, Reading
from vmmanager.state import Client, Farm, Property
from vmmanager.vms import safety
from vmmanager.vms.records import Record
from vmmanager.vms.sightings import COMING_S, DOMAINS, Sightings

NOW = 1_000_000.0


def _seen(reading: Reading | None, since_s: float) -> Sightings:
    farm, client = Farm(), Client("xen1", address="#1#bus", status="connected", connected_at=NOW - since_s)
    farm.clients["xen1"] = client
    farm.hypervisors.add("xen1")
    if reading is not None:
        client.properties[DOMAINS] = Property(reading, NOW, ())
    seen = Sightings()
    seen.look(farm, ["xen1"], 3.0, NOW)
    return seen


@pytest.mark.parametrize("reading", [None, Reading(name=DOMAINS, error=NOT_READ)])
def test_the_first_list_of_a_host_that_has_just_come_is_awaited_but_not_for_ever(reading: Reading | None) -> None:
    assert _seen(reading, 1.0).coming("xen1")
    assert not _seen(reading, COMING_S + 1).coming("xen1")


def test_a_host_that_cannot_list_its_domains_is_not_waited_for() -> None:
    assert not _seen(Reading(name=DOMAINS, error="xl does not answer"), 1.0).coming("xen1")
    assert not _seen(Reading(name=DOMAINS, value=[], ticks=10.0), 1.0).coming("xen1")


def test_what_a_host_had_before_it_came_back_is_no_second_domain() -> None:
    """Its first list is waited for; one that does not come is what the operator is told, not that both list it."""
    running = [{"name": "web", "state": "running", "ours": True}]
    farm, seen, record = Farm(), Sightings(), Record("web", places=("xen2",))
    for name in ("xen1", "xen2"):
        farm.clients[name] = Client(name, address=f"#1#{name}", status="connected", connected_at=NOW - 1)
        farm.clients[name].properties[DOMAINS] = Property(Reading(name=DOMAINS, value=running, ticks=10.0), NOW, ())
        farm.hypervisors.add(name)
    seen.look(farm, farm.clients, 3.0, NOW)
    assert "say which is right by hand" in safety.not_there(record, seen, NOW)[1]

    farm.clients["xen1"].properties[DOMAINS] = Property(Reading(name=DOMAINS, error=NOT_READ), NOW, ())
    seen.look(farm, farm.clients, 3.0, NOW)
    assert safety.awaits(record, seen)

    late = NOW + COMING_S
    farm.clients["xen2"].properties[DOMAINS].read_at = late
    seen.look(farm, farm.clients, 3.0, late)
    assert not safety.awaits(record, seen)
    assert safety.not_there(record, seen, late) == ("", f"it may be on xen1, which cannot list its domains: {NOT_READ}")


def test_a_vm_is_not_started_where_another_host_lists_it() -> None:
    """Be its list as fresh as can be, and its record empty: nobody of ours has ordered it there."""
    farm, seen = Farm(), Sightings()
    for name, domains in (("xen1", []), ("xen2", [{"name": "web", "state": "running", "ours": True}])):
        farm.clients[name] = Client(name, address=f"#1#{name}", status="connected", connected_at=NOW - 60)
        farm.clients[name].properties[DOMAINS] = Property(Reading(name=DOMAINS, value=domains, ticks=10.0), NOW, ())
        farm.hypervisors.add(name)
    seen.look(farm, farm.clients, 3.0, NOW)
    assert safety.may_not_arrive(Record("web"), "xen1", seen, NOW) == "xen2 lists it as running"
    assert safety.may_not_arrive(Record("web"), "xen1", seen, NOW, leaving="xen2") == ""
    assert safety.may_not_arrive(Record("web"), "xen2", seen, NOW) == "xen2 lists it as running"
    assert safety.may_not_arrive(Record("db"), "xen1", seen, NOW) == ""
