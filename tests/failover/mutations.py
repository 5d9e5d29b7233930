"""A suite that cannot notice a removed safety line is worth nothing: removes each line marked `# safety:`, shows what notices.

python -m tests.failover.mutations [--only TEXT] [--seconds N] [--processes N] prints the table of docs/design/0040. Each mutant
is a copy of the project in a temporary folder, in which one condition is never true, or one statement is not there; then
scenarios are played until one tells another story: first the one that the table names, then those of its topic (the short ones
first), then the tests of its core are run, then all other scenarios are played, and after them chaos, for some seconds of
computing.
"""

from __future__ import annotations

import argparse
import ast
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = ROOT / "docs/design/0040-failover.md"
FOLDERS = ("common", "plugins", "vmmanager", "vmclient", "sim", "tests")
PLAYED = ("common/leases.py", "common/words.py", "common/leasewords.py", "vmmanager/", "vmclient/guard_", "vmclient/lease.py")
PLAYED_TOO = ("vmclient/executions.py", "vmclient/controls.py", "common/envelope.py")
NOT_PLAYED = (
    "vmmanager/triggers/",
    "vmmanager/environments/",
    "vmclient/guard_files.py",
)  # files and code that no scenario has
MARK = "# safety"
WITHOUT = {
    "dog.armed and held and now": "dog.armed and now",
    "sent is not None and n > self._granted_n": "sent is not None",
    "self.since + lease_over_s(self.terms)": "self.since",
    "tuple(sorted(dark))": "()",
    "Beat(mark, ended)": "Beat(mark, began)",
}
"""Where the whole condition never true, or the statement not there, is no danger: the part of it that is."""

PLAY = """
import os, re, subprocess, sys
from itertools import count
from pathlib import Path
from sim.chaos import results
from sim.failover.story import Story
from sim.scenario import tell
end, topics, tests, (kind, _, last) = float(sys.argv[1]), sys.argv[2].split(), sys.argv[3].split(), sys.argv[4].partition(" ")

def noticed(what):
    print(what)
    sys.exit(1)

def over():
    return sum(os.times()[:4]) > end  # chaos plays in children

def stories(paths):
    for path in paths:
        try:
            told = tell(path.read_text(), Story().run)
        except Exception as fault:
            told = repr(fault)
        if told != path.read_text():
            noticed(f"scenario {path.parent.name}/{path.stem}" + (" (TWICE)" if "RUNS TWICE" in told else ""))
        if over():
            break

def waits_s(path):
    return sum(float(seconds) for seconds in re.findall(r"^wait ([\\d.]+)", path.read_text(), re.MULTILINE))

def tested(*words):
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests, *words]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode not in (0, 5):  # 5: there is no such test
        failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        noticed(f"test {failed[0].split()[1].split('::')[-1]}" if failed else ran.stdout[-200:])

paths = sorted(Path("tests/failover/scenarios").glob("*/*.txt"), key=waits_s)
if kind == "scenario":  # "(TWICE)" may follow
    stories([path for path in paths if f"{path.parent.name}/{path.stem}" == last.split()[0]])
if kind == "test" and tests:
    tested("-k", last.partition("[")[0])
stories([path for path in paths if path.parent.name in topics])
if tests:
    tested()
stories([path for path in paths if path.parent.name not in topics])
try:
    for result in results(count(1), 12):
        if result.outcome.failed:
            noticed(f"chaos, seed {result.seed} ({result.outcome})")
        if over():
            break
except Exception as fault:  # of a farm that comes up
    noticed(f"chaos ({fault!r})")
print(f"nobody notices ({result.seed} schedules)")
"""


FIRST = {
    "storage": ("storage",),
    "claim": ("storage",),
    "words": ("leadership", "late_orders"),
    "authority": ("leadership", "late_orders"),
    "controls": ("leadership", "late_orders"),
    "executions": ("late_orders", "migration", "guard"),
    "lease": ("leases", "guard", "late_orders"),
    "guard": ("guard", "watchdog"),
    "dispatch": ("late_orders", "migration", "disks"),
    "safety": ("comeback", "late_orders", "migration"),
    "keeper": ("comeback", "leases"),
    "proof": ("watchdog", "storage"),
    "watch": ("comeback", "leadership"),
    "protection": ("comeback", "migration"),
}
"""Part of a path or a line -> topics of the scenarios that are played first."""

TESTS = {
    "common/words.py": "tests/failover/test_authority.py",
    "common/lease": "tests/failover/test_leases.py tests/failover/test_rules.py",
    "failover/authority.py": "tests/failover/test_authority.py",
    "vmclient/controls.py": "tests/guard/test_host_leases.py",
    "vmclient/executions.py": "tests/guard/test_host_leases.py tests/client/test_executions.py",
    "vmclient/guard_": "tests/guard/test_guard_core.py",
    "vmclient/lease.py": "tests/guard/test_host_leases.py",
    "vmmanager/keybook.py": "tests/manager/test_hostile.py",
    "vmmanager/manager.py": "tests/manager/test_hostile.py",
    "vmmanager/acting.py": "tests/manager/test_scenarios.py",
    "vmmanager/operations.py": "tests/manager/test_scenarios.py",
    "vmmanager/requests.py": "tests/manager/test_requests.py",
    "vmmanager/vms/safety.py": "tests/vms/test_sightings.py",
    "failover/watch.py": "tests/failover/test_watch.py",
    "failover/sequence.py": "tests/failover/test_watch.py",
    "failover/proof.py": "tests/failover/test_rules.py tests/failover/test_watch.py",
}
"""Part of a path -> the tests of that core."""


def first(mutant: Mutant) -> str:
    found = [topics for word, topics in FIRST.items() if word in mutant.path or word in mutant.text]
    return " ".join(found[0]) if found else ""


def tests(mutant: Mutant) -> str:
    return next((files for word, files in TESTS.items() if word in mutant.path), "")


def last(mutant: Mutant) -> str:
    """What noticed it when the table was made."""
    rows = (line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| "))
    return next((row[1].replace("`", "") for row in rows if row[0] == mutant.label and len(row) == 2), "")


@dataclass(frozen=True, slots=True)
class Mutant:
    path: str
    line: int
    text: str  # of the line, as it is
    source: str  # of the file, mutated

    @property
    def label(self) -> str:
        """As the table names it: what the comment says, or else the code."""
        code, _, why = self.text.partition(MARK)
        return f"{self.path}: {why.strip(': ') or f'`{code.strip()}`'}"


def mutants() -> Iterator[Mutant]:
    for path in sorted(ROOT.glob("*/**/*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith((*PLAYED, *PLAYED_TOO)) and not name.startswith(NOT_PLAYED):
            yield from of_file(name, path.read_text())


def of_file(name: str, source: str) -> Iterator[Mutant]:
    lines = source.split("\n")
    for number, line in enumerate(lines, 1):
        if MARK in line and line.split(MARK)[0].strip():
            for mutated in (_never(source, number), _without(source, number)):
                if mutated is not None:
                    yield Mutant(name, number, line.strip(), mutated)
                    break


def _never(source: str, number: int) -> str | None:
    """The condition that is marked is never true."""
    for line, instead in WITHOUT.items():
        if line in source.split("\n")[number - 1]:
            lines = source.split("\n")
            lines[number - 1] = lines[number - 1].replace(line, instead)
            return "\n".join(lines)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.For) and node.lineno == number:
            return _replaced(source, node.iter, "()")
        if isinstance(node, ast.If) and node.test.lineno <= number <= (node.test.end_lineno or 0):
            return _replaced(source, node.test, "False")
        if isinstance(node, ast.If) and node.lineno <= number < node.body[0].lineno:
            return _replaced(source, node.test, "False")
    return None


def _without(source: str, number: int) -> str | None:
    """The statement that is marked is not there; of one that returns a number, sooner: 0."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= number <= (node.end_lineno or 0) and not hasattr(node, "body"):
            if isinstance(node, ast.Return):
                return _replaced(source, node, "pass" if node.value is None else _less(source, node))
            return _replaced(source, node, "pass")
    return None


def _less(source: str, node: ast.Return) -> str:
    value = ast.get_source_segment(source, node.value) if node.value else ""
    if isinstance(node.value, (ast.BoolOp, ast.Compare, ast.UnaryOp)):
        return f"return not ({value})"
    return f"return ({value}) * 0.5"


def _replaced(source: str, node: ast.expr | ast.stmt, new: str) -> str:
    lines = source.split("\n")
    start, end = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    before = lines[start].encode()[: node.col_offset].decode()
    after = lines[end].encode()[node.end_col_offset or 0 :].decode()
    return "\n".join([*lines[:start], before + new + after, *lines[end + 1 :]])


def notices(mutant: Mutant, seconds: float) -> str:
    """What notices it."""
    with tempfile.TemporaryDirectory() as folder:
        for each in FOLDERS:
            shutil.copytree(ROOT / each, Path(folder) / each, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        (Path(folder) / mutant.path).write_text(mutant.source)
        command = [sys.executable, "-c", PLAY, str(seconds), first(mutant), tests(mutant), last(mutant)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout.strip() or f"it does not even start: {done.stderr.strip().splitlines()[-1:]}"


def _row(said: str) -> str:
    """`said` in a cell: what noticed it as code."""
    kind, _, name = said[:200].partition(" ")
    name, space, more = name.partition(" ")
    return f"{kind} `{name}`{space}{more}" if kind in ("scenario", "test") else said[:200]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="of files, or lines, with this in it")
    parser.add_argument("--seconds", type=float, default=60.0, help="of computing, for one mutant")
    parser.add_argument("--processes", type=int, default=2)
    wanted = parser.parse_args()
    found = [each for each in mutants() if wanted.only in each.path or wanted.only in each.text]
    unnoticed = 0
    with ThreadPoolExecutor(wanted.processes) as pool:
        for mutant, said in zip(found, pool.map(lambda each: notices(each, wanted.seconds), found), strict=True):
            unnoticed += said.startswith("nobody")
            print(f"| {mutant.label} | {_row(said)} |", flush=True)
    print(f"mutations: {len(found)} lines, {unnoticed} that nobody notices")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
