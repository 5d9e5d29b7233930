"""vmclient as an administrator runs it: real process, real bus, real properties of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from nacl.signing import SigningKey

from common.protocol import ClbControl, Control, ExecErr, Execute, ExecVal, FetchProp, GetProp, PropErr, PropList, PropVal
from tests.client.farm import ManagerSide, VmBus, VmClient, until

pytestmark = pytest.mark.slow

PROPERTIES = """
[ram_free]
command = ram
parameters = MemFree
return_type = int
[mood]
command = mood
ticks = -1
[hangs]
command = hangs
ticks = -1
timeout = 500ms
"""
PLUGIN = """
import os, time
from common.plugin import command, reader
@reader("mood")
def mood() -> str:
    return "good"
@reader("hangs")
def hangs() -> str:
    time.sleep(1000)
    return "never"
@command("touch", subject="path")
def touch(path: str, seconds: float = 0.0) -> str:
    with open(path, "a") as file:
        file.write("ran\\n")
    time.sleep(seconds)
    return "done"
"""
PROGRAMS = """[[sleep]]
argv = /bin/sleep, 900
timeout = 15m
[[say]]
argv = /bin/echo, "said: {what}"
[[[patterns]]]
what = "[a-z ]+"
"""
Start = Callable[..., tuple[VmClient, ManagerSide]]


@pytest.fixture
def bus() -> Iterator[VmBus]:
    bus = VmBus()
    yield bus
    bus.stop()


@pytest.fixture
def start(bus: VmBus, tmp_path: Path) -> Iterator[Start]:
    """A client with the plugin above, which trusts the manager."""
    ends: list[Callable[[], None]] = []

    def begin(more: str = "allow = touch, exec:say, log", trusts: bool = True) -> tuple[VmClient, ManagerSide]:
        manager = ManagerSide(bus.port)
        client = VmClient(tmp_path, bus.port, more, PROGRAMS, PROPERTIES)
        ends.extend((client.end, manager.close))
        (tmp_path / "plugins" / "own.py").write_text(PLUGIN)
        (tmp_path / "state").mkdir(mode=0o700)
        if trusts:
            client.trust(manager)
        client.start()
        until(manager.hellos)
        return client, manager

    yield begin
    for end in ends:
        end()


def test_a_manager_reads_properties_and_runs_what_is_allowed(start: Start, tmp_path: Path) -> None:
    _, manager = start()
    assert manager.hellos()[0].values["groups"] == ["dom0"]
    ram = manager.ask(FetchProp(names=("ram_free",)))
    assert isinstance(ram, PropVal)
    assert isinstance(ram.reading.value, int)
    assert 0 < ram.reading.value * 1024 < psutil.virtual_memory().total
    assert ram.reading.unit == "KiB"
    every = manager.ask(FetchProp(), ("dom0",))
    assert isinstance(every, PropList)
    errors = {reading.name: reading.error for reading in every.readings}
    assert errors == {"ram_free": "", "mood": "", "hangs": "no end within 0.5 s"}
    assert manager.ask(GetProp(names=("hangs",))) == PropErr(errors={"hangs": "no end within 0.5 s"})
    said = manager.ask(Execute(execution="e1", command="exec", parameters={"program": "say", "what": "hello there"}))
    assert isinstance(said, ExecVal)
    assert said.result == {"status": 0, "output": "said: hello there\n", "errors": ""}
    for execution, parameters in (("e2", {"program": "say", "what": "; rm"}), ("e3", {"program": "rm"})):
        refused = manager.ask(Execute(execution=execution, command="exec", parameters={**parameters}))
        assert isinstance(refused, ExecErr)
        assert refused.kind == "refused"
    touch = Execute(execution="e4", command="touch", parameters={"path": str(tmp_path / "ran")})
    first, second = manager.ask(touch), manager.ask(touch)
    assert isinstance(first, ExecVal)
    assert isinstance(second, ExecVal)
    assert (first.repeated, second.repeated) == (False, True)
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_client_killed_in_the_middle_of_a_command_says_so_and_does_not_run_it_again(start: Start, tmp_path: Path) -> None:
    client, manager = start()
    long = Execute(
        execution="long", command="touch", parameters={"path": str(tmp_path / "ran"), "seconds": 1000}, timeout_s=2000
    )
    done = Execute(execution="done", command="touch", parameters={"path": str(tmp_path / "other")})
    assert isinstance(manager.ask(done), ExecVal)
    request = manager.send(long)
    until((tmp_path / "ran").exists)
    client.kill()
    client.start()
    (answer,) = until(lambda: manager.answers(request))
    assert isinstance(answer, ExecErr)
    assert answer.kind == "interrupted"
    again = manager.ask(long)
    assert isinstance(again, ExecErr)
    assert (again.kind, again.repeated) == ("interrupted", True)
    recorded = manager.ask(done)
    assert isinstance(recorded, ExecVal)
    assert recorded.repeated
    assert (tmp_path / "ran").read_text() == (tmp_path / "other").read_text() == "ran\n"


def test_a_command_does_not_outlive_a_client_that_is_killed(start: Start) -> None:
    client, manager = start("allow = exec:sleep")
    manager.send(Execute(execution="e", command="exec", parameters={"program": "sleep"}, timeout_s=900))
    assert client.process is not None
    tree = psutil.Process(client.process.pid)
    until(lambda: [one for one in tree.children(recursive=True) if one.name() == "sleep"])
    family = tree.children(recursive=True)
    client.kill()
    assert not psutil.wait_procs(family, timeout=20)[1]


def test_what_is_not_signed_by_a_trusted_manager_never_reaches_a_plugin(start: Start, tmp_path: Path) -> None:
    client, manager = start()
    touch = Execute(execution="forged", command="touch", parameters={"path": str(tmp_path / "ran")})
    manager.send(touch, key=SigningKey.generate())
    client.says("dropped (bad-signature) m1")
    manager.name, name = "somebody", manager.name
    manager.send(touch, key=SigningKey.generate())
    client.says("dropped (unknown-key)")
    manager.name = name
    manager.bus.send(("clients",), b"garbage")
    client.says("dropped (garbage)")
    manager.epoch = 5
    assert isinstance(manager.ask(Control(verb="ping")), ClbControl)
    manager.epoch = 4
    manager.send(touch)
    client.says("dropped (old-epoch) m1")
    client.kill()
    client.start()
    manager.send(touch)
    client.says("dropped (old-epoch) m1", times=2)
    assert not (tmp_path / "ran").exists()


def test_the_first_manager_is_trusted_where_the_file_says_so_and_no_second_one(start: Start, bus: VmBus) -> None:
    client, manager = start("accept_managers = first", trusts=False)
    manager.greet()
    client.says("manager m1: the first ever seen")
    assert isinstance(manager.ask(Control(verb="ping")), ClbControl)
    other = ManagerSide(bus.port, "m2")
    other.greet()
    other.send(Control(verb="ping"))
    client.says("dropped (unknown-key) m2")
    other.close()


def test_a_bus_that_dies_and_comes_back_finds_the_client_again(start: Start, bus: VmBus) -> None:
    client, manager = start()
    bus.stop()
    client.says("bus: connected -> lost")
    manager.connected.clear()
    bus.start()
    assert manager.connected.wait(30)
    client.says("bus: connected as", times=2)
    assert isinstance(manager.ask(Control(verb="ping")), ClbControl)


def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one(start: Start) -> None:
    client, manager = start()
    assert client.process is not None
    file = client.folder / "properties.d" / "p.ini"
    file.write_text(PROPERTIES + "[bad]\ncommand = ram\nticks = often\n")
    answer = manager.ask(Control(verb="reload"))
    assert isinstance(answer, ClbControl)
    assert not answer.ok
    assert "p.ini:15: [bad] ticks" in answer.reason
    file.write_text(PROPERTIES + "[new]\ncommand = mood\n")
    os.kill(client.process.pid, signal.SIGHUP)
    client.says("configuration: reloaded; property new")
    got = manager.ask(FetchProp(names=("new",)))
    assert isinstance(got, PropVal)
    assert got.reading.value == "good"


def test_term_lets_a_running_command_end(start: Start, tmp_path: Path) -> None:
    client, manager = start()
    request = manager.send(Execute(execution="e", command="touch", parameters={"path": str(tmp_path / "ran"), "seconds": 1.0}))
    until((tmp_path / "ran").exists)
    assert client.kill(signal.SIGTERM) == 0
    (answer,) = until(lambda: manager.answers(request))
    assert isinstance(answer, ExecVal)


def test_its_threads_and_processes(start: Start) -> None:
    client, _ = start()
    assert client.process is not None
    process = psutil.Process(client.process.pid)
    (worker,) = process.children(recursive=True)
    assert worker.num_threads() == 1
    assert os.getpgid(worker.pid) == worker.pid
    modules = {Path(one.path).name for one in worker.memory_maps()}
    assert not [name for name in modules if "nacl" in name or "_sodium" in name], "a worker has loaded libsodium"
    client.kill()
    assert psutil.wait_procs([worker], timeout=10)[0]


def test_bad_files_are_one_clear_message_and_exit_code_2(tmp_path: Path) -> None:
    conf = tmp_path / "vmclient.ini"
    conf.write_text("[client]\nname = x1\nparalel = 3\n")
    run = subprocess.run([sys.executable, "-m", "vmclient", "-c", str(conf)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert f"{conf}:3: [client] paralel" in run.stderr
    (tmp_path / "properties.d").mkdir()
    (tmp_path / "properties.d" / "p.ini").write_text("[a]\ncommand = raam\n[b]\ncommand = load\nparameters = 7\n")
    conf.write_text("[client]\nname = x1\nallow = fly\n")
    run = subprocess.run(
        [sys.executable, "-m", "vmclient", "-c", str(conf), "--check-config"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "p.ini:2: [a] command: no reader raam; there are: cpu, " in run.stderr
    assert "p.ini:4: [b] command: parameter minutes: '7' is none of 1, 5, 15" in run.stderr
    assert "fly: no plugin has this command" in run.stderr


def test_two_clients_cannot_use_one_state_folder(start: Start) -> None:
    client, _ = start()
    run = subprocess.run([sys.executable, "-m", "vmclient", "-c", str(client.conf)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    assert "in use by another vmclient" in run.stderr
