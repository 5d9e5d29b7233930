"""What a scenario's first line says of its lab, and which scenarios are played on the same one."""

from __future__ import annotations

from pathlib import Path

import pytest

from xenlab.kinds import Kind, grouped, wanted
from xenlab.scenario import ScenarioFault


def story(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        ("# A story.", Kind(hosts=3)),
        ("# lab: managers=3", Kind(hosts=3, managers=3)),
        ("# lab: fences hosts=1 lease=12", Kind(hosts=1, fences=True, lease_s=12)),
        ("# lab: disks", Kind(hosts=3, disks=True)),
    ],
)
def test_a_scenario_says_what_its_lab_has(tmp_path: Path, first: str, kind: Kind) -> None:
    assert wanted(story(tmp_path, "a.txt", f"{first}\n$ lab twice\n"), Kind(hosts=3)) == kind


@pytest.mark.parametrize("word", ["hosts=4", "managers=0", "managers=two", "fence", "fences=1"])
def test_a_lab_that_cannot_be_is_refused_with_file_and_line(tmp_path: Path, word: str) -> None:
    with pytest.raises(ScenarioFault, match=rf"^a.txt:1: there is no lab with {word}"):
        wanted(story(tmp_path, "a.txt", f"# lab: {word}\n"), Kind())


def test_scenarios_that_want_the_same_lab_share_one(tmp_path: Path) -> None:
    plain, other, again = (
        story(tmp_path, name, text) for name, text in (("1.txt", "# a\n"), ("2.txt", "# lab: managers=3\n"), ("3.txt", ""))
    )
    assert grouped([plain, other, again], Kind()) == {Kind(): [plain, again], Kind(managers=3): [other]}
