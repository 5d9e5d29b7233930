"""IFaceDaemon with a real bus (in memory) and real files: what a hostile bus, a full disk or a wrong clock cannot do."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from common.bus.contract import Delivery
from common.bus.memory import MemoryBus, MemoryHub
from common.config.model import BusConfig, ClientConfig, PathsConfig
from common.envelope import Envelope, Opener, Sealer
from common.keys import Keyring, raw_public
from common.protocol import GROUP_MANAGERS, ClbControl
from vmclient import seen, threads
from vmclient.events import Moment, Send
from vmclient.threads import IFaceDaemon, Inbox
from vmclient.trust import Trust

KEY = SigningKey(bytes(32))


def face_of(folder: Path, bus: MemoryBus) -> IFaceDaemon:
    """As vmclient/client.py wires it."""
    config = ClientConfig("xen1", bus=BusConfig(), paths=PathsConfig(state=folder))
    noted = seen.load(folder / "seen")
    trust = Trust(config, lambda text, level: None)
    opener = Opener({"xen1"}, trust.ring, epoch=noted.epoch, floors=noted.floors)
    return IFaceDaemon(bus, opener, Sealer("xen1", KEY, noted.sent), trust, folder / "seen", Inbox(), noted)


def test_a_client_whose_clock_was_set_back_is_believed_after_its_restart_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = MemoryHub()
    manager, client = hub.open("m1", membership=False), hub.open("xen1", membership=False)
    manager.join(GROUP_MANAGERS)
    ring = Keyring()
    ring.set("xen1", raw_public(KEY), "client", "accepted")
    opener = Opener({GROUP_MANAGERS}, ring)
    wall = [1_000_000.0]
    monkeypatch.setattr(threads, "moment", lambda: Moment(wall[0], time.monotonic()))

    def says(face: IFaceDaemon, count: int = 1) -> list[Envelope]:
        for _ in range(count):
            wall[0] += 1.0
            face.put(Send(ClbControl(verb="alive")))
        face.finish()
        face.transmit()
        found = []
        while (got := manager.receive(0)) is not None:
            if isinstance(got, Delivery):
                found.append(opener.open(got.payload, wall[0]))  # raises Rejected for a replay
        return found

    face = face_of(tmp_path, client)
    assert len(says(face, 100)) == 100
    wall[0] -= 7200.0
    assert len(says(face)) == 1
    for _ in range(3):
        assert len(says(face_of(tmp_path, client))) == 1  # after a restart


def test_what_is_for_others_of_a_group_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hub = MemoryHub()
    face = face_of(tmp_path, hub.open("xen1", membership=False))
    face._delivered(Delivery("#m1#h", ("clients",), Sealer("m1", KEY).seal(ClbControl(verb="hello"), ("xen2",), time.time())))
    assert not face.dropped
    assert not caplog.records
