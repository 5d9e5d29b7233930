"""What can go wrong for an operator, and the exit code of each. Knows no socket and no terminal."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of vmctl; docs/vmctl.md lists them for scripts."""

    OK = 0
    PARTIAL = 1  # some target failed or was silent, or the manager could not do it
    USAGE = 2  # a wrong command line, a name that is not there, a bad configuration
    UNREACHABLE = 3  # no manager answers, or it has no bus
    REFUSED = 4  # refused, or this manager does not lead
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it
    PIPE = 141  # 128 + SIGPIPE: whoever read our output went away


EXIT_OF_CODE = {
    "usage": Exit.USAGE,
    "unknown-op": Exit.USAGE,
    "no-such": Exit.USAGE,
    "bad-config": Exit.USAGE,
    "not-leader": Exit.REFUSED,
    "no-authority": Exit.REFUSED,
    "refused": Exit.REFUSED,
    "bus-down": Exit.UNREACHABLE,
    "partial": Exit.PARTIAL,
    "store": Exit.PARTIAL,
}
"""The codes of docs/design/0004-control-socket.md. A code that is not here comes from a newer manager: PARTIAL."""


class Failure(Exception):
    """One clear sentence for the operator, the code for programs, and further lines (`faults`) where there are several."""

    def __init__(self, text: str, exit: Exit, *, code: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.exit = exit
        self.code = code
        self.faults = faults


def usage(text: str) -> Failure:
    """The operator asked for something that makes no sense."""
    return Failure(text, Exit.USAGE, code="usage")


def unreachable(text: str) -> Failure:
    """No manager answers."""
    return Failure(text, Exit.UNREACHABLE, code="unreachable")
