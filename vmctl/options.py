"""What the options of all commands have in common: how a command is added, completed names, lengths of time, sizes, numbers."""

from __future__ import annotations

import argparse
import time
from argparse import ArgumentParser
from typing import Any

from common.config.values import BYTES, size
from vmctl.completion import Completer
from vmctl.link import DEFAULT_FOLDER
from vmctl.wording import moment_at, span_s

Commands = Any  # argparse keeps the type of add_subparsers to itself


def common(parser: ArgumentParser, *, top: bool = False) -> None:
    """--json and --socket, before the command or after it."""
    absent = None if top else argparse.SUPPRESS
    parser.add_argument(
        "--json",
        action="store_true",
        default=False if top else absent,
        help="one JSON document instead of tables, for programs",
    )
    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=absent,
        help=f"the manager's socket, or its folder (default: VMHERD_SOCKET, else {DEFAULT_FOLDER})",
    )


def command(commands: Commands, name: str, help: str, run: str | None) -> ArgumentParser:
    """`run` is module:function below vmctl, loaded when it is called: most of them are not."""
    made: ArgumentParser = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
    made.set_defaults(run=run, help_of=made)
    common(made)
    return made


def completed(parser: ArgumentParser, *names: str, by: str, **settings: Any) -> None:
    """An argument whose values the shell completes live from the manager; `by` says which kind of names."""
    action = parser.add_argument(*names, **settings)
    action.completer = Completer(by)  # type: ignore[attr-defined]


def add_yes(parser: ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask for confirmation")


def span(text: str) -> float:
    try:
        return span_s(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def moment(text: str) -> float:
    try:
        return moment_at(text, time.time())
    except ValueError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from None


def number(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def memory_size(text: str) -> int:
    """Bytes: `512M`, `2G`; hypervisors count in M."""
    try:
        count = size(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size (write 512M or 2G)") from None
    if not count or count % BYTES["M"]:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of M (write 512M or 2G)")
    return count
