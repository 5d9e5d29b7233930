"""vmctl, the operator's command line: parses, asks the manager over its unix socket, shows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from vmctl.arguments import completing, parse, parser
from vmctl.failure import Exit, Failure
from vmctl.link import Link, socket_path
from vmctl.screen import Screen, Styled
from vmctl.session import Session


def main() -> int:
    """The exit code; docs/vmctl.md lists them."""
    if completing():
        from vmctl.completion import complete

        complete(parser())
    try:
        code = run(sys.argv[1:], time.time())
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains while it ends
        return Exit.PIPE


def run(words: Sequence[str], now: float) -> int:
    """One command at this wall-clock time."""
    options = parse(words)
    session = Session(Link(socket_path(options.socket)), Screen(as_json=options.json), now)
    try:
        module, _, function = options.run.partition(":")
        return int(getattr(import_module(f"vmctl.{module}"), function)(session, options))
    except Failure as failure:
        return _failed(session.screen, failure)
    finally:
        session.link.close()


def _failed(screen: Screen, failure: Failure) -> int:
    """Say it: to people on standard error; with --json also as the one document."""
    screen.note(Styled("vmctl: ", "bold red"), str(failure))
    for fault in failure.faults:
        screen.note(f"  {fault}")
    if screen.as_json:
        screen.document({"error": str(failure), "code": failure.code, "faults": list(failure.faults)})
    return failure.exit


if __name__ == "__main__":
    sys.exit(main())
