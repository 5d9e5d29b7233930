"""The lab's scenario files are read as written, and what is not as they say is told with file and line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from xenlab.kinds import Kind, wanted
from xenlab.scenario import ScenarioFault, parse, play

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "xenlab" / "scenarios").glob("*.txt"))


def echo(words: tuple[str, ...]) -> subprocess.Popen[str]:
    """Says its words; `fails` among them: ends with 1."""
    code = "import sys; print(' '.join(sys.argv[1:])); sys.exit('fails' in sys.argv)"
    return subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)


def played(folder: Path, text: str) -> list[str]:
    path = folder / "story.txt"
    path.write_text(text)
    said: list[str] = []
    play(path, echo, said.append, lambda words: (int("fails" in words), " ".join(words)))
    return said


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_scenarios_can_be_read(path: Path) -> None:
    assert wanted(path, Kind())
    assert [step for step in parse(path) if step.wanted or step.unwanted]


def test_what_is_said_is_compared(tmp_path: Path) -> None:
    said = played(
        tmp_path, "# a comment\n$ vmctl vm  list\n  vm list\n  ! lost\n1$ vmctl fails\n&x$ vmctl later on\nwait x\n  later\n"
    )
    assert said == ["story:2: vmctl vm list", "story:5: vmctl fails", "story:6: vmctl later on", "story:7: wait x"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("$ vmctl a\n  b\n", "story.txt:1: not said: b"),
        ("$ vmctl a\n  ! a\n", "story.txt:1: said: a"),
        ("$ vmctl fails\n", "story.txt:1: it ended with 1, not 0"),
        ("$ lab fails\n", "story.txt:1: it ended with 1, not 0"),
        ("$ lab kill xen1\n  kill xen2\n", "story.txt:1: not said: kill xen2"),
        ("1s$ vmctl a\n  b\n", "story.txt:1: not said: b"),
        ("1,1s$ vmctl a\n  a\n", "story.txt:1: it ended with 0, not 1"),
        ("wait nobody\n", "story.txt:1: nothing called nobody goes on"),
        ("\nrm -rf /\n", "story.txt:2: not understood: rm -rf /"),
    ],
)
def test_a_fault_names_file_and_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ScenarioFault) as raised:
        played(tmp_path, text)
    assert str(raised.value).startswith(fault)
