"""Virtual machines and hosts as an operator sees them: every command at two widths and as JSON, questions, failures, exits."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.vmctl.conftest import Vmctl
from tests.vmctl.farm import Line, ScriptedManager, pieces, refuses, says
from tests.vmctl.farm_vms import HOSTS, MIB, VM_COMMANDS, VMS
from tests.vmctl.test_screens import check, story
from vmctl.board import Board
from vmctl.failure import Failure
from vmctl.link import Link
from vmctl.operation import matched
from vmctl.progress import lines

LIMIT_S = 30.0


@pytest.mark.parametrize("width", [80, 120])
def test_every_table_at_a_terminals_width(
    vmctl: Vmctl, manager: ScriptedManager, world: pytest.MonkeyPatch, width: int
) -> None:
    world.setenv("COLUMNS", str(width))
    text = story(vmctl, VM_COMMANDS)
    assert [line for line in text.splitlines() if len(line) > width and not line.startswith(("$", "2>"))] == []
    check(f"vms-{width}.txt", text)


def test_every_answer_as_json(vmctl: Vmctl, manager: ScriptedManager) -> None:
    check("vms-json.txt", story(vmctl, VM_COMMANDS, "--json"))


@pytest.mark.parametrize(
    ("command", "op", "args"),
    [
        ("vm list", "vms", {"foreign": False}),
        ("vm list web* --on xen1 --group web --foreign", "vms",
         {"pattern": "web*", "host": "xen1", "group": "web", "foreign": True}),
        ("vm start web* --on xen1 -y", "vm-start", {"names": ["web*"], "host": "xen1"}),
        ("vm stop a b -y", "vm-stop", {"names": ["a", "b"], "destroy": True, "now": False}),
        ("vm stop a -y --limit 2m --no-destroy", "vm-stop", {"names": ["a"], "limit": 120.0, "destroy": False, "now": False}),
        ("vm migrate web1 --on xen2", "vm-migrate", {"names": ["web1"], "host": "xen2"}),
        ("vm migrate web1", "vm-migrate", {"names": ["web1"]}),
        ("vm memory web1 1536M", "vm-memory", {"names": ["web1"], "memory_bytes": 1536 * MIB}),
        ("vm cancel all", "vm-cancel", {"names": ["all"]}),
        ("vm console-log web1 -n 10", "vm-console", {"name": "web1", "bytes": 4000}),
        ("vm console-log web1 -n 1000000", "vm-console", {"name": "web1", "bytes": MIB}),
        ("host maintenance xen1 off", "host-maintenance", {"name": "xen1", "on": False}),
        ("host evacuate xen1 -y", "host-evacuate", {"name": "xen1", "why": "evacuation", "dry_run": False}),
        ("host evacuate xen1 --to a b --why disks --dry-run", "host-evacuate",
         {"name": "xen1", "to": ["a", "b"], "why": "disks", "dry_run": True}),
    ],
)  # fmt: skip
def test_what_is_sent_to_the_manager(vmctl: Vmctl, manager: ScriptedManager, command: str, op: str, args: Line) -> None:
    vmctl(*command.split())
    assert manager.asked[-1] == (op, args)


def test_a_failure_is_told_whole_and_makes_exit_1(vmctl: Vmctl, manager: ScriptedManager, world: pytest.MonkeyPatch) -> None:
    world.setenv("COLUMNS", "60")
    code, out, err = vmctl("vm", "start", "web1", "bad1", "bad2")
    assert code == 1
    for vm in ("bad1", "bad2"):
        assert f"failed {vm} on xen1.pg.infn.it: the bridge br9 is not there (nothing is left)" in err
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["bad1", "failed"], ["bad2", "failed"], ["web1", "done"]]
    assert "start: 1 of 3 VMs done in 1.5s" in err
    assert vmctl("vm", "start", "bad1", "--json")[0] == 1


@pytest.mark.parametrize(("code", "exit"), [("refused", 4), ("not-leader", 4), ("no-such", 2), ("bus-down", 3)])
def test_a_refusal_has_its_exit_code(vmctl: Vmctl, manager: ScriptedManager, code: str, exit: int) -> None:
    manager.scripts["vm-stop"] = refuses(code, "web9: no such VM or group")
    assert vmctl("vm", "stop", "web9") == (exit, "", "vmctl: web9: no such VM or group\n")


def test_what_stays_or_is_under_way_already_makes_exit_1(vmctl: Vmctl, manager: ScriptedManager) -> None:
    code, _, err = vmctl("host", "evacuate", "xen1", "-y")
    assert code == 1
    assert "stays db1: no host has 8 GiB free" in err
    manager.scripts["vm-cancel"] = says({"cancelled": [], "running": ["web1"]})
    code, out, _ = vmctl("vm", "cancel", "web1")
    assert (code, out) == (1, "under way already, it goes on: web1\n")


@pytest.mark.parametrize(
    "command",
    ["vm stop all", "vm start web*", "vm stop web", "vm stop web1 --now", "vm migrate w*1 web", "vm pause all",
     "host evacuate xen1"],
)  # fmt: skip
def test_what_is_harsh_or_means_many_is_not_done_without_a_yes(
    vmctl: Vmctl, manager: ScriptedManager, world: pytest.MonkeyPatch, command: str
) -> None:
    with open(os.devnull) as nobody:
        world.setattr(sys, "stdin", nobody)
        code, _, err = vmctl(*command.split())
        assert code == 2
        assert "say --yes" in err
        assert all(op == "vms" or args.get("dry_run") for op, args in manager.asked)
        assert vmctl(*command.split(), "-y")[0] in (0, 1)
    assert manager.asked[-1][0] not in ("vms",)


@pytest.mark.parametrize("command", ["vm stop web1", "vm start web1 web2", "vm stop mail*", "vm pause nobody", "vm cancel all"])
def test_what_was_typed_name_by_name_needs_no_question(vmctl: Vmctl, manager: ScriptedManager, command: str) -> None:
    assert vmctl(*command.split())[0] == 0


def test_words_stand_for_vms_as_the_manager_reads_them() -> None:
    assert matched("web", VMS) == ["web1", "web2"]
    assert matched("*1", VMS) == ["db1", "mail1", "old1", "web1"]
    assert matched("all", VMS) == ["db1", "mail1", "old1", "web1", "web2"]  # never the domain of somebody else
    assert matched("somebodys", VMS) == matched("nobody", VMS) == []


def test_unknown_is_never_zero_and_says_why(vmctl: Vmctl, manager: ScriptedManager) -> None:
    lost = next(line for line in vmctl("host", "list")[1].splitlines() if line.startswith("xen3"))
    assert lost.split("  ")[0] == "xen3.pg.infn.it"
    assert lost.count("unknown") >= 6
    assert "it left the bus" in lost
    manager.scripts["host"] = says(HOSTS[2] | {"list": None})
    out, err = vmctl("host", "show", "xen3.pg.infn.it")[1:]
    assert "unknown free of unknown" in out
    assert "what runs there is not known: it left the bus" in err
    old = next(line for line in vmctl("vm", "list")[1].splitlines() if line.startswith("old1"))
    assert old.split()[1:3] == ["unknown", "unknown"]


def test_held_and_failed_say_what_to_do(vmctl: Vmctl, manager: ScriptedManager) -> None:
    manager.scripts["vm"] = says(VMS[2])
    assert "`vmctl vm start mail1` starts it, `vmctl vm stop mail1` agrees" in vmctl("vm", "show", "mail1")[1]
    manager.scripts["vm"] = says(VMS[3])
    assert "`vmctl vm start db1` tries again" in vmctl("vm", "show", "db1")[1]


def test_detached_it_goes_when_all_tasks_are_taken_and_tells_what_was_refused(vmctl: Vmctl, manager: ScriptedManager) -> None:
    release = threading.Event()

    def script(args: Line) -> Iterator[Line | bytes]:
        yield {"more": {"vms": ["a", "b"]}}
        yield {"more": {"vm": "a", "state": "queued"}}
        yield {"more": {"vm": "b", "state": "failed", "text": "a start is under way already"}}
        release.wait(LIMIT_S)

    manager.scripts["vm-start"] = script
    code, out, err = vmctl("vm", "start", "a", "b", "--detach")
    release.set()
    assert (code, out) == (1, "")
    assert err.splitlines()[-2:] == [
        "start of 1 VM is under way: `vmctl vm list` shows it",
        "failed b: a start is under way already",
    ]


def test_a_manager_that_dies_meanwhile_leaves_a_hint(vmctl: Vmctl, manager: ScriptedManager) -> None:
    def script(args: Line) -> Iterator[Line | bytes]:
        yield {"more": {"vms": ["a", "b"]}}
        yield {"more": {"vm": "a", "state": "done"}}

    manager.scripts["vm-start"] = script
    code, _, err = vmctl("vm", "start", "a", "b")
    assert code == 3
    assert "the manager is gone; 1 of 2 VMs had ended, the rest goes on\n  `vmctl vm list` shows it" in err
    assert "closed the connection before it had answered" in err


def test_a_long_silence_is_no_fault_while_the_manager_answers_others(manager: ScriptedManager) -> None:
    release = threading.Event()

    def script(args: Line) -> Iterator[Line | bytes]:
        release.wait(LIMIT_S)
        yield {"ok": True, "result": {}}

    def status(args: Line) -> Iterator[Line | bytes]:
        release.set()
        yield {"ok": True, "result": {}}

    manager.scripts |= {"vm-start": script, "status": status}
    link = Link(manager.path, answer_s=0.2)
    assert link.ask("vm-start", patient=True) == {}
    link.close()


def test_a_manager_that_answers_nobody_is_given_up(manager: ScriptedManager) -> None:
    release = threading.Event()

    def script(args: Line) -> Iterator[Line | bytes]:
        release.wait(LIMIT_S)
        yield {"ok": True, "result": {}}

    manager.scripts |= {"vm-start": script, "status": script}
    link = Link(manager.path, answer_s=0.2)
    with pytest.raises(Failure, match="hangs or is stopped"):
        link.ask("vm-start", patient=True)
    link.close()
    release.set()


@pytest.mark.parametrize(
    ("command", "says_what"),
    [
        ("vm memory web1 512", "'512' is no whole number of M"),
        ("vm memory web1 big", "'big' is not a size"),
        ("vm stop", "NAME"),
        ("vm stop a --now --limit 2m", "not allowed with"),
        ("host evacuate xen1 --stop --dry-run", "not allowed with"),
        ("host evacuate xen1 --stop --to xen2", "--stop"),
        ("host maintenance xen1 on", "--why"),
        ("host maintenance xen1 maybe", "invalid choice"),
        ("vm", "usage"),
        ("host", "usage"),
    ],
)
def test_a_wrong_command_line_is_exit_2(vmctl: Vmctl, manager: ScriptedManager, command: str, says_what: str) -> None:
    code, out, err = vmctl(*command.split())
    assert code == 2
    assert says_what in out + err
    assert manager.asked == []


def test_the_plan_of_an_empty_host_is_said(vmctl: Vmctl, manager: ScriptedManager) -> None:
    manager.scripts["host-evacuate"] = pieces({}, {"plan": [], "stays": {}})
    assert vmctl("host", "evacuate", "xen1", "--dry-run") == (0, "", "no VM has to move\n")
    assert json.loads(vmctl("host", "evacuate", "xen1", "--dry-run", "--json")[1]) == {"plan": [], "stays": {}}


PIECES = st.fixed_dictionaries(
    {
        "vm": st.sampled_from("abcd"),
        "state": st.sampled_from(["queued", "running", "done", "failed", None, "other"]),
        "share": st.one_of(st.none(), st.floats(), st.text(max_size=2)),
        "elapsed": st.one_of(st.none(), st.floats(0, 1e6)),
    }
)


@given(st.lists(PIECES), st.booleans())
def test_the_board_counts_each_vm_once(drawn: list[Line], named: bool) -> None:
    board = Board()
    if named:
        board.expect(list("abcdef"))
    for piece in drawn:
        board.take(piece, 0.0)
    last = {piece["vm"]: piece["state"] for piece in drawn}
    shown = board.shown()
    assert shown.total == (6 if named else len(last))
    assert [shown.done, shown.failed] == [[*last.values()].count(word) for word in ("done", "failed")]
    assert [line.vm for line in shown.running] == [*dict.fromkeys(line.vm for line in shown.running)]
    assert {line.vm for line in shown.running} == {vm for vm, word in last.items() if word == "running"}
    assert shown.done + shown.failed + len(shown.running) + shown.queued == shown.total


def drawn_lines(number: int, width: int, share: float | None = 0.42) -> list[str]:
    """What a terminal of this width shows of so many running migrations, 3 at most by name."""
    board = Board()
    board.expect([f"web{each}" for each in range(number + 2)])
    for each in range(number):
        where = {"host": "xen1", "target": "xen2"}
        board.take({"vm": f"web{each}", "state": "running", "share": share, "text": "copies memory", **where}, 10.0 + each)
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as seen:
        console.print(lines(board.shown(), "migrate", 0.0, 100.0, width, 3))
    return seen.get().splitlines()


def test_running_vms_have_a_line_each_and_the_rest_is_counted() -> None:
    seen = drawn_lines(5, 100)
    assert seen[0].rstrip() == "migrate: 0 of 7 done, 5 at work, 2 waiting  1m40s"
    assert [line.split()[0] for line in seen[1:]] == ["web0", "web1", "web2", "and"]
    assert seen[-1].rstrip() == "and 2 more"
    for word in ("-> xen2", "42%", "1m30s", "copies memory", "━"):
        assert word in seen[1]


def test_without_a_share_there_is_a_moving_bar_and_no_percentage() -> None:
    assert "%" not in "".join(drawn_lines(1, 100, None))


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_live_lines_leave_room_for_what_the_terminal_echoes(width: int) -> None:
    seen = drawn_lines(5, width)
    assert len(seen) == 5
    assert all(len(line.rstrip() + "^C") < width for line in seen)
