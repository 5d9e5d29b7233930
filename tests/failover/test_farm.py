"""A host dies, and its protected VMs run elsewhere: real daemons, simulated hypervisors with their watchdogs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failover.farm import VM, Guarded, guarded
from vmctl.failure import Failure

pytestmark = pytest.mark.slow


@pytest.fixture(name="made")
def _made(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path) as one:
        yield one


def _three_hosts(made: Guarded, *, failover: str = "", fences: str = "") -> str:
    """mail1 runs, protected, on one of three hosts. Which."""
    made.manager("m1", vms=VM.format(name="mail1"), failover=failover, fences=fences)
    for name in ("xen1", "xen2", "xen3"):
        made.host(name)
    return made.wait_runs("mail1")


def test_the_vms_of_a_host_that_dies_run_elsewhere(made: Guarded) -> None:
    host = _three_hosts(made)
    died = made.die(host)
    other = made.wait_runs("mail1", off=host)
    took_s = time.monotonic() - died
    assert made.runs("mail1") == [other]
    assert took_s < 15.0
    assert made.states()[host] == "dead"
    made.farm.start_client(host)
    made.wait_state(host, "online")
    assert made.runs("mail1") == [other]
    said = made.farm.ask("m1", "vm-why", name="mail1")
    assert f"before its last restart it ran on: {host}" in said["said"]
    made.wait_leased(host)
    assert made.farm.vmctl("m1", "ha", "failback").out == "move back: mail1\n"
    made.wait_runs("mail1", on=host)


FENCE_SH = """\
#!/bin/sh
# As the agents of fence-agents: options on standard input, the exit status answers.
while read -r line; do case "$line" in action=*) action=${line#action=};; port=*) port=${line#port=};; esac; done
echo "$action $port" >> %(folder)s/fenced
[ "$action" = off ] || exit 2
%(python)s -m plugins.sim %(folder)s/simfarm "$port" destroy mail1 || true  # its watchdog may have been faster
"""
BROKEN_SH = """\
#!/bin/sh
cat > /dev/null
echo 'Connection timed out' >&2
exit 1
"""


def test_a_fence_device_makes_it_faster_and_a_broken_one_is_followed_by_the_next(made: Guarded) -> None:
    folder = made.farm.folder
    for name, text in (("fence_broken", BROKEN_SH), ("fence_sim", FENCE_SH)):
        path = folder / name
        path.write_text(text % {"folder": folder, "python": sys.executable} if "%(" in text else text)
        path.chmod(0o755)
    fences = "".join(
        f"[{name}]\nagent = {folder}/fence_{name}\nhosts = xen*\ntimeout = 5s\n[[options]]\nport = {{short}}\n"
        for name in ("broken", "sim")
    )
    host = _three_hosts(made, fences=fences, failover="lease = 20s\n")
    died = made.die(host)
    made.wait_runs("mail1", off=host)
    assert time.monotonic() - died < 10.0
    assert (folder / "fenced").read_text() == f"off {host}\n"
    said = [text for text in made.farm.texts("m1", "failover") if "fence device" in text]
    assert [text.partition("fence device ")[2] for text in said] == [
        "broken: off failed (exit status 1): Connection timed out",
        "broken: status failed (exit status 1): Connection timed out",
        "sim: power is off",
    ]


def test_nothing_is_done_while_fail_over_is_disarmed(made: Guarded) -> None:
    host = _three_hosts(made)
    made.farm.ask("m1", "ha-disarm", why="new switches")
    made.die(host)
    made.farm.wait("its VM is gone", lambda: not made.runs("mail1"))
    made.farm.wait("the manager says why", lambda: made.farm.lines("m1", "nothing is done: fail-over is disarmed"))
    time.sleep(4.0)  # what would restart it has its time
    assert not made.runs("mail1")
    made.farm.ask("m1", "ha-arm")
    made.wait_runs("mail1", off=host)


def test_nothing_is_done_about_a_host_in_maintenance(made: Guarded) -> None:
    host = _three_hosts(made)
    made.farm.ask("m1", "host-maintenance", name=host, on=True, why="new disk")
    made.die(host)
    made.farm.wait("its VM is gone", lambda: not made.runs("mail1"))
    made.farm.wait("the manager says why", lambda: made.farm.lines("m1", "nothing is done: it is in maintenance (new disk)"))
    time.sleep(4.0)  # what would restart it has its time
    assert not made.runs("mail1")
    made.farm.ask("m1", "host-maintenance", name=host, on=False)
    made.wait_runs("mail1", off=host)


def test_a_vm_goes_back_by_itself_when_its_host_has_been_back_for_the_hold_time(made: Guarded) -> None:
    host = _three_hosts(made, failover="failback = auto\nfailback_hold = 6s\n")
    made.die(host)
    other = made.wait_runs("mail1", off=host)
    made.farm.start_client(host)
    made.wait_state(host, "online")
    assert made.runs("mail1") == [other]
    made.wait_runs("mail1", on=host)
    online = made.farm.at("m1", f"host {host}: returned -> online")
    moved = made.farm.at("m1", f"migrate on {other} to {host}, ordered by vmherd")
    assert moved - online >= 6.0


# Later than the host is taken for silent (three beats), sooner than it is dead: the word of the trigger depends on that.
TRIGGER = """\
[mail_failover]
expr = { time() - manager.clients["xen1"].active_timestamp > 2.5 }
fire = once
cmd = { failover("mail1") }
ticks = 0.5s
"""


def test_a_trigger_that_fails_over_waits_for_proof_as_everybody(made: Guarded) -> None:
    """The prototype's own way: a client has said nothing for some time, so its VM is to run elsewhere."""
    made.manager("m1", vms=VM.format(name="mail1"), triggers=TRIGGER)
    made.host("xen1")
    made.wait_runs("mail1", on="xen1")
    for name in ("xen2", "xen3"):
        made.host(name)
        made.wait_leased(name)
    made.die("xen1")
    fired = made.farm.logged("m1", "and no fence device is for it")
    assert "mail_failover" in fired
    other = made.wait_runs("mail1", off="xen1")
    assert made.runs("mail1") == [other]
    assert made.farm.at("m1", "xen1: lost -> dead") > made.farm.at("m1", "and no fence device is for it")
    assert made.farm.at("m1", "vm mail1: start on") > made.farm.at("m1", "xen1: lost -> dead")


def test_many_hosts_silent_at_once_are_a_storm_until_an_operator_confirms(made: Guarded) -> None:
    host = _three_hosts(made)
    other = next(name for name in made.hosts if name != host)
    made.die(other)
    made.die(host)
    made.farm.wait("the manager holds", lambda: made.farm.ask("m1", "ha-status")["storm"])
    time.sleep(5.0)  # what would restart it has its time
    assert not made.runs("mail1")
    assert made.farm.ask("m1", "ha-confirm")["confirmed"] == sorted((host, other))
    made.wait_runs("mail1", off=host)


def test_a_host_without_a_watchdog_needs_a_word_that_it_is_dead(made: Guarded) -> None:
    made.manager("m1", vms=VM.format(name="mail1"))
    for name in ("xen1", "xen2"):
        made.host(name, "watchdog = none\n")
    host = made.wait_runs("mail1")
    made.die(host)
    made.farm.wait("the manager says why", lambda: made.farm.lines("m1", "it has no watchdog"))
    time.sleep(4.0)
    assert made.vm("mail1")["state"] == "lost"
    with pytest.raises(Failure, match="say the name of the host again"):
        made.farm.ask("m1", "host-confirm-dead", name=host, again="yes")
    made.sim(host).destroy("mail1", limit_s=5.0)
    made.farm.ask("m1", "host-confirm-dead", name=host, again=host)
    made.wait_runs("mail1", off=host)


def test_a_second_manager_takes_over_and_a_minority_does_nothing(made: Guarded) -> None:
    names = ("m1", "m2", "m3")
    for name in names:
        made.manager(name, names, vms=VM.format(name="mail1"))
    for name in ("xen1", "xen2"):
        made.host(name)
    made.farm.wait("one leads", lambda: [name for name in names if made.farm.ask(name, "ha-status")["acting"]])
    made.m = next(name for name in names if made.farm.ask(name, "ha-status")["acting"])
    host = made.wait_runs("mail1")
    made.farm.kill(made.m)
    rest = [name for name in names if name != made.m]
    made.m = str(made.farm.wait("another acts", lambda: next((n for n in rest if made.farm.ask(n, "ha-status")["acting"]), "")))
    made.wait_runs("mail1", on=host)
    made.die(host)
    made.wait_runs("mail1", off=host)
    last = next(name for name in rest if name != made.m)
    made.farm.kill(made.m)
    made.m = last
    made.farm.wait("the last one leads", lambda: made.farm.leads(last))
    time.sleep(3.0)
    assert not made.farm.ask(last, "ha-status")["acting"]
    with pytest.raises(Failure, match="it has no authority: 1 of 3 have given their word, 2 are needed"):
        made.farm.ask(last, "vm-stop", names=["mail1"])


def test_with_storage_a_dead_bus_stops_nothing_and_a_dead_host_is_claimed(made: Guarded) -> None:
    storage = made.farm.folder / "storage"
    storage.mkdir()
    made.manager("m1", vms=VM.format(name="mail1"), failover=f"storage = {storage}\n")
    for name in ("xen1", "xen2"):
        made.host(name, f"watchdog = sim\nstorage = {storage}\n")
    host = made.wait_runs("mail1")
    rows = made.farm.wait("the hosts say that they have storage", lambda: _with_storage(made))
    assert [row["state"] for row in rows] == ["online", "online"]
    made.farm.stop("vmbus")
    time.sleep(5.0)  # lease and stop have passed
    assert made.runs("mail1") == [host]
    made.farm.start_bus()
    made.wait_runs("mail1", on=host)
    made.wait_state(host, "online")
    made.die(host)
    made.wait_runs("mail1", off=host)
    states = [
        text.partition(" (")[0] for text in made.farm.texts("m1", "failover") if f"host {host}: " in text and " -> " in text
    ]
    assert states[-4:] == [
        f"host {host}: {step}" for step in ("online -> silent", "silent -> lost", "lost -> claimed", "claimed -> dead")
    ]


def _with_storage(made: Guarded) -> list[dict[str, object]]:
    rows = [row for row in made.farm.ask("m1", "ha-status")["hosts"] if row["storage"]]
    return rows if len(rows) == len(made.hosts) else []


def test_of_two_managers_one_goes_on_with_a_witness(made: Guarded) -> None:
    names = ("m1", "m2")
    for name in names:
        made.manager(name, names, vms=VM.format(name="mail1"), failover="witness = head1\n")
    made.farm.client("head1", start=False)
    path = made.farm.folder / "head1" / "vmclient.ini"
    path.write_text(path.read_text() + "[failover]\nwitness = yes\n")
    made.farm.start_client("head1")
    for name in ("xen1", "xen2"):
        made.host(name)
    made.m = str(made.farm.wait("one acts", lambda: next((n for n in names if made.farm.ask(n, "ha-status")["acting"]), "")))
    host = made.wait_runs("mail1")
    made.farm.kill(made.m)
    made.m = next(name for name in names if name != made.m)
    made.farm.wait("the other one acts", lambda: made.farm.ask(made.m, "ha-status")["acting"])
    made.die(host)
    made.wait_runs("mail1", off=host)
