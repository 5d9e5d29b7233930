"""VMs by real daemons: a manager, two hosts with the simulated hypervisor, and `vmctl` alone to speak to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.hypervisor_sim import SimHypervisor
from tests.farm.farm import Farm, farm

pytestmark = pytest.mark.slow

HOSTS = ("xen1", "xen2")
VMS = """\
[mail1]
memory = 512M
kernel = /boot/vmlinuz
anti_affinity = mail2
state = running
[mail2]
memory = 512M
kernel = /boot/vmlinuz
[db1]
memory = 1G
kernel = /boot/vmlinuz
[big1]
memory = 64G
kernel = /boot/vmlinuz
"""
ORDERS = "[vms]\nrestart_delay = 0.2s\n"
HYPERVISOR = (
    "[hypervisor]\nengine = sim\nticks = 0.5\nfarm = {folder}/simfarm\nsim_memory = 4G\nsim_boot = 0.1s\nsim_shutdown = 0.1s\n"
)


@pytest.fixture(name="vms")
def _vms(tmp_path: Path) -> Iterator[Farm]:
    with farm(tmp_path) as made:
        made.manager("m1", start=False)
        _append(tmp_path / "m1" / "vmmanager.ini", ORDERS)
        (tmp_path / "m1" / "vms.ini").write_text(VMS)
        (tmp_path / "m1" / "vms.ini").chmod(0o600)
        made.start_manager("m1")
        for name in HOSTS:
            made.client(name, start=False, allow=("vm", "log"))
            _append(tmp_path / name / "vmclient.ini", HYPERVISOR.format(folder=tmp_path))
            made.start_client(name)
        made.wait("both hosts have told what they have", lambda: _told(made))
        made.wait("mail1, which is wanted running, runs", lambda: _state(made, "mail1") == "running")
        yield made


def _told(farm: Farm) -> bool:
    rows = farm.vmctl("m1", "host", "list", "--json").json
    return len(rows) == len(HOSTS) and all(row["why"] is None for row in rows)


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _vm(farm: Farm, name: str) -> dict[str, Any]:
    row: dict[str, Any] = farm.vmctl("m1", "vm", "show", name, "--json").json
    return row


def _state(farm: Farm, name: str) -> str:
    return str(_vm(farm, name)["state"])


def _sim(farm: Farm, host: str) -> SimHypervisor:
    return SimHypervisor(host, farm.folder / "simfarm")


def _good(farm: Farm, *words: str) -> None:
    said = farm.vmctl("m1", *words)
    assert said.code == 0, f"{words}: {said.out}{said.err}"


def test_daily_work(vms: Farm) -> None:
    _good(vms, "vm", "start", "mail2", "db1")
    assert _vm(vms, "mail2")["host"] != _vm(vms, "mail1")["host"]  # anti_affinity
    for words in ("pause db1", "unpause db1", "reboot db1", "memory db1 600M", "save db1", "restore db1", "migrate db1"):
        _good(vms, "vm", *words.split())
    _good(vms, "vm", "save", "db1")
    assert vms.vmctl("m1", "vm", "start", "db1").code == 1  # it would throw its memory away
    _good(vms, "vm", "start", "--discard", "db1")
    _good(vms, "vm", "stop", "db1")
    assert _state(vms, "db1") == "stopped"


def test_a_vm_that_fits_nowhere_is_not_started_and_says_why(vms: Farm) -> None:
    said = vms.vmctl("m1", "vm", "start", "big1")
    assert said.code == 1
    assert "big1" in said.err + said.out
    assert "MiB are free" in said.err + said.out
    assert not any(one.name == "big1" for host in HOSTS for one in _sim(vms, host).domains())


def _until_restarted(vms: Farm, restarts: int) -> None:
    vms.wait("it is restarted", lambda: _vm(vms, "mail1")["restarts"] > restarts)


def test_a_crashed_vm_is_restarted_by_its_policy_and_given_up_after_its_limit(vms: Farm) -> None:
    for _ in range(3):
        before = _vm(vms, "mail1")
        restarts = before["restarts"]
        _sim(vms, before["host"]).crash("mail1")
        _until_restarted(vms, restarts)
        vms.wait("it is running again", lambda: _state(vms, "mail1") == "running")
    host = _vm(vms, "mail1")["host"]
    _sim(vms, host).crash("mail1")
    vms.wait("it is given up", lambda: "is not started any more" in vms.log("m1"))
    assert [one.state for one in _sim(vms, host).domains()] == ["crashed"]


def test_a_vm_stopped_by_hand_is_reported_and_not_fought_over(vms: Farm) -> None:
    _sim(vms, _vm(vms, "mail1")["host"]).destroy("mail1", limit_s=5)
    vms.wait("it is noticed", lambda: _vm(vms, "mail1")["held"])
    assert _state(vms, "mail1") == "stopped"
    assert "without an order of ours" in vms.log("m1")
    _good(vms, "vm", "start", "mail1")
    assert _vm(vms, "mail1")["held"] is None


def test_domains_outlive_their_client_and_a_silent_host_loses_nothing_to_another(vms: Farm) -> None:
    host = _vm(vms, "mail1")["host"]
    vms.kill(host)
    vms.wait("it is lost", lambda: _state(vms, "mail1") == "lost")
    said = vms.vmctl("m1", "vm", "start", "mail1")
    assert said.code == 1  # safety: it may still run there
    assert f"it may be on {host}" in said.err + said.out
    vms.start_client(host)
    vms.wait("it is found again", lambda: _state(vms, "mail1") == "running")
    assert sum(one.name == "mail1" for each in HOSTS for one in _sim(vms, each).domains()) == 1


def test_a_host_is_emptied_and_filled_again_and_a_foreign_domain_stays(vms: Farm) -> None:
    host = _vm(vms, "mail1")["host"]
    _sim(vms, host).add_foreign("theirs", 256 * 1024 * 1024)
    _good(vms, "vm", "start", "db1", "--on", host)
    _good(vms, "host", "evacuate", host, "-y")
    assert {_vm(vms, "mail1")["host"], _vm(vms, "db1")["host"]} == set(HOSTS) - {host}
    assert [one.name for one in _sim(vms, host).domains()] == ["theirs"]
    _good(vms, "host", "return", host)
    assert {_vm(vms, "mail1")["host"], _vm(vms, "db1")["host"]} == {host}


def test_vm_commands_are_not_to_be_had_behind_the_managers_back(vms: Farm) -> None:
    said = vms.vmctl("m1", "exec", "vm-destroy", "vm=mail1", "--on", "all", "-y")
    assert said.code == 4
    assert _state(vms, "mail1") == "running"


def test_a_restarted_manager_finds_all_as_it_was(vms: Farm) -> None:
    host = _vm(vms, "mail1")["host"]
    vms.kill("m1")
    vms.start_manager("m1")
    vms.wait("it is seen", lambda: _state(vms, "mail1") == "running")
    assert _vm(vms, "mail1")["host"] == host
    assert _vm(vms, "mail1")["held"] is None


def test_an_order_to_a_host_that_has_just_come_waits_for_its_first_list(vms: Farm) -> None:
    vms.kill("xen2")
    vms.start_client("xen2")
    vms.wait("it is back", lambda: vms.clients("m1").get("xen2") == "connected")
    _good(vms, "vm", "start", "db1", "--on", "xen2")
    assert _vm(vms, "db1")["host"] == "xen2"
