"""`exec`: only listed programs, parameters matched as a whole, no shell; status, text and perfdata of real check programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.config.model import ProgramConfig, Where
from common.plugin import CommandFailed, Refused, Site, Unknown
from plugins.exec import arguments, exec_command, exec_reader

CHECKS = Path("/usr/lib/nagios/plugins")


def site(*argv: str, output_bytes_max: int = 65_536, timeout_s: float = 10.0, **patterns: str) -> Site:
    program = ProgramConfig("p", argv, Where("vmclient.ini", 1), patterns, timeout_s, output_bytes_max)
    return Site("xen1", {"p": program})


@pytest.fixture
def check(tmp_path: Path) -> Path:
    path = tmp_path / "check"
    path.write_text('#!/bin/sh\necho "$3 | x=$2;1;2"\nexit $1\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("status", "word"), [(0, "ok"), (1, "warning"), (2, "critical"), (3, "unknown"), (77, "unknown")])
def test_a_check_program_gives_its_status_text_and_perfdata(check: Path, status: int, word: str) -> None:
    got = exec_reader(
        site(str(check), str(status), "{value}", "all is {what}", value="[0-9]+", what=".*"), "p", value="5", what="so so"
    )
    assert (got["status"], got["code"], got["text"]) == (word, status, "all is so so")
    assert got["perfdata"] == {"x": {"value": 5, "unit": "", "warn": "1", "crit": "2", "min": None, "max": None}}


def test_what_is_not_listed_does_not_run() -> None:
    with pytest.raises(Refused, match=r"program q is not listed under \[programs\] of this client; there are: p"):
        exec_command(site("/bin/echo"), "q")


@pytest.mark.parametrize("value", ["a b", "ab; rm", "ab\n", "\nab", "$(id)", "-n", "", "ab\0", "A" * 5000])
def test_a_parameter_must_match_its_pattern_as_a_whole(value: str) -> None:
    with pytest.raises(Refused, match="parameter what does not match"):
        exec_command(site("/bin/echo", "{what}", what="[a-z]{1,5}"), "p", what=value)


def test_parameters_are_those_of_argv_and_each_of_a_manager_needs_a_pattern() -> None:
    with pytest.raises(Refused, match="has no parameter more"):
        exec_command(site("/bin/echo", "{what}", what=".*"), "p", what="a", more="b")
    with pytest.raises(Refused, match="needs parameter what"):
        exec_command(site("/bin/echo", "{what}", what=".*"), "p")
    with pytest.raises(Refused, match="no pattern"):
        exec_command(site("/bin/echo", "{what}"), "p", what="a")
    assert exec_reader(site("/bin/echo", "{what}"), "p", what="the file's own")["text"] == "the file's own"


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        (r"\S+", "--output=/etc/passwd", False), ("[a-z-]+", "-rf", False),
        ("[-a-z]+", "-rf", False), (".*", "-", False), (r"\S+", "a-b", True),
        (r"-?\d+", "-5", True), (r"[-+]?\d+", "-5", True), (r"(?:-4|-6)", "-6", True), (r"^\-v$", "-v", True),
        (r"\d+", "5\n", False), (r"\d+", "\u0665", False),
        (r"\d+$", "5\n", False), ("[a-z]+", "ABC", False), (".*", "a\0b", False), (".*", "a\nb", False),
    ],
)  # fmt: skip
def test_a_parameter_is_no_option_unless_its_pattern_says_so(pattern: str, value: str, fits: bool) -> None:
    program = ProgramConfig("p", ("/bin/echo", "{x}", "--x={x}"), Where("f"), patterns={"x": pattern})
    if fits:
        assert arguments(program, {"x": value}) == ["/bin/echo", value, f"--x={value}"]
    else:
        with pytest.raises(Refused):
            arguments(program, {"x": value})
    inside = ProgramConfig("p", ("/bin/echo", "--x={x}"), Where("f"), patterns={"x": r"\S+"})
    assert arguments(inside, {"x": "-rf"}) == ["/bin/echo", "--x=-rf"]


def test_no_shell_sees_a_parameter() -> None:
    got = exec_command(site("/bin/echo", "-n", "{what}", what="(?s:.*)"), "p", what="$HOME `id` ; * {what} | x")
    assert got["output"] == "$HOME `id` ; * {what} | x"


def test_a_failing_command_says_status_and_last_words() -> None:
    with pytest.raises(CommandFailed, match="p: exit status 4: no luck") as caught:
        exec_command(site("/bin/sh", "-c", "echo out; echo no luck >&2; exit 4"), "p")
    assert caught.value.result == {"status": 4, "output": "out\n", "errors": "no luck\n"}


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    script = f"sleep 983 & echo $! > {tmp_path}/child; sleep 983"
    with pytest.raises(CommandFailed, match=r"no end within 0\.5 s"):
        exec_command(site("/bin/sh", "-c", script, timeout_s=0.5), "p")
    child = int((tmp_path / "child").read_text())
    assert not os.path.exists(f"/proc/{child}") or "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
    with pytest.raises(Unknown, match=r"no end within 0\.5 s"):
        exec_reader(site("/bin/sleep", "983", timeout_s=0.5), "p")


def test_what_a_program_leaves_running_does_not_hold_the_answer_up() -> None:
    got = exec_command(site("/bin/sh", "-c", "sleep 982 & echo started"), "p")
    assert got["output"] == "started\n"


def test_output_is_cut_at_its_limit_and_a_flood_is_ended() -> None:
    got = exec_command(site("/bin/sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x", output_bytes_max=1000), "p")
    assert (len(str(got["output"])), got["cut"]) == (1000, True)
    with pytest.raises(CommandFailed, match="it wrote more than"):
        exec_command(site("/bin/cat", "/dev/zero"), "p")


def test_a_program_that_is_not_there_or_dies_is_unknown_not_ok() -> None:
    with pytest.raises(Unknown, match="/nowhere/check: No such file or directory"):
        exec_reader(site("/nowhere/check"), "p")
    with pytest.raises(Unknown, match="ended by signal 9"):
        exec_reader(site("/bin/sh", "-c", "kill -9 $$"), "p")


@pytest.mark.skipif(not CHECKS.is_dir(), reason="no monitoring-plugins in /usr/lib/nagios/plugins")
@pytest.mark.parametrize(
    ("name", "arguments", "labels"),
    [
        ("check_disk", ("-w", "1%", "-c", "1%", "-p", "/"), {"/"}),
        ("check_load", ("-w", "999,999,999", "-c", "999,999,999"), {"load1", "load5", "load15"}),
        ("check_procs", ("-w", "99999", "-c", "99999"), {"procs"}),
        ("check_dummy", ("2", "as asked"), set()),
    ],
)
def test_real_monitoring_plugins(name: str, arguments: tuple[str, ...], labels: set[str]) -> None:
    if not (CHECKS / name).exists():
        pytest.skip(f"no {name}")
    got = exec_reader(site(str(CHECKS / name), *arguments), "p")
    assert got["status"] == ("critical" if name == "check_dummy" else "ok")
    assert isinstance(got["perfdata"], dict)
    assert labels <= set(got["perfdata"])
