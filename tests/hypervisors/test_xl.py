"""Xen's back end against recorded output of a real xl, and against an xl that fails as real ones do.

The program called is a script that prints what was recorded; the real Xen is the lab's."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import hypervisor as hv
from plugins import xl_output
from plugins.hypervisor_xl import XlHypervisor
from tests.hypervisors.test_contract import MAIL, MIB, Clock

RECORDED = Path(__file__).parent.parent / "recorded"
THEIRS = "11111111-2222-5333-8444-555555555555"  # the UUID in the recorded output
SCRIPT = """\
import pathlib, sys, time
here = pathlib.Path(__file__).parent
verb = sys.argv[1]
with (here / "calls").open("a") as file:
    file.write(repr(sys.argv[1:]) + "\\n")
if verb == "create":
    (here / "config").write_text(pathlib.Path(sys.argv[2]).read_text())
answers = sorted(here.glob(verb + ".*"))
if answers:
    text = answers[0].read_text()
    if len(answers) > 1:
        answers[0].unlink()
    status, _, text = text.partition("\\n")
    (sys.stdout if status == "0" else sys.stderr).write(text)
    if status == "hang":
        time.sleep(600)
    sys.exit(int(status))
"""


def recorded(name: str) -> str:
    return "".join((RECORDED / f"{name}.txt").read_text().splitlines(keepends=True)[2:])


def ours(text: str) -> str:
    return text.replace(THEIRS, hv.mark("mail1"))


EMPTY = "\n".join(recorded("xl-list-v").splitlines()[:2]) + "\n"
MINE = ours(recorded("xl-list-v"))
HALTED = MINE.replace("------", "---s--")


class Xen:
    """A host whose xl answers, call by call, what is put there; the last answer of a verb is given for ever."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "xl.py").write_text(SCRIPT)
        clock = Clock()
        xl = (sys.executable, str(folder / "xl.py"))
        self.one = XlHypervisor("xen1", xl, console_folder=folder, clock=clock, wait=clock.wait)

    def answer(self, verb: str, *texts: str, status: str = "0") -> None:
        for old in self.folder.glob(f"{verb}.*"):
            old.unlink()
        for number, text in enumerate(texts):
            (self.folder / f"{verb}.{number:02}").write_text(f"{status}\n{text}")

    def calls(self) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [" ".join(ast.literal_eval(line)) for line in lines]


@pytest.fixture
def xen(tmp_path: Path) -> Xen:
    return Xen(tmp_path)


# --- what xl prints -----------------------------------------------------------------------------------------------------------


def test_a_recorded_list_is_read() -> None:
    (mail,) = xl_output.parse_list(recorded("xl-list-v"))
    assert (mail.name, mail.number, mail.memory_bytes, mail.vcpus, mail.cpu_s) == ("mail1", 1, 128 * MIB, 1, 0.8)
    assert (mail.state, mail.uuid, mail.ours) == ("running", THEIRS, False)


@pytest.mark.parametrize(
    ("letters", "state"),
    [
        ("r-----", "running"),
        ("------", "running"),
        ("--p---", "paused"),
        ("--ps--", "shutdown"),
        ("----c-", "crashed"),
        ("---sc-", "crashed"),
        ("---sw-", "crashed"),
        ("---ss-", "leaving"),
        ("---sr-", "shutdown"),
        ("---s?-", "shutdown"),
        ("---ssd", "dying"),
        ("---s-d", "dying"),
    ],
)
def test_the_letters_of_a_state(letters: str, state: str) -> None:
    assert xl_output.parse_list(MINE.replace("------", letters))[0].state == state


@pytest.mark.parametrize(("ending", "state"), [("--incoming", "incoming"), ("--migratedaway", "leaving")])
def test_a_domain_on_its_way_is_ours_and_known_as_such(ending: str, state: str) -> None:
    (mail,) = xl_output.parse_list(MINE.replace("mail1  ", f"mail1{ending}  "))
    assert (mail.state, mail.ours) == (state, True)


def test_recorded_properties_and_details_are_read() -> None:
    found = xl_output.parse_info(recorded("xl-info"))
    assert (found.host, found.version, found.cpus) == ("A", "4.17.7", 1)
    assert (found.memory_bytes, found.memory_free_bytes) == (1023 * MIB, 498 * MIB)
    assert xl_output.ceiling_bytes(xl_output.parse_details(recorded("xl-list-l"))["mail1"]) == 128 * MIB


def test_what_a_domain_boots_from_is_read_of_recorded_details() -> None:
    details = xl_output.parse_details(recorded("xl-list-l"))["mail1"]
    assert xl_output.boots_from(details) == "/boot/domu-kernel"
    disks = [{"pdev_path": "/dev/vg0/mail1", "vdev": "xvda"}]
    assert xl_output.boots_from({"b_info": {}, "disks": disks}) == "/dev/vg0/mail1"
    assert xl_output.boots_from({"b_info": {"bootloader": "pygrub"}}) == ""
    for odd in ({}, {"b_info": 1}, {"b_info": {}, "disks": 1}):
        with pytest.raises(ValueError, match="xl list -l"):
            xl_output.boots_from(odd)


_cut = st.sampled_from([MINE, recorded("xl-info"), recorded("xl-list-l")]).flatmap(
    lambda text: st.integers(0, len(text)).map(lambda end: text[:end])
)


@given(st.text() | _cut)
def test_any_text_is_read_or_refused(text: str) -> None:
    parsers: list[Callable[[str], object]] = [xl_output.parse_list, xl_output.parse_details, xl_output.parse_info]
    for parse in parsers:
        try:
            parse(text)
        except ValueError as fault:
            assert "xl " in str(fault)  # noqa: PT017  being read is right too
    xl_output.reason(text)
    xl_output.saved_uuid(text.encode(errors="replace"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("xl-create-bridge", "script: Could not find bridge device nosuch"),
        ("xl-create-exists", 'Domain with name "mail1" already exists.'),
        ("xl-create-memory", "can't allocate low memory for domain: Out of memory"),
        ("xl-create-kernel", "failed to open file '/nosuch': No such file or directory"),
        ("xl-save-full-disk", "No space left on device"),
    ],
)
def test_the_reason_is_the_line_that_says_most(name: str, said: str) -> None:
    assert said in xl_output.reason(recorded(name))


# --- what is called -----------------------------------------------------------------------------------------------------------


def test_a_domain_is_created_from_its_definition(xen: Xen) -> None:
    xen.answer("list", EMPTY, MINE)
    assert xen.one.start(MAIL, limit_s=30).ours
    config = (xen.folder / "config").read_text()
    assert f'uuid = "{hv.mark("mail1")}"' in config
    assert 'vif = ["mac=00:16:3e:00:00:01,bridge=xenbr0"]' in config


def test_a_hand_written_file_is_used_as_it_is_but_for_name_and_uuid(xen: Xen, tmp_path: Path) -> None:
    own = tmp_path / "own.cfg"
    own.write_text('name = "other"\n')
    xen.answer("list", EMPTY, MINE)
    xen.one.start(hv.DomainConfig("mail1", 128 * MIB, native=str(own)), limit_s=30)
    assert xen.calls()[1] == f'create {own} name="mail1" uuid="{hv.mark("mail1")}"'


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("xl-create-bridge", hv.HypervisorError, "mail1 on xen1: xl create: script: Could not find bridge device nosuch"),
        ("xl-create-memory", hv.DoesNotFit, "mail1 on xen1: .*Out of memory"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_nothing(xen: Xen, name: str, kind: type[Exception], said: str) -> None:
    xen.answer("list", EMPTY)
    xen.answer("create", recorded(name), status="3")
    with pytest.raises(kind, match=f"{said}.*nothing of it stayed behind"):
        xen.one.start(MAIL, limit_s=30)


def test_a_domain_that_another_started_meanwhile_is_left_alone(xen: Xen) -> None:
    xen.answer("list", EMPTY, MINE)
    xen.answer("create", recorded("xl-create-exists"), status="3")
    with pytest.raises(hv.AlreadyThere, match="nothing was started"):
        xen.one.start(MAIL, limit_s=30)
    assert not [call for call in xen.calls() if call.startswith("destroy")]


def test_what_is_half_started_is_destroyed(xen: Xen) -> None:
    xen.answer("list", EMPTY, MINE)
    xen.answer("create", "", status="hang")
    with pytest.raises(hv.TimedOut, match=r"no end within 1 s .what was half started has been destroyed"):
        xen.one.start(MAIL, limit_s=1)
    assert xen.calls()[-1] == "destroy mail1"


def test_a_domain_of_the_same_name_that_is_not_ours_is_never_touched(xen: Xen, tmp_path: Path) -> None:
    xen.answer("list", recorded("xl-list-v"))
    orders: list[Callable[[], object]] = [
        lambda: xen.one.start(MAIL, limit_s=5),
        lambda: xen.one.destroy("mail1", limit_s=5),
        lambda: xen.one.shutdown("mail1", limit_s=5, destroy=True),
        lambda: xen.one.save("mail1", tmp_path / "f", limit_s=5),
        lambda: xen.one.migrate("mail1", "xen2", limit_s=5),
        lambda: xen.one.pause("mail1", limit_s=5),
        lambda: xen.one.set_memory("mail1", MIB, limit_s=5),
    ]
    for order in orders:
        with pytest.raises(hv.NotOurs):
            order()
    assert set(xen.calls()) == {"list -v"}


def test_a_halted_guest_that_nobody_clears_away_is_cleared(xen: Xen) -> None:
    xen.answer("list", MINE, HALTED)
    assert xen.one.shutdown("mail1", limit_s=60) == "shutdown"
    assert [call for call in xen.calls() if not call.startswith("list")] == ["shutdown -F mail1", "destroy mail1"]


def test_a_halted_guest_that_xl_is_still_clearing_away_is_waited_for(xen: Xen) -> None:
    """Seen on a slow host: it is listed for many seconds, and has no name any more."""
    xen.answer("list", MINE, HALTED, *[HALTED.replace("mail1", "(null)")] * 20, EMPTY)
    assert xen.one.shutdown("mail1", limit_s=60) == "shutdown"
    assert [call for call in xen.calls() if not call.startswith("list")] == ["shutdown -F mail1"]


def test_a_destroy_that_complains_has_failed_where_the_domain_is_still_there(xen: Xen) -> None:
    """Seen on a slow host, of a domain that its watcher was taking down as well."""
    xen.answer("destroy", "script: Could not find bridge, and none was specified", status="1")
    xen.answer("list", HALTED, EMPTY)
    xen.one.destroy("mail1", limit_s=10)
    xen.answer("list", HALTED)
    with pytest.raises(hv.HypervisorError, match="Could not find bridge"):
        xen.one.destroy("mail1", limit_s=10)


def test_a_guest_that_does_not_listen_is_destroyed_only_where_asked(xen: Xen) -> None:
    xen.answer("list", MINE)
    with pytest.raises(hv.TimedOut, match="did not shut down within 3 s"):
        xen.one.shutdown("mail1", limit_s=3)
    assert "destroy mail1" not in xen.calls()
    assert xen.one.shutdown("mail1", limit_s=3, destroy=True) == "destroyed"
    assert xen.calls()[-1] == "destroy mail1"


def test_a_failed_save_tells_of_the_domain_that_looks_alive(xen: Xen, tmp_path: Path) -> None:
    xen.answer("list", MINE)
    xen.answer("save", recorded("xl-save-full-disk"), status="1")
    with pytest.raises(hv.HypervisorError, match=r"No space left on device.*it is running, but nothing watches it any more"):
        xen.one.save("mail1", tmp_path / "f", limit_s=30)


def test_the_file_of_a_failed_save_is_kept_when_the_domain_is_gone(xen: Xen, tmp_path: Path) -> None:
    xen.answer("list", MINE, EMPTY)
    xen.answer("save", "killed late", status="1")
    with pytest.raises(hv.HypervisorError, match="was kept"):
        xen.one.save("mail1", tmp_path / "f", limit_s=30)


def test_only_our_own_saved_domain_is_restored(xen: Xen, tmp_path: Path) -> None:
    file = tmp_path / "f"
    head = b"Xen saved domain, xl format\n \0 \r" + bytes(20) + b'{"c_info": {"name": "mail1", "uuid": "%s"}}'
    xen.answer("list", EMPTY, EMPTY, MINE)
    file.write_bytes(head % THEIRS.encode())
    with pytest.raises(hv.WrongState, match="holds another domain; nothing was done"):
        xen.one.restore("mail1", file, limit_s=5)
    file.write_bytes(head % hv.mark("mail1").encode())
    assert xen.one.restore("mail1", file, limit_s=5).ours
    assert xen.calls()[-2] == f"restore {file}"


@pytest.mark.parametrize("rubbish", ["", "garbage\n", EMPTY + "half a li", "\x00\ufffd"])
def test_an_xl_that_prints_garbage(xen: Xen, rubbish: str) -> None:
    xen.answer("list", rubbish)
    with pytest.raises(hv.Unavailable, match="xen1: xl list"):
        xen.one.domains()


def test_only_our_domains_are_told_with_what_they_boot_from(xen: Xen) -> None:
    (xen.folder / "list.00").write_text(f"0\n{ours(recorded('xl-list-l'))}")
    (xen.folder / "list.01").write_text(f"0\n{MINE}")
    assert xen.one.kernels() == {"mail1": "/boot/domu-kernel"}
    (xen.folder / "list.00").write_text(f"0\n{recorded('xl-list-l')}")
    (xen.folder / "list.01").write_text(f"0\n{recorded('xl-list-v')}")
    assert xen.one.kernels() == {}


def test_an_xl_that_is_missing() -> None:
    with pytest.raises(hv.Unavailable, match=r"xen1: xl cannot be run: .*/nosuch/xl"):
        XlHypervisor("xen1", ("/nosuch/xl",)).domains()


def test_a_domain_that_has_just_gone(xen: Xen) -> None:
    xen.answer("list", MINE)
    xen.answer("destroy", "mail1 is an invalid domain identifier (rc=-6)\n", status="1")
    with pytest.raises(hv.NoSuchDomain):
        xen.one.destroy("mail1", limit_s=5)


def test_a_failed_migration_says_where_the_domain_is(xen: Xen) -> None:
    xen.answer("list", MINE)
    xen.answer("migrate", "ssh: connect to host xen2: No route to host\n", status="1")
    with pytest.raises(hv.HypervisorError, match=r"No route to host.*it is running here"):
        xen.one.migrate("mail1", "xen2", limit_s=5)
    xen.answer("migrate", "libxl: error: Failed to enable logdirty\n", status="1")
    with pytest.raises(hv.Unsupported, match="no folder is shared with the target"):
        xen.one.migrate("mail1", "xen2", limit_s=5)


def test_memory_is_set_in_mib_and_never_above_the_ceiling(xen: Xen) -> None:
    (xen.folder / "list.00").write_text(f"0\n{MINE}")
    (xen.folder / "list.01").write_text(f"0\n{ours(recorded('xl-list-l'))}")
    xen.one.set_memory("mail1", 110 * MIB, limit_s=5)
    assert xen.calls()[-1] == "mem-set mail1 110m"
    (xen.folder / "list.00").write_text(f"0\n{MINE}")
    with pytest.raises(hv.WrongState, match="cannot be more than 128 MiB"):
        xen.one.set_memory("mail1", 200 * MIB, limit_s=5)


@pytest.mark.parametrize(
    ("older", "newest"),
    [("", "--incoming"), ("--incoming", ""), (None, "--incoming"), (None, "")],
    ids=lambda ending: "nothing" if ending is None else ending or "plain",
)
def test_the_console_of_a_domain_that_moved_here_is_found(xen: Xen, tmp_path: Path, older: str | None, newest: str) -> None:
    """xenconsoled names its file when the domain is made, and on the way it has another name."""
    xen.answer("list", MINE)
    assert xen.one.console_log("mail1", bytes_max=100) == ""
    for at, (ending, text) in enumerate(((older, "before"), (newest, "now"))):
        if ending is not None:
            path = tmp_path / f"guest-mail1{ending}.log"
            path.write_text(text)
            os.utime(path, (at, at))
    assert xen.one.console_log("mail1", bytes_max=100) == "now"
