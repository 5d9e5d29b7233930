"""One manager, its bus, its clients: each is killed, and what the user gets then."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from common.protocol import GROUP_MANAGERS, ExecErr, Execute, ExecVal
from tests.farm.farm import BUS, Farm
from tests.farm.peer import Peer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RULES = """\
[knob_big]
each = clients
expr = { client.knob >= 100 }
cooldown = 1h
cmd = { sender.send_execute("exec", {"program": "note", "text": f"big {client.knob}"}) }
on_update_check = yes

[knob_odd]
each = clients
expr = { client.knob % 2 == 1 }
fire = once
cmd = { sender.send_execute("exec", {"program": "note", "text": f"odd {client.knob}"}) }
on_update_check = yes
"""


@contextlib.contextmanager
def peer(farm: Farm, name: str) -> Iterator[Peer]:
    """A second manager that all trust, and that hears what clients answer."""
    made = Peer(farm.folder, farm.port, name, "manager")
    made.bus.join(GROUP_MANAGERS)
    try:
        yield made
    finally:
        made.close()


def connected(farm: Farm, *names: str) -> None:
    farm.wait(f"{names} are connected", lambda: farm.clients("m1") == dict.fromkeys(names, "connected"))


def leftovers(farm: Farm) -> list[str]:
    """Programs of this farm that still run."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if "tail -f" in line and str(farm.folder) in line:
            found.append(line)
    return found


def test_after_kill_9_a_manager_still_has_events_silences_keys_firings_and_a_higher_epoch(farm: Farm) -> None:
    farm.manager("m1", triggers=RULES)
    farm.client("c1")
    farm.client("c2", local_keys=False)
    farm.wait("c2 waits", lambda: farm.vmctl("m1", "key", "list", "--state", "pending", "--json").json)
    assert farm.vmctl("m1", "key", "accept", "c2", "--yes").code == 0
    connected(farm, "c1", "c2")
    farm.turn("c1", 100)
    farm.wait("it fired", lambda: farm.notes("c1") == ["big 100"])
    farm.wait("and knows it", lambda: farm.ask("m1", "trigger", name="knob_big")["firings"][0]["outcome"] == "ok")
    assert farm.vmctl("m1", "silence", "client:c2", "--for", "1h", "--why", "new disks").code == 0
    before = {
        "events": farm.texts("m1"),
        "silences": farm.vmctl("m1", "silence", "list", "--json").json,
        "keys": {(row["name"], row["state"], row["fingerprint"]) for row in farm.vmctl("m1", "key", "list", "--json").json},
        "firings": farm.vmctl("m1", "trigger", "show", "knob_big", "--json").json["firings"],
    }
    epoch = farm.status("m1")["epoch"]

    farm.kill("m1")
    assert farm.vmctl("m1", "status").code == 3
    farm.start_manager("m1")
    farm.wait("it leads", lambda: farm.leads("m1"))
    connected(farm, "c1", "c2")
    assert farm.texts("m1")[: len(before["events"])] == before["events"]
    assert farm.vmctl("m1", "silence", "list", "--json").json == before["silences"]
    keys = {(row["name"], row["state"], row["fingerprint"]) for row in farm.vmctl("m1", "key", "list", "--json").json}
    assert keys == before["keys"]
    assert farm.vmctl("m1", "trigger", "show", "knob_big", "--json").json["firings"] == before["firings"]
    assert farm.status("m1")["epoch"] > epoch
    # and the cooldown goes on: 101 is big and odd, and only odd may run
    farm.turn("c1", 101)
    farm.wait("the other rule ran", lambda: "odd 101" in farm.notes("c1"))
    assert farm.notes("c1") == ["big 100", "odd 101"]


def test_a_bus_that_dies_is_waited_for_by_all_and_requests_work_again(farm: Farm) -> None:
    farm.manager("m1", triggers=RULES)
    for name in ("c1", "c2"):
        farm.client(name)
    connected(farm, "c1", "c2")
    for _ in range(2):
        farm.kill(BUS)
        farm.wait("the manager knows", lambda: not farm.status("m1")["bus"]["connected"])
        said = farm.vmctl("m1", "status")
        assert (said.code, "not connected" in said.out) == (0, True)
        down = farm.vmctl("m1", "exec", "exec", "program=note", "text=x", "--on", "all", "--yes")
        assert down.code == 3
        assert "not connected to the bus" in down.err
        assert farm.vmctl("m1", "get", "knob", "--on", "all").code == 3
        farm.start_bus()
        connected(farm, "c1", "c2")
        got = farm.vmctl("m1", "get", "knob", "--fetch", "--on", "all", "--json")
        assert got.code == 0, got
    done = farm.vmctl("m1", "exec", "exec", "program=note", "text=again", "--on", "all", "--yes")
    assert done.code == 0, done
    assert (farm.notes("c1"), farm.notes("c2")) == (["again"], ["again"])
    for name in ("m1", "c1", "c2"):
        assert len(farm.lines(name, "bus: connected -> lost")) == 2, farm.log(name)
        assert len(farm.lines(name, "bus: connected as")) == 3, farm.log(name)


def test_a_manager_with_an_embedded_bus_needs_no_other_daemon_and_restarts_a_bus_that_is_killed(farm: Farm) -> None:
    farm.kill(BUS)
    farm.manager("m1", engine="embedded")
    farm.client("c1")
    connected(farm, "c1")
    (bus,) = psutil.Process(farm.pid("m1")).children()
    bus.kill()
    farm.logged("m1", "vmbus: ended with code -9; started again")
    farm.wait("the manager is on the new one", lambda: len(farm.lines("m1", "bus: connected as")) == 2)
    connected(farm, "c1")
    assert farm.vmctl("m1", "exec", "exec", "program=note", "text=on", "--on", "c1", "--yes").code == 0
    assert farm.stop("m1") == 0


def test_a_client_that_is_killed_is_lost_at_once_and_answers_for_what_it_ran_when_it_is_back(farm: Farm) -> None:
    farm.manager("m1")
    farm.client("c1")
    connected(farm, "c1")
    epoch = farm.status("m1")["epoch"]
    with peer(farm, "m9") as other:

        def execute(execution: str, program: str) -> int:
            parameters = {"program": program, "text": execution}
            message = Execute(execution=execution, command="exec", parameters=dict(parameters), timeout_s=60.0)
            return other.say(message, "c1", epoch=epoch)

        assert other.answer(ExecVal, execute("run-1", "note")).repeated is False
        slow = execute("run-2", "slow")
        farm.wait("the second has begun", lambda: farm.notes("c1") == ["run-1", "run-2"])

        farm.kill("c1")
        killed = time.monotonic()
        farm.wait("c1 is lost", lambda: farm.clients("m1") == {"c1": "lost"})
        assert time.monotonic() - killed < 5.0  # a second, and four for a busy machine
        farm.wait("what it ran is ended", lambda: not leftovers(farm))
        unreachable = farm.vmctl("m1", "exec", "exec", "program=note", "text=x", "--on", "c1", "--yes", "--timeout", "1s")
        assert unreachable.code == 1
        assert "c1" in unreachable.out + unreachable.err

        farm.start_client("c1")
        connected(farm, "c1")
        assert other.answer(ExecErr, slow).kind == "interrupted"
        again = other.answer(ExecVal, execute("run-1", "note"))
        assert again.repeated
        asked_again = other.answer(ExecErr, execute("run-2", "slow"))
        assert (asked_again.kind, asked_again.repeated) == ("interrupted", True)
        assert farm.notes("c1") == ["run-1", "run-2"]


def test_a_client_that_hangs_is_named_and_its_late_answer_is_in_the_events(farm: Farm) -> None:
    farm.manager("m1")
    names = ("c1", "c2", "c3")
    for name in names:
        farm.client(name)
    connected(farm, *names)
    farm.signal("c2", signal.SIGSTOP)
    said = farm.vmctl("m1", "exec", "exec", "program=note", "text=all", "--on", "all", "--yes", "--timeout", "1s", "--json")
    assert said.code == 1
    assert said.json["silent"] == ["c2"]
    assert said.json["answered"] == ["c1", "c3"]
    shown = farm.vmctl("m1", "exec", "exec", "program=note", "text=all", "--on", "all", "--yes", "--timeout", "1s")
    assert shown.code == 1
    assert "c2" in shown.out + shown.err
    farm.signal("c2", signal.SIGCONT)
    late = "client c2: answered exec late"
    farm.wait("the late answer is recorded", lambda: [text for text in farm.texts("m1") if late in text])
    assert farm.notes("c1") == ["all", "all"]
    farm.wait("c2 ran both", lambda: farm.notes("c2") == ["all", "all"])
