"""Virtual machines by a real vmclient: orders of a manager in, answers, progress and lists out. The simulated hypervisor."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.config.model import VmConfig, Where
from common.definition import to_wire
from common.hypervisor import Network, mark
from common.images import Draft, Repository
from common.protocol import ClbControl, Control, ExecErr, Execute, ExecVal, FetchProp, PropErr, PropList, PropVal, Reading
from plugins.hypervisor_sim import SimHypervisor
from plugins.sim_world import FAILURES, Failure, SimHost, SimWorld
from tests.client.farm import ManagerSide, VmBus, VmClient, until

pytestmark = pytest.mark.slow
MIB = 1024 * 1024
MAIL = VmConfig(
    "mail1", Where("vms.ini"), 256 * MIB, 512 * MIB, kernel="/boot/vmlinuz", networks=(Network("xenbr0", "00:16:3e:00:00:01"),)
)


class Host:
    """A client with a hypervisor, and what a manager sees and asks of it."""

    def __init__(self, folder: Path, bus: VmBus, hypervisor: str, allow: str = "vm") -> None:
        self.folder = folder
        self.world = SimWorld(folder / "farm")
        self.manager = ManagerSide(bus.port)
        self.client = VmClient(folder, bus.port, f"allow = {allow}\n[hypervisor]\n{hypervisor}")
        (folder / "state").mkdir(mode=0o700)
        self.client.trust(self.manager)
        self.world.add_host("x1", SimHost())
        self.client.start()
        until(self.manager.hellos)
        self._ids = itertools.count(1)

    def end(self) -> None:
        self.client.end()
        self.manager.close()

    def send(self, command: str, *, timeout_s: float = 60.0, **parameters: Any) -> int:
        execution = f"e{next(self._ids)}"
        return self.manager.send(Execute(execution=execution, command=command, parameters=parameters, timeout_s=timeout_s))

    def answer(self, request: int) -> ExecVal | ExecErr:
        def ended() -> list[ExecVal | ExecErr]:
            return [one for one in self.manager.answers(request) if isinstance(one, (ExecVal, ExecErr))]

        return until(ended, "no answer")[0]

    def progress(self, request: int) -> list[str]:
        told = [one for one in self.manager.answers(request) if isinstance(one, ClbControl)]
        return [str(one.values["text"]) for one in told if one.verb == "progress"]

    def do(self, command: str, vm: str = "mail1", **parameters: Any) -> Any:
        """The result of an order that must go well."""
        answer = self.answer(self.send(command, vm=vm, **parameters))
        assert isinstance(answer, ExecVal), answer
        return answer.result

    def fail(self, command: str, vm: str = "mail1", **parameters: Any) -> ExecErr:
        answer = self.answer(self.send(command, vm=vm, **parameters))
        assert isinstance(answer, ExecErr), answer
        return answer

    def start(self, vm: VmConfig = MAIL) -> Any:
        return self.do("vm-start", vm.name, definition=to_wire(vm))

    def pushed(self, name: str) -> list[Reading]:
        """Unasked, oldest first."""
        messages = [one.message for one in list(self.manager.got) if not one.in_reply_to]
        lists = [
            (one.reading,) if isinstance(one, PropVal) else one.readings
            for one in messages
            if isinstance(one, (PropVal, PropList))
        ]
        return [reading for readings in lists for reading in readings if reading.name == name and not reading.error]

    def last(self) -> list[dict[str, Any]]:
        """The domains as pushed last."""
        readings = self.pushed("domains")
        value: Any = readings[-1].value if readings else []
        return list(value)

    def listed(self) -> dict[str, str]:
        """Name -> state, as pushed last."""
        return {one["name"]: one["state"] for one in self.last()}

    def until_listed(self, wanted: dict[str, str]) -> None:
        until(lambda: self.listed() == wanted, f"{wanted} was not told")

    def fetch(self, name: str) -> Any:
        message = self.manager.ask(FetchProp(names=(name,)))
        return message.reading.value if isinstance(message, PropVal) else message


@pytest.fixture
def bus() -> Iterator[VmBus]:
    bus = VmBus()
    yield bus
    bus.stop()


Begin = Callable[..., Host]


@pytest.fixture
def begin(bus: VmBus, tmp_path: Path) -> Iterator[Begin]:
    hosts: list[Host] = []

    def made(more: str = "", engine: str = "sim", **options: str) -> Host:
        farm = f"farm = {tmp_path}/farm\nsim_memory = 1G\n" if engine == "sim" else ""
        hosts.append(Host(tmp_path, bus, f"engine = {engine}\nticks = 1h\n{farm}{more}", **options))
        return hosts[-1]

    yield made
    for host in hosts:
        host.end()


def test_the_whole_life_of_a_vm(begin: Begin) -> None:
    host = begin()
    host.world.add_host("x2", SimHost())
    started = host.start()
    domain = started["domain"]
    assert (domain["name"], domain["uuid"], domain["ours"], domain["memory_bytes"]) == ("mail1", mark("mail1"), True, 256 * MIB)
    assert started["image"] == ""
    assert host.do("vm-pause")["domain"]["state"] == "paused"
    assert host.do("vm-unpause")["domain"]["state"] == "running"
    assert host.do("vm-memory", memory_bytes=384 * MIB)["domain"]["memory_bytes"] == 384 * MIB
    assert host.do("vm-reboot")["domain"]["state"] == "running"
    assert host.do("vm-console", bytes_max=100) == "mail1 started\nrebooting\n"
    saved = host.do("vm-save")
    assert saved["path"] == f"{host.folder}/state/saves/mail1.save"
    assert saved["bytes"] == Path(saved["path"]).stat().st_size > 0
    host.until_listed({})
    assert host.do("vm-restore")["domain"]["state"] == "running"
    assert list(Path(saved["path"]).parent.iterdir()) == []
    assert host.do("vm-migrate", target="x2") == {"moved": "live"}
    assert list(host.world.read("x2").domains) == ["mail1"]
    host.until_listed({})
    host.start()
    assert host.do("vm-stop", limit_s=20, destroy=False) == {"ended": "shutdown"}
    host.start()
    assert host.do("vm-destroy") == {"domain": None}
    host.until_listed({})


def test_a_host_with_a_hypervisor_says_so_and_tells_what_there_is(begin: Begin) -> None:
    host = begin()
    assert host.manager.hellos()[0].values["hypervisor"] == "sim"
    until(lambda: host.pushed("hypervisor"))
    (told,) = host.pushed("hypervisor")
    assert told.value == {
        "kind": "sim",
        "version": "1",
        "memory_bytes": 1024 * MIB,
        "memory_free_bytes": 1024 * MIB,
        "cpus": 8,
        "load": 0.0,
    }
    host.start()
    host.until_listed({"mail1": "running"})
    (domain,) = host.last()
    assert sorted(domain) == ["cpu_s", "memory_bytes", "name", "note", "number", "ours", "state", "uuid", "vcpus"]
    assert host.fetch("images_used") == {}


def test_what_an_order_changed_is_told_at_once_and_not_with_the_next_ticks(begin: Begin) -> None:
    host = begin()
    until(lambda: host.pushed("domains"))
    before = len(host.pushed("domains"))
    host.start()
    host.until_listed({"mail1": "running"})
    assert host.fail("vm-start", definition=to_wire(MAIL)).reason.endswith("running; nothing was started")
    until(lambda: len(host.pushed("domains")) >= before + 2, "a failed order is followed by a list as well")


def test_progress_is_told_to_who_asked_before_the_answer(begin: Begin, tmp_path: Path) -> None:
    """Of what takes a moment: of a job that has ended meanwhile the answer alone is told."""
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nsleep 1\n")
    slow.chmod(0o755)
    host = begin(f"sim_hook = {slow}\n")
    request = host.send("vm-start", vm="mail1", definition=to_wire(MAIL))
    assert isinstance(host.answer(request), ExecVal)
    assert host.progress(request) == ["creating the domain"]
    first, *_, last = host.manager.answers(request)
    assert isinstance(first, ClbControl)
    assert first.values == {"execution": "e1", "text": "creating the domain", "share": None}
    assert isinstance(last, ExecVal)


def test_what_is_rendered_is_not_started(begin: Begin) -> None:
    host = begin()
    rendered = host.do("vm-render", definition=to_wire(MAIL))
    assert rendered["kind"] == "sim"
    assert 'name = "mail1"\n' in rendered["text"]
    assert 'on_crash = "preserve"\n' in rendered["text"]
    assert host.world.read("x1").domains == {}


def test_a_dead_domain_of_ours_is_cleared_away_by_a_start(begin: Begin) -> None:
    host = begin()
    host.start()
    SimHypervisor("x1", host.folder / "farm").crash("mail1")
    assert "crashed" in host.fail("vm-restore").reason
    assert host.start()["domain"]["state"] == "running"
    SimHypervisor("x1", host.folder / "farm").crash("mail1")
    assert host.do("vm-stop") == {"ended": "shutdown"}
    assert host.world.read("x1").domains == {}


def test_a_domain_of_somebody_else_is_told_and_never_touched(begin: Begin) -> None:
    host = begin()
    SimHypervisor("x1", host.folder / "farm").add_foreign("mail1", 128 * MIB)
    before = host.world.read("x1").domains
    orders: dict[str, dict[str, Any]] = {
        "vm-start": {"definition": to_wire(MAIL)},
        "vm-stop": {"limit_s": 1},
        "vm-memory": {"memory_bytes": 64 * MIB},
        "vm-migrate": {"target": "x2"},
    }
    for command in ("vm-destroy", "vm-reboot", "vm-pause", "vm-unpause", "vm-save", "vm-restore", "vm-console", *orders):
        failed = host.fail(command, **orders.get(command, {}))
        assert (failed.kind, failed.reason) == ("error", "mail1 on x1: the domain of this name is not ours, it was not touched")
    assert host.world.read("x1").domains == before
    host.until_listed({"mail1": "running"})
    assert [one["ours"] for one in host.last()] == [False]


@pytest.mark.parametrize(
    ("command", "parameters", "said"),
    [
        ("vm-start", {"definition": {"memory_bytes": "much"}}, "definition of mail1: Expected `int`, got `str`"),
        ("vm-start", {"definition": "mail1"}, "parameter definition: 'mail1' is no object"),
        ("vm-start", {}, "parameter definition is missing"),
        ("vm-start", {"vm": "../../etc/passwd", "definition": to_wire(MAIL)}, "is no name of a domain"),
        ("vm-save", {"vm": "../../etc/passwd"}, "is no name of a domain"),
        ("vm-destroy", {"vm": "--all"}, "is no name of a domain"),
        ("vm-stop", {"limit_s": "nan"}, "limit_s: nan is no time"),
        ("vm-migrate", {"target": "-oProxyCommand=sh"}, "target: "),
        ("vm-migrate", {"target": "x1"}, "target: names no other host"),
        ("vm-memory", {"memory_bytes": 5}, "no whole number of MiB"),
        ("vm-console", {"bytes_max": 10**9}, "is not within"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(begin: Begin, command: str, parameters: dict[str, Any], said: str) -> None:
    failed = begin().fail(command, **parameters)
    assert failed.kind == "refused"
    assert said in failed.reason


def test_the_closed_list_allows_operations_one_by_one(begin: Begin) -> None:
    host = begin(allow="vm-start, vm-stop")
    host.start()
    refused = host.fail("vm-destroy")
    assert (refused.kind, refused.reason) == ("refused", "this client does not allow vm-destroy")
    assert host.do("vm-stop") == {"ended": "shutdown"}


def test_what_the_host_has_not_got_is_said_and_nothing_is_started(begin: Begin) -> None:
    host = begin("sim_bridges = xenbr0")
    wrong = replace(MAIL, networks=(Network("nosuch", "00:16:3e:00:00:01"),))
    failed = host.fail("vm-start", definition=to_wire(wrong))
    assert failed.reason == "mail1 on x1: Could not find bridge device nosuch; nothing was started"
    big = replace(MAIL, memory_bytes=2048 * MIB, memory_max_bytes=0)
    assert "it needs 2048 MiB, and 1024 MiB are free" in host.fail("vm-start", definition=to_wire(big)).reason
    assert host.world.read("x1").domains == {}


@pytest.mark.parametrize("cached", [False, True], ids=["repository", "cache"])
def test_a_vm_boots_from_an_image_and_says_which(begin: Begin, tmp_path: Path, cached: bool) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"kernel" * 1000)
    Repository.create(tmp_path / "images").add(Draft("debian", {"kernel": tmp_path / "vmlinuz"}, "a test", version="12-1"))
    host = begin(f"images = {tmp_path}/images\n" + (f"cache = {tmp_path}/cache" if cached else ""))
    vm = replace(MAIL, kernel="", image="debian")
    folder = tmp_path / ("cache" if cached else "images")
    assert f'kernel = "{folder}/debian/12-1/kernel"' in host.do("vm-render", definition=to_wire(vm))["text"]
    assert host.start(vm)["image"] == "debian@12-1"
    assert host.fetch("images_used") == {"mail1": "debian@12-1"}
    assert host.world.read("x1").domains["mail1"].boots_from == f"{folder}/debian/12-1/kernel"


def test_copies_that_no_domain_uses_are_cleared_away(begin: Begin, tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "images")
    host = begin(f"images = {tmp_path}/images\ncache = {tmp_path}/cache")
    vm = replace(MAIL, kernel="", image="debian")
    for version in ("1", "2", "3"):
        (tmp_path / "vmlinuz").write_bytes(version.encode() * 1000)
        repository.add(Draft("debian", {"kernel": tmp_path / "vmlinuz"}, "a test", version=version))
        assert host.start(vm)["image"] == f"debian@{version}"
        host.do("vm-destroy")
    assert sorted(path.name for path in (tmp_path / "cache/debian").iterdir() if not path.name.startswith(".")) == ["3"]


def test_an_image_that_cannot_be_had_is_named_and_nothing_is_started(begin: Begin, tmp_path: Path) -> None:
    Repository.create(tmp_path / "images")
    host = begin(f"images = {tmp_path}/images")
    failed = host.fail("vm-start", definition=to_wire(replace(MAIL, kernel="", image="nosuch@1")))
    assert failed.kind == "error"
    assert failed.reason.startswith("mail1 on x1: ")
    assert "nosuch" in failed.reason
    assert failed.reason.endswith("nothing was started")
    assert host.world.read("x1").domains == {}


def test_a_guest_that_does_not_listen_ends_only_where_asked(begin: Begin) -> None:
    host = begin("sim_shutdown = 1h")
    host.start()
    assert host.fail("vm-stop", limit_s=0.2, destroy=False).reason == (
        "mail1 on x1: the guest did not shut down within 0.2 s (it was left as it is)"
    )
    assert host.do("vm-stop", limit_s=0.2, destroy=True) == {"ended": "destroyed"}


def test_an_operation_that_hangs_ends_before_its_process_is_killed(begin: Begin) -> None:
    host = begin()
    host.world.add_failure(Failure("start", how="hang"))
    failed = host.fail("vm-start", definition=to_wire(MAIL), timeout_s=4.0)
    assert failed.kind == "error"
    assert failed.reason.startswith("mail1 on x1: no end within ")
    assert host.world.read("x1").domains == {}
    host.start()


@pytest.mark.parametrize("operation", ["start", "save", "restore", "migrate"])
def test_a_client_killed_in_the_middle_comes_back_with_one_vm_or_none(begin: Begin, operation: str) -> None:
    """And the same order, sent again as a new one, is done."""
    host = begin()
    host.world.add_host("x2", SimHost())
    if operation != "start":
        host.start()
    if operation == "restore":
        host.do("vm-save")
    host.world.add_failure(Failure(operation, how="hang"))
    all_parameters: dict[str, dict[str, Any]] = {"start": {"definition": to_wire(MAIL)}, "migrate": {"target": "x2"}}
    parameters = all_parameters.get(operation, {})
    request = host.send(f"vm-{operation}", vm="mail1", timeout_s=600.0, **parameters)
    until(lambda: host.progress(request), "it did not begin")
    until(lambda: (host.world.folder / FAILURES).read_text() == "[]")
    host.client.kill()
    host.client.start()
    answer = host.answer(request)
    assert isinstance(answer, ExecErr)
    assert answer.kind == "interrupted"
    alive = [name for name in ("x1", "x2") if host.world.read(name).domains]
    assert alive == (["x1"] if operation in ("save", "migrate") else [])
    if operation == "restore":  # whether it had begun is not known, so it is for a person to say
        failed = host.fail("vm-restore")
        assert "a restore was broken off; if it has not run since, rename" in failed.reason
        saves = host.folder / "state/saves"
        os.rename(saves / "mail1.restoring", saves / "mail1.save")
    host.do(f"vm-{operation}", **parameters)


def test_memory_that_a_vm_has_run_on_from_is_never_restored(begin: Begin) -> None:
    host = begin()
    host.start()
    host.do("vm-save")
    host.start()
    host.client.says("its saved memory was removed")
    assert "running; nothing was started" in host.fail("vm-restore").reason
    host.do("vm-destroy")
    assert "there is no saved memory of it here" in host.fail("vm-restore").reason


def test_a_restore_that_fails_leaves_the_memory_where_it_was(begin: Begin) -> None:
    host = begin()
    host.start()
    host.do("vm-save")
    host.world.add_failure(Failure("restore", why="checksum"))
    failed = host.fail("vm-restore")
    assert failed.reason == f"mail1 on x1: checksum (its memory is in {host.folder}/state/saves/mail1.save as before)"
    host.do("vm-restore")


def test_a_save_onto_a_full_disk_says_what_became_of_the_vm(begin: Begin) -> None:
    host = begin()
    host.start()
    full = host.folder / "state/saves"
    full.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=8", "tmpfs", str(full)], capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (full / "filler").write_bytes(bytes(4096))
        failed = host.fail("vm-save")
        assert "No space left on device (it is running, but nothing watches it any more" in failed.reason
        assert [one.name for one in full.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert list(host.world.read("x1").domains) == ["mail1"]


def test_a_reload_takes_up_another_hypervisor(begin: Begin) -> None:
    host = begin()
    host.start()
    conf = host.client.conf
    conf.write_text(conf.read_text().replace("engine = sim", "engine = none").replace("farm =", "#").replace("sim_memory", "#"))
    reloaded = host.manager.ask(Control(verb="reload"))
    assert isinstance(reloaded, ClbControl)
    changed: Any = reloaded.values["changed"]
    assert "property domains: removed" in changed
    assert until(lambda: host.manager.hellos()[1:])[0].values["hypervisor"] == "none"
    failed = host.fail("vm-destroy")
    assert failed.kind == "refused"
    assert "command vm-destroy" in failed.reason
    assert list(host.world.read("x1").domains) == ["mail1"]


# --- an xl that is no good --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "x1: xl cannot be run: {xl}: No such file or directory"),
        ("echo garbage", "x1: xl list: no heading: 'garbage\\n'"),
        ("sleep 600", "x1: xl list: no end within "),
        ("echo 'xenstored is gone' >&2; exit 1", "xenstored is gone"),
    ],
    ids=["missing", "garbage", "hanging", "failing"],
)
def test_an_xl_that_is_no_good_makes_the_domains_unknown_and_starts_nothing(
    begin: Begin, tmp_path: Path, script: str | None, said: str
) -> None:
    xl = tmp_path / "xl"
    if script is not None:
        xl.write_text(f"#!/bin/sh\n{script}\n")
        xl.chmod(0o755)
    host = begin(f"xl = {xl}\ntimeout = 2s", engine="xl")
    wanted = said.format(xl=xl)
    unknown = host.fetch("domains")
    assert isinstance(unknown, PropErr)
    assert wanted in unknown.errors["domains"]
    failed = host.fail("vm-start", definition=to_wire(MAIL))
    assert failed.kind == "error"
    assert wanted.removeprefix("x1: ") in failed.reason
    host.client.kill(signal.SIGTERM)
