"""Whom daemons believe: keys and operators, wrong clocks, enemies on the bus."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator

import pytest

from common.envelope import Role
from common.protocol import GROUP_CLIENTS, GROUP_MANAGERS, ClbControl, Control, Execute, ExecVal, PropVal, Reading
from tests.farm.farm import Farm
from tests.farm.peer import Peer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HOUR_S = 3600.0


@contextlib.contextmanager
def peer(farm: Farm, name: str, role: Role | None) -> Iterator[Peer]:
    made = Peer(farm.folder, farm.port, name, role)
    try:
        yield made
    finally:
        made.close()


def dropped(farm: Farm, reason: str) -> int:
    """As `vmctl status` counts it."""
    return int(farm.status("m1")["dropped"].get(reason, 0))


def keys(farm: Farm) -> dict[str, str]:
    return {row["name"]: row["state"] for row in farm.vmctl("m1", "key", "list", "--json").json}


def trust(farm: Farm, client: str) -> None:
    """As an administrator does: the manager's public key goes to the client."""
    folder = farm.folder / client / "state" / "managers"
    folder.mkdir(mode=0o700, parents=True)
    shutil.copy(farm.folder / "m1" / "state" / "key.pub", folder / "m1.pub")


def test_a_client_waits_until_an_operator_accepts_its_key_and_a_rejected_one_stays_out(farm: Farm) -> None:
    farm.manager("m1", local_keys=False)
    for name in ("good", "bad"):
        farm.client(name, local_keys=False, start=False)
        trust(farm, name)
        farm.start_client(name)
    farm.wait("both wait", lambda: keys(farm) == {"good": "pending", "bad": "pending"})
    assert farm.clients("m1") == {}
    assert "2 keys wait" in farm.vmctl("m1", "status").out
    assert farm.vmctl("m1", "exec", "exec", "program=note", "text=x", "--on", "all", "--yes").code == 2  # nobody is known
    assert farm.vmctl("m1", "key", "reject", "bad", "--yes").code == 0
    assert farm.vmctl("m1", "key", "accept", "good", "--yes").code == 0
    farm.wait("good is in", lambda: farm.clients("m1") == {"good": "connected"})
    assert farm.vmctl("m1", "exec", "exec", "program=note", "text=in", "--on", "all", "--yes").code == 0
    farm.stop("bad")
    refused = dropped(farm, "rejected-key")
    farm.start_client("bad")
    farm.wait("the rejected one tried again", lambda: dropped(farm, "rejected-key") > refused)
    assert farm.clients("m1") == {"good": "connected"}
    assert keys(farm) == {"good": "accepted", "bad": "rejected"}
    assert (farm.notes("good"), farm.notes("bad")) == (["in"], [])

    # the same name with another key: somebody else, or a host that was installed afresh
    farm.stop("good")
    (farm.folder / "good" / "state" / "key").unlink()
    farm.start_client("good")
    farm.wait("the change is shown", lambda: keys(farm)["good"] == "changed")
    assert farm.clients("m1") == {"good": "lost"}
    assert "not believed" in farm.logged("m1", "key of good: accepted -> changed")
    assert farm.vmctl("m1", "key", "accept", "good", "--yes").code == 0
    farm.wait("it is believed now", lambda: farm.clients("m1") == {"good": "connected"})


def test_a_client_whose_key_was_removed_waits_again_without_being_restarted(farm: Farm) -> None:
    farm.manager("m1", local_keys=False)
    farm.client("xen1", local_keys=False, start=False)
    trust(farm, "xen1")
    farm.start_client("xen1")
    farm.wait("it waits", lambda: keys(farm) == {"xen1": "pending"})
    farm.vmctl("m1", "key", "accept", "xen1", "--yes")
    farm.wait("it is in", lambda: farm.clients("m1") == {"xen1": "connected"})
    assert farm.vmctl("m1", "key", "remove", "xen1", "--yes").code == 0
    assert farm.clients("m1") == {}
    farm.wait("it waits again", lambda: keys(farm) == {"xen1": "pending"})
    farm.vmctl("m1", "key", "accept", "xen1", "--yes")
    farm.wait("it is in again", lambda: farm.clients("m1") == {"xen1": "connected"})


def test_a_client_that_does_not_trust_the_manager_obeys_nothing_and_says_so(farm: Farm) -> None:
    farm.manager("m1")
    farm.client("c1", start=False)
    farm.client("c2", local_keys=False)
    farm.start_client("c1")
    farm.wait("c2 waits", lambda: keys(farm).get("c2") == "pending")
    assert farm.vmctl("m1", "key", "accept", "c2", "--yes").code == 0
    farm.wait("both are in", lambda: farm.clients("m1") == {"c1": "connected", "c2": "connected"})
    said = farm.vmctl("m1", "exec", "exec", "program=note", "text=do", "--on", "all", "--yes", "--timeout", "2s", "--json")
    assert (said.code, said.json["answered"], said.json["silent"]) == (1, ["c1"], ["c2"])
    assert farm.notes("c2") == []
    assert "m1 has no key here" in farm.logged("c2", "dropped (unknown-key) m1")


def test_a_host_whose_clock_is_off_by_an_hour_is_named_with_the_offset_and_not_believed(farm: Farm) -> None:
    farm.manager("m1")
    with peer(farm, "behind", "client") as behind, peer(farm, "ahead", "client") as ahead:
        for one, clock_s, reason in ((behind, -HOUR_S, "expired"), (ahead, HOUR_S, "future")):
            one.hello("client", clock_s=clock_s)  # its key is not known yet: even so the clock is named, not the key
            farm.wait(f"{reason} is counted", lambda: dropped(farm, reason) >= 1)  # noqa: B023
            one.hello("client")
            farm.logged("m1", f"key of {one.name}: accepted")
            one.hello("client")
            farm.wait("with the right time it is in", lambda: farm.clients("m1").get(one.name) == "connected")  # noqa: B023
            one.hello("client", clock_s=clock_s)
            one.say(PropVal(reading=Reading(name="knob", value=1)), GROUP_MANAGERS, clock_s=clock_s)
            farm.wait(f"{reason} is counted", lambda: dropped(farm, reason) >= 3)  # noqa: B023
        assert "made 3600 s ago by the clock of behind" in farm.logged("m1", "dropped a message from behind (expired)")
        assert "made 3600 s in the future by the clock of ahead" in farm.logged("m1", "dropped a message from ahead (future)")
        assert "expired" in farm.vmctl("m1", "status").out
        assert farm.values("m1", "knob") == {}


def test_whatever_enemies_send_is_counted_under_its_reason_and_no_program_runs(farm: Farm) -> None:
    farm.manager("m1")
    farm.client("c1")
    farm.wait("c1 is in", lambda: farm.clients("m1") == {"c1": "connected"})
    order = Execute(execution="evil", command="exec", parameters={"program": "note", "text": "evil"})
    with peer(farm, "c9", "client") as client, peer(farm, "eve", None) as eve, peer(farm, "m9", "manager") as manager:
        client.hello("client")
        farm.logged("m1", "key of c9: accepted")
        client.hello("client")
        farm.wait("c9 is in", lambda: farm.clients("m1").get("c9") == "connected")

        # at the manager
        eve.bus.send((GROUP_MANAGERS, GROUP_CLIENTS), b"\x00" * 200)
        eve.bus.send((GROUP_MANAGERS, GROUP_CLIENTS), b"VMH1" + b"\xff" * 500)
        farm.wait("garbage", lambda: dropped(farm, "garbage") >= 2)
        eve.say(order, GROUP_MANAGERS)
        farm.wait("a stranger", lambda: dropped(farm, "unknown-key") >= 1)
        eve.sealer.name = "c9"
        eve.say(PropVal(reading=Reading(name="knob", value=7)), GROUP_MANAGERS)
        farm.wait("a forged name", lambda: dropped(farm, "bad-signature") >= 1)
        value = PropVal(reading=Reading(name="knob", value=7))
        client.bus.send((GROUP_MANAGERS,), client.sealer.seal(value, ("c1",), time.time()))  # signed for another
        client.say(order, GROUP_MANAGERS)
        farm.wait("a client that commands", lambda: dropped(farm, "not-its-to-say") >= 1)
        said = client.sealer.seal(PropVal(reading=Reading(name="knob", value=8)), (GROUP_MANAGERS,), time.time())
        for _ in range(2):
            client.bus.send((GROUP_MANAGERS,), said)
        farm.wait("a replay", lambda: dropped(farm, "replayed") >= 1)
        assert farm.values("m1", "knob") == {"c1": 0, "c9": 8}

        # at the client
        farm.logged("c1", "dropped (garbage)")
        client.say(order, "c1")
        farm.logged("c1", "dropped (unknown-key) c9: c9 has no key here")
        eve.sealer.name = "m1"
        eve.say(order, "c1", epoch=100)
        farm.logged("c1", "dropped (bad-signature) m1")
        manager.say(order, "c1", epoch=0)
        farm.logged("c1", "dropped (old-epoch) m9: epoch 0, now is 1")
        manager.say(ClbControl(verb="hello"), "elsewhere")
        manager.bus.join(GROUP_MANAGERS)
        real = Execute(execution="real", command="exec", parameters={"program": "note", "text": "real"})
        id = manager.sealer.next_id(time.time())
        captured = manager.sealer.seal(real, ("c1",), time.time(), epoch=1, id=id)
        manager.bus.send((GROUP_CLIENTS,), captured)
        assert manager.answer(ExecVal, id).execution == "real"
        manager.bus.send((GROUP_CLIENTS,), captured)
        farm.logged("c1", "dropped (replayed) m9")
        manager.say(Control(verb="shutdown"), "c1", epoch=1)

        # a restart forgets nothing
        farm.kill("c1")
        farm.start_client("c1")
        farm.wait("c1 is back", lambda: farm.clients("m1").get("c1") == "connected")
        before = len(farm.lines("c1", "dropped (replayed) m9"))
        manager.bus.send((GROUP_CLIENTS,), captured)
        farm.wait("the replay is known still", lambda: len(farm.lines("c1", "dropped (replayed) m9")) > before)
        assert farm.notes("c1") == ["real"]
        shown = farm.vmctl("m1", "status").out
        assert all(reason in shown for reason in ("garbage", "bad-signature", "replayed", "not-its-to-say"))
