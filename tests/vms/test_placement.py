"""Where a VM goes, and what the administrator is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from tests.vms.farms import Farm, assignments, defined, farms, may_be, room, vm
from vmmanager.vms.placement import MIB, Placement, Room, after, need_bytes, place, place_all, seat, without

MAIL = vm("mail1", 512)


def placed(one: object = MAIL, *rooms: Room, **more: object) -> Placement:
    return place(MAIL, defined(MAIL), rooms)
