"""Scenario files: comment, command, `----`, what was said; `--rewrite` writes what is said now. Knows no command.

A file is paragraphs, parted by empty lines. A paragraph that begins with # is a comment. Any other is one or more lines of
commands, a line `----`, and below it what was said, until the empty line. Two spaces before a line make it part of the command
above it. The runner is one function: (command, its further lines) -> lines said.
"""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[[str, list[str]], list[str]]
RULE = "----"
NOTHING = "(nothing)"


def tell(text: str, run: Run) -> str:
    """The whole file with what is said now."""
    told = []
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.strip("\n").split("\n")
        if all(line.startswith("#") for line in lines):
            told.append("\n".join(lines))
            continue
        commands = lines[: lines.index(RULE)] if RULE in lines else lines
        said = [line for command, more in _commands(commands) for line in run(command, more)]
        told.append("\n".join([*commands, RULE, *(said or [NOTHING])]))
    return "\n\n".join(told) + "\n"


def _commands(lines: list[str]) -> list[tuple[str, list[str]]]:
    commands: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("  ") and commands:
            commands[-1][1].append(line[2:])
        elif not line.startswith("#"):
            commands.append((line, []))
    return commands
