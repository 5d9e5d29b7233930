"""vmctl against a real bus, a real manager and real clients, as processes: what an operator does in a morning."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.files import HOSTS, MANAGER, PAGED, program
from demo.processes import Farm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]
Vmctl = Callable[..., subprocess.CompletedProcess[str]]
EVERYBODY = sorted(host.name for host in HOSTS)


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    with Farm() as started:
        started.start_bus()
        started.start_manager()
        started.start_clients()
        yield started


@pytest.fixture
def vmctl(farm: Farm) -> Vmctl:
    env = {**os.environ, "VMHERD_SOCKET": str(farm.socket), "COLUMNS": "120"}

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*program("vmctl"), *words], env=env, capture_output=True, text=True, check=False, timeout=60)

    return call


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_status_and_clients(vmctl: Vmctl) -> None:
    status = said(vmctl("status", "--json"))
    assert status["leading"]
    everybody = len(EVERYBODY)
    assert status["clients"] == {"total": everybody, "connected": everybody, "silent": 0, "lost": 0, "pending": 0}
    assert [row["name"] for row in said(vmctl("clients", "--group", "mailers", "--json"))] == ["mail1", "mail2"]
    assert [row["name"] for row in said(vmctl("clients", "mail*", "--json"))] == ["mail1", "mail2"]
    table = vmctl("clients").stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [[name, "connected"] for name in EVERYBODY]


def test_every_screen_comes_up(vmctl: Vmctl) -> None:
    for words in (
        "status",
        "clients",
        "props",
        "triggers",
        "trigger show client_query",
        "silence",
        "events",
        "key list",
        "version",
    ):
        done = vmctl(*words.split())
        assert done.returncode == 0, done.stderr
        assert done.stdout or words == "silence"


def test_properties_are_real_and_read_on_request(vmctl: Vmctl, farm: Farm) -> None:
    found = said(vmctl("get", "ram_free", "load", "--fetch", "--on", "all", "--json"))
    assert found["answered"] == EVERYBODY
    total_kib = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    for client in found["clients"]:
        values = {reading["name"]: reading["value"] for reading in client["readings"]}
        assert 0 < values["ram_free"] < total_kib
        assert values["load"] >= 0
    farm.wait("the manager has a history", lambda: len(said(vmctl("history", "web1", "ram_free", "--json"))) > 1)


def test_a_property_nobody_has(vmctl: Vmctl) -> None:
    done = vmctl("get", "no_such", "--on", "web1")
    assert done.returncode == 1
    assert "no_such" in done.stderr


def test_a_listed_program_runs_and_another_is_refused(vmctl: Vmctl, farm: Farm) -> None:
    done = vmctl("exec", "exec", "program=page", "text=from the test", "--on", "web1")
    assert done.returncode == 0, done.stderr
    assert "  | paged the person on duty" in done.stdout
    assert "from the test" in (farm.folder / PAGED).read_text().splitlines()
    refused = vmctl("exec", "exec", "program=page", "text=$(reboot)", "--on", "web1")
    assert refused.returncode == 1
    assert "refused" in refused.stdout
    assert vmctl("exec", "service", "name=sshd", "action=stop", "--on", "web1").returncode == 1
    assert "$(reboot)" not in (farm.folder / PAGED).read_text()


def test_control_reaches_the_daemons(vmctl: Vmctl) -> None:
    assert said(vmctl("control", "ping", "--on", "all", "--json"))["answered"] == EVERYBODY
    assert vmctl("control", "set-ticks", "name=uptime", "ticks=3", "--on", "web1").returncode == 0
    (answer,) = said(vmctl("control", "properties", "name=uptime", "--on", "web1", "--json"))["clients"]
    assert answer["values"]["uptime"]["ticks"] == 3
    assert vmctl("control", "nonsense", "--on", "web1").returncode == 1


def test_a_silence_from_beginning_to_end(vmctl: Vmctl) -> None:
    id = said(vmctl("silence", "client_query", "--for", "2h", "--why", "moving racks", "--json"))["id"]
    (silence,) = said(vmctl("silence", "list", "--json"))
    assert (silence["what"], silence["why"]) == ("client_query", "moving racks")
    assert said(vmctl("triggers", "client_query", "--json"))[0]["state"] == "silenced"
    assert vmctl("silence", "remove", id).returncode == 0
    assert said(vmctl("silence", "--json")) == []
    assert vmctl("silence", "remove", id).returncode == 2


def test_a_trigger_is_looked_at_tried_and_switched(vmctl: Vmctl, tmp_path: Path) -> None:
    shown = said(vmctl("trigger", "show", "client_alive_check", "--json"))
    assert 'manager.groups["mailers"]' in shown["source"]["expr"]
    assert 'expr = { len(manager.groups["mailers"]' in vmctl("trigger", "show", "client_alive_check").stdout
    file = tmp_path / "new.ini"
    file.write_text("[many]\nexpr = { len(manager.clients) > 3 }\ncmd = { notify('many') }\nticks = 5\n")
    (row,) = said(vmctl("trigger", "test", "--file", str(file), "--json"))
    assert (row["trigger"], row["value"], row["would_fire"]) == ("many", "true", True)
    file.write_text("[many]\nexpr = { len(manager.clients }\n")
    bad = vmctl("trigger", "test", "--file", str(file))
    assert bad.returncode == 2
    assert f"{file}:2" in bad.stderr
    assert said(vmctl("trigger", "disable", "client_query", "--json"))["enabled"] is False
    assert said(vmctl("triggers", "client_query", "--json"))[0]["state"] == "disabled"
    assert vmctl("trigger", "enable", "client_query").returncode == 0


HOT = """\
[hot]
each = dom0
expr = { client.load > 30 }
for = 30s
on_update_check = yes
cmd = { notify(f"{client.name} is hot: {client.load}") }
"""


def test_a_new_trigger_is_tried_on_samples_written_by_hand(vmctl: Vmctl, tmp_path: Path) -> None:
    trigger, samples, bad = tmp_path / "hot.ini", tmp_path / "samples", tmp_path / "bad"
    trigger.write_text(HOT)
    samples.write_text("0 xen1 joins dom0\n0 xen1 load = 3\n60 xen1 load = 31\n300 xen1 load = 2\n")
    rows = said(vmctl("trigger", "test", "--file", str(trigger), "--samples", str(samples), "--json"))
    fired = [row for row in rows if row["would_fire"]]
    assert [wish["arguments"]["text"] for row in fired for wish in row["wishes"]] == ["xen1 is hot: 31"]
    assert rows[-1]["at"] - fired[0]["at"] == pytest.approx(210)  # it held for 30 s, and 210 s later the samples end
    bad.write_text("0 xen1 joins dom0\nsoon xen1 load = 3\n")
    done = vmctl("trigger", "test", "--file", str(trigger), "--samples", str(bad))
    assert (done.returncode, f"{bad}: line 2:" in done.stderr) == (2, True)


def test_a_bad_file_changes_nothing_and_is_named(vmctl: Vmctl, farm: Farm) -> None:
    bad = farm.folder / MANAGER / "triggers.d" / "bad.ini"
    bad.write_text("[x]\nexpr = { 1 + }\nticks = soon\n")
    bad.chmod(0o600)
    done = vmctl("reload")
    bad.unlink()
    assert done.returncode == 2
    assert f"{bad}:2" in done.stderr
    assert f"{bad}:3" in done.stderr
    assert {row["name"] for row in said(vmctl("triggers", "--json"))} == {"client_query", "client_alive_check"}
    assert vmctl("reload").returncode == 0


def test_events_follow_what_an_operator_does(vmctl: Vmctl, farm: Farm) -> None:
    env = {**os.environ, "VMHERD_SOCKET": str(farm.socket)}
    command = [*program("vmctl"), "events", "-f", "--json", "--kind", "request", "-n", "1"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as following:
        try:
            assert following.stdout is not None
            vmctl("exec", "log", "text=seen", "--on", "mail1")
            for line in following.stdout:
                event = json.loads(line)
                if "log" in event["text"] and event["subject"] == "mail1":
                    break
            assert event["who"]
        finally:
            following.terminate()


def test_keys_are_shown_and_rejected(vmctl: Vmctl) -> None:
    keys = {row["name"]: row for row in said(vmctl("key", "list", "--json"))}
    assert {name: keys[name]["state"] for name in EVERYBODY} == dict.fromkeys(EVERYBODY, "accepted")
    assert vmctl("key", "accept", "nobody").returncode == 2


def test_who_is_not_there_is_named(vmctl: Vmctl, farm: Farm) -> None:
    """The last one: it kills a client."""
    farm.kill("web1")
    farm.wait("web1 is lost", lambda: [row["name"] for row in farm.clients("lost")] == ["web1"])
    done = vmctl("exec", "log", "text=x", "--on", "web1", "mail1")
    assert done.returncode == 1
    assert "unreachable (1): web1" in done.stderr
    assert said(vmctl("get", "ram_free", "--on", "all", "--json"), 1)["unreachable"] == ["web1"]
    assert vmctl("get", "ram_free", "--on", "nobody").returncode == 2
