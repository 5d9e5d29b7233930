"""What a shell gets when somebody presses TAB: names live from the manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vmctl.farm import ScriptedManager, says

BIN = Path(sys.executable).parent


def completed(line: str, folder: Path, **more: str) -> set[str]:
    """As argcomplete's shell function asks."""
    out = folder / "completions"
    env = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        **more,
    }
    subprocess.run([sys.executable, "-m", "vmctl"], env=env, check=False, capture_output=True)  # exit 1: nothing to offer
    return {word.strip() for word in out.read_text().split("\n") if word.strip()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vmctl tr", {"trigger", "triggers"}),
        ("vmctl clients ", {"xen1.pg.infn.it", "mail1.pg.infn.it", "mail2.pg.infn.it"}),
        ("vmctl clients --group d", {"dom0", "debian"}),
        ("vmctl get ram_free --on ma", {"mail1.pg.infn.it", "mail2.pg.infn.it", "mailers"}),
        ("vmctl get ra", {"ram_free"}),
        ("vmctl exec ", {"exec", "log"}),
        ("vmctl control pa", {"pause"}),
        ("vmctl trigger show ", {"ram_low", "client_query"}),
        ("vmctl silence add client:x", {"client:xen1.pg.infn.it"}),
        ("vmctl silence remove ", {"4"}),
        ("vmctl key accept ", {"new1.pg.infn.it", "new2.pg.infn.it"}),
        ("vmctl vm st", {"start", "stop"}),
        ("vmctl vm show ", {"web1", "web2", "mail1", "db1", "old1", "somebodys"}),
        ("vmctl vm start w", {"web", "web1", "web2"}),
        ("vmctl vm start a", {"all"}),
        ("vmctl vm list --group ", {"web", "db"}),
        ("vmctl vm migrate web1 --to xen2", {"xen2.pg.infn.it"}),
        ("vmctl host evacuate xen1.pg.infn.it --to xen3", {"xen3.pg.infn.it"}),
        ("vmctl host maintenance x", {"xen1.pg.infn.it", "xen2.pg.infn.it", "xen3.pg.infn.it"}),
        ("vmctl host maintenance xen1 ", {"on", "off"}),
        ("vmctl completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_names_come_from_the_farm(manager: ScriptedManager, tmp_path: Path, line: str, expected: set[str]) -> None:
    assert completed(line, tmp_path) == expected


def test_without_a_manager_nothing_is_said(world: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert completed("vmctl clients ", tmp_path, VMHERD_SOCKET=str(tmp_path / "none")) == set()


def test_a_hostile_name_is_not_offered(manager: ScriptedManager, tmp_path: Path) -> None:
    manager.scripts["clients"] = says([{"name": "a; reboot"}, {"name": "$(reboot)"}, {"name": "\x1bc"}, {"name": "good1"}])
    assert completed("vmctl clients ", tmp_path) == {"good1"}


def test_a_real_bash_completes(manager: ScriptedManager) -> None:
    script = (
        'eval "$(vmctl completion bash)"; COMP_WORDS=(vmctl trigger show ra); COMP_CWORD=3; COMP_LINE="vmctl trigger show ra";'
        'COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; $(complete -p vmctl | sed -n "s/.*-F \\([^ ]*\\).*/\\1/p") vmctl ra show;'
        'echo "${COMPREPLY[@]}"'
    )
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    ended = subprocess.run(["bash", "--norc", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["ram_low"], ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_code_for_each_shell_is_accepted_by_it(shell: str, world: pytest.MonkeyPatch) -> None:
    code = subprocess.run(
        [sys.executable, "-m", "vmctl", "completion", shell], capture_output=True, text=True, check=True
    ).stdout
    assert "vmctl" in code
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([found, "-n"], input=code, text=True, check=True)
