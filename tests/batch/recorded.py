"""Programs of a batch system that print what was recorded, and note how they were called. Not a batch system: it forgets."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from plugins.batch_program import Programs

RECORDED = Path(__file__).parent.parent / "recorded"
SCRIPT = """\
#!{python}
import pathlib, sys
here, name = pathlib.Path(__file__).parent, pathlib.Path(__file__).name
with (here / "calls").open("a") as file:
    file.write(repr([name, *sys.argv[1:]]) + "\\n")
for words, text in {answers!r}:
    if all(word in sys.argv for word in words):
        sys.stdout.write(text)
        sys.exit(0)
if {silent!r}:
    sys.exit(0)
sys.exit("usage: " + name)
"""


class Recorded:
    """`add("qstat", ("-f", "json"), text)`: it prints this when called with these words among others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._answers: dict[str, list[tuple[tuple[str, ...], str]]] = {}

    def add(self, program: str, words: tuple[str, ...], text: str) -> None:
        self._answers.setdefault(program, []).insert(0, (words, text))
        self._write(program, silent=False)

    def obeys(self, *programs: str) -> None:
        """They print nothing, and end well."""
        for program in programs:
            self._answers.setdefault(program, [])
            self._write(program, silent=True)

    def _write(self, program: str, *, silent: bool) -> None:
        path = self.folder / program
        path.write_text(SCRIPT.format(python=sys.executable, answers=self._answers[program], silent=silent))
        path.chmod(0o700)

    @property
    def programs(self) -> Programs:
        return Programs("head", self.folder)

    def orders(self, *programs: str) -> list[list[str]]:
        """The calls of these, and of no other."""
        lines = (self.folder / "calls").read_text().splitlines() if (self.folder / "calls").exists() else []
        return [call for call in map(ast.literal_eval, lines) if call[0] in programs]


def text(name: str) -> str:
    return (RECORDED / name).read_text()
