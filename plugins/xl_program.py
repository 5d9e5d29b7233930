"""One call of `xl`: a limit on its time, its failures as the contract's errors. Knows which program, not what for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from common.hypervisor import AlreadyThere, DoesNotFit, HypervisorError, NoSuchDomain, TimedOut, Unavailable
from common.program import Finished, NotStarted, run_program
from plugins.xl_output import reason

OUTPUT_BYTES_MAX = 16 * 1024 * 1024
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Xl:
    """`argv` begins every call: the program's path, and before it what it is run with (sudo)."""

    host: str
    argv: tuple[str, ...] = ("xl",)

    def run(self, vm: str, *arguments: str, limit_s: float) -> Finished:
        """The call as it ended. Raises TimedOut and Unavailable.

        Detached: `xl create` and `xl restore` leave a process that watches the domain; it must not die with the call."""
        try:
            done = run_program(
                [*self.argv, *arguments], timeout_s=max(0.1, limit_s), output_bytes_max=OUTPUT_BYTES_MAX, detached=True
            )
        except NotStarted as fault:
            raise Unavailable(self.host, vm, f"xl cannot be run: {fault}") from None
        if done.status is None:
            raise TimedOut(self.host, vm, f"xl {arguments[0]}: {done.why}")
        return done

    def do(self, vm: str, *arguments: str, limit_s: float) -> str:
        """Its output. Raises what the failure means."""
        done = self.run(vm, *arguments, limit_s=limit_s)
        if done.status != 0:
            raise self.failure(vm, arguments[0], done)
        return done.output

    def failure(self, vm: str, verb: str, done: Finished) -> HypervisorError:
        said = done.errors + done.output
        if "is an invalid domain identifier" in said:
            return NoSuchDomain(self.host, vm)
        if "already exists" in said:
            return AlreadyThere(self.host, vm, "says xl")
        why = f"xl {verb}: {reason(said)} (exit status {done.status})"
        if "Out of memory" in said or "not enough free memory" in said or "failed to free memory" in said:
            return DoesNotFit(self.host, vm, why)
        return HypervisorError(self.host, vm, why)

    def read(self, vm: str, parse: Callable[[str], _T], *arguments: str, limit_s: float) -> _T:
        """Raises Unavailable where the answer is not understood."""
        text = self.do(vm, *arguments, limit_s=limit_s)
        try:
            return parse(text)
        except ValueError as fault:
            raise Unavailable(self.host, vm, str(fault)) from None
