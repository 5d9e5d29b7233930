"""The labs' scenarios: text files that speak to the farm through `vmctl` alone, and what must be said. Knows no lab.

    # A comment.
    $ vmctl vm start web1              a command; it must end with 0
    1$ vmctl vm start big1             with 1
    60s$ vmctl vm list                 again and again until all below holds, for 60 s at most
    1,60s$ vmctl vm start big1         the same, and with 1
    &ping$ vmctl exec ...              goes on in the background ...
    wait ping                          ... until here, with what it said
    $ lab kill xen1                    what happens to the farm: done by the lab itself, which says what it has done
      web1 .* running                  must be found in what was said: a regular expression; a blank stands for several, too
      ! lost                           must not

Waits are stretched by what the machine needs: emulation on a busy machine is slow, not wrong.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = re.compile(r"(?:(?:(?P<code>\d+)(?:,|(?=\$)))?(?:(?P<within>\d+)s)?|&(?P<name>\w+))\$ (?P<words>(?:vmctl|lab) .+)")
WAIT = re.compile(r"wait (?P<name>\w+)")
COMMAND_S = 400.0
AGAIN_S = 1.0


class ScenarioFault(Exception):
    """The text cannot be read, or the farm does not do what it says. Names file and line."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command and what is expected of it. `words` begin with `vmctl` or `lab`; empty: the command `name` that goes on is
    waited for."""

    line: int
    words: tuple[str, ...]
    code: int = 0
    within_s: float = 0.0
    name: str = ""
    wanted: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)

    def fault(self, code: int, said: str) -> str:
        """What is not as it should be; empty where all is."""
        if code != self.code:
            return f"it ended with {code}, not {self.code}"
        for pattern in self.wanted:
            if not _found(pattern, said):
                return f"not said: {pattern}"
        return next((f"said: {pattern}" for pattern in self.unwanted if _found(pattern, said)), "")


Vmctl = Callable[[tuple[str, ...]], "subprocess.Popen[str]"]
Lab = Callable[[tuple[str, ...]], tuple[int, str]]  # exit code, and what there is to say


def head(path: Path, word: str) -> list[str]:
    """What the scenario wants its lab to have: the rest of its first line, where that begins with `# WORD:`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = f"# {word}:"
    return lines[0].removeprefix(begin).split() if lines and lines[0].startswith(begin) else []


def parse(path: Path) -> list[Step]:
    """Raises ScenarioFault."""
    steps: list[Step] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("  ") and steps:
            pattern = line.strip()
            (steps[-1].unwanted if pattern.startswith("! ") else steps[-1].wanted).append(pattern.removeprefix("! "))
        elif found := COMMAND.fullmatch(line):
            words = tuple(shlex.split(found["words"]))
            steps.append(Step(number, words, int(found["code"] or 0), float(found["within"] or 0), found["name"] or ""))
        elif waits := WAIT.fullmatch(line):
            steps.append(Step(number, (), name=waits["name"]))
        else:
            raise ScenarioFault(f"{path.name}:{number}: not understood: {line}")
    return steps


def play(path: Path, vmctl: Vmctl, show: Callable[[str], None], lab: Lab) -> None:
    """Raises ScenarioFault."""

    def run(words: tuple[str, ...]) -> tuple[int, str]:
        return lab(words[1:]) if words[0] == "lab" else _ended(vmctl(words[1:]))

    going: dict[str, subprocess.Popen[str]] = {}
    try:
        for step in parse(path):
            show(f"{path.stem}:{step.line}: {shlex.join(step.words) if step.words else 'wait ' + step.name}")
            if step.words and step.name:
                going[step.name] = vmctl(step.words[1:])
                continue
            fault, said = _until(step, run) if step.words else _waited(step, going)
            if fault:
                raise ScenarioFault(f"{path.name}:{step.line}: {fault}\n{said}")
    finally:
        for process in going.values():
            process.kill()
            process.wait()


def _waited(step: Step, going: dict[str, subprocess.Popen[str]]) -> tuple[str, str]:
    if step.name not in going:
        return f"nothing called {step.name} goes on", ""
    code, said = _ended(going.pop(step.name))
    return step.fault(code, said), said


def _until(step: Step, run: Lab) -> tuple[str, str]:
    end = time.monotonic() + step.within_s
    while True:
        code, said = run(step.words)
        fault = step.fault(code, said)
        if not fault or time.monotonic() > end:
            return fault, said
        time.sleep(AGAIN_S)


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=COMMAND_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        return 124, f"{said}\n(stopped after {COMMAND_S:.0f} s)"
    return process.returncode, said


def _found(pattern: str, said: str) -> bool:
    return re.search(re.sub(r" +", r"[ \\t]+", pattern), said, re.MULTILINE) is not None
