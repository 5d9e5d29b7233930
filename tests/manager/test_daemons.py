"""Managers as real processes on a real bus: what an operator and a farm get when they are killed, stopped, misconfigured."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.manager.farm import RealFarm, real_farm

pytestmark = pytest.mark.slow

RULES = """
[first_seen]
each = clients
expr = { client.up > 0 }
cmd = { sender.send_execute("log", {"text": "first"}) }
on_update_check = yes
fire = once

[gone]
expr = { any(not c.connected for c in manager.groups["web"].values()) }
cmd = { sender.send_execute("log", {"text": "somebody is gone"}, to="xen1") }
on_update_check = yes
fire = once
"""


def firings(farm: RealFarm, manager: str, trigger: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = farm.ask(manager, "trigger", name=trigger)["firings"]
    return rows


def connected(farm: RealFarm, manager: str) -> set[str]:
    try:
        return {row["name"] for row in farm.ask(manager, "clients") if row["state"] == "connected"}
    except OSError:
        return set()


def test_a_standby_takes_over_with_nothing_lost_and_nothing_doubled(tmp_path: Path) -> None:
    with real_farm(tmp_path) as farm:
        farm.start_bus()
        farm.start_manager("m1", RULES)
        farm.until(lambda: farm.leads("m1"), "m1 leads")
        farm.start_manager("m2", RULES)
        farm.start_client("xen1", "web")
        farm.start_client("xen2", "web")
        farm.until(lambda: connected(farm, "m1") == {"xen1", "xen2"}, "m1 knows both clients")
        farm.until(lambda: connected(farm, "m2") == {"xen1", "xen2"}, "m2 knows both clients")
        farm.until(lambda: len(firings(farm, "m1", "first_seen")) == 2, "m1 has fired for each")
        farm.until(lambda: len(firings(farm, "m2", "first_seen")) == 2, "m2 knows of it")
        silence = farm.ask("m1", "silence", what="first_seen", why="known", until=time.time() + 600)
        assert not farm.leads("m2")

        farm.kill("m1")
        killed_at = time.monotonic()
        farm.until(lambda: farm.leads("m2"), "m2 leads")
        took_s = time.monotonic() - killed_at
        assert farm.ask("m2", "status")["epoch"] == 2
        assert [row["id"] for row in farm.ask("m2", "silences")] == [silence["id"]]

        farm.kill("xen2")
        farm.until(lambda: firings(farm, "m2", "gone"), "m2 fires")
        farm.until(lambda: firings(farm, "m2", "gone")[0]["outcome"] == "ok", "its wish was carried out")
        assert len(firings(farm, "m2", "first_seen")) == 2
        assert took_s < 5.0  # the bus tells within milliseconds; the rest is this machine's load

        farm.start_manager("m1", RULES)
        farm.until(lambda: farm.log("m1").count("has the state of m2"), "m1 is told the state")
        farm.until(lambda: connected(farm, "m1") == {"xen1"}, "m1 knows who is there")
        assert not farm.leads("m1")
        assert [row["id"] for row in farm.ask("m1", "silences")] == [silence["id"]]
        assert len(firings(farm, "m1", "gone")) == 1
        told = farm.lines("m1", "exec", {"targets": ["xen1"], "command": "log", "parameters": {"text": "x"}})
        assert told[-1]["code"] == "not-leader"
        assert "m2" in told[-1]["error"]


def test_one_manager_with_its_own_bus_survives_kill_9_and_ends_in_order(tmp_path: Path) -> None:
    with real_farm(tmp_path) as farm:
        farm.port = free_port()
        farm.start_manager("m1", engine="embedded")
        farm.until(lambda: farm.leads("m1"), "m1 leads")
        farm.start_client("xen1", "web")
        farm.until(lambda: connected(farm, "m1"), "xen1 is known")
        silence = farm.ask("m1", "silence", what="all", why="disk", until=time.time() + 600)
        events = [line["more"]["id"] for line in farm.lines("m1", "events", {"limit": 100})[:-1]]
        farm.kill("m1")
        farm.until(lambda: not listens(farm.port), "the embedded bus ends with its manager")

        farm.start_manager("m1", engine="embedded")
        farm.until(lambda: connected(farm, "m1"), "xen1 is known again")
        assert [row["id"] for row in farm.ask("m1", "silences")] == [silence["id"]]
        again = [line["more"]["id"] for line in farm.lines("m1", "events", {"limit": 100})[:-1]]
        assert again[: len(events)] == events
        assert farm.ask("m1", "status")["epoch"] == 2

        farm.until(lambda: farm.ask("m1", "props", client="xen1", pattern="up"), "its properties are asked for")
        told = farm.lines("m1", "get", {"targets": ["all"], "names": ["up"], "fetch": True})
        assert told[-1]["result"]["answered"] == ["xen1"]
        assert told[1]["more"]["readings"][0]["value"] > 0

        assert farm.terminate("m1") == 0
        assert not (tmp_path / "m1" / "run" / "vmmanager.sock").exists()
        assert not listens(farm.port)
        assert "Traceback" not in farm.log("m1")


def test_a_bad_configuration_is_told_with_its_place_and_changes_nothing(tmp_path: Path) -> None:
    with real_farm(tmp_path) as farm:
        farm.start_bus()
        farm.start_manager("m1", RULES)
        farm.until(lambda: farm.leads("m1"), "m1 leads")
        file = tmp_path / "m1" / "triggers.d" / "rules.ini"
        file.write_text(RULES + "[bad]\nexpr = { 1 + }\nticks = 5\n")
        refused = farm.lines("m1", "reload", {})[-1]
        assert refused["code"] == "bad-config"
        assert f"{file}:" in refused["faults"][0]
        assert {row["name"] for row in farm.ask("m1", "triggers")} == {"first_seen", "gone"}
        check = [sys.executable, "-m", "vmmanager", "-c", str(tmp_path / "m1" / "vmmanager.ini"), "--check-config"]
        checked = subprocess.run(check, capture_output=True, text=True, timeout=60)
        assert checked.returncode == 2
        assert f"{file}:" in checked.stderr
        assert "Traceback" not in checked.stderr

        file.write_text(RULES + "[good]\nexpr = { 1 > 2 }\nticks = 5\n")
        assert any("good" in sentence for sentence in farm.ask("m1", "reload")["changed"])
        second = subprocess.run(check[:-1], capture_output=True, text=True, timeout=60)
        assert second.returncode == 2
        assert "another vmmanager" in second.stderr


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
