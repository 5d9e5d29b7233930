"""Where a VM goes, and what the administrator is told of it."""

from __future__ import annotations

from tests.vms.farms import defined, vm
from vmmanager.vms.placement import Placement, Room, place

MAIL = vm("mail1", 512)


def placed(one: object = MAIL, *rooms: Room, **more: object) -> Placement:
    return place(MAIL, defined(MAIL), rooms)
