"""What an operator does with VMs: start, stop, reboot, pause, unpause, save, restore, migrate, memory, cancel."""

from __future__ import annotations

import shlex
from argparse import Namespace
from typing import Any

from vmctl.failure import Exit, usage
from vmctl.operation import Operation, meant, operate
from vmctl.screen import Styled
from vmctl.session import Row, Session
from vmctl.wording import names_text


def change(session: Session, options: Namespace) -> int:
    """start, reboot, pause, unpause, save, restore, migrate: `options.deed`, on names; where `on` is given, there."""
    more = {"discard": True} if getattr(options, "discard", False) else {}
    return _operate(session, options, f"vm-{options.deed}", host=getattr(options, "on", None), **more)


def stop(session: Session, options: Namespace) -> int:
    """Ask the guests, and destroy after the limit; --now destroys at once, and asks first."""
    if options.now and options.no_destroy:
        raise usage("--now destroys, --no-destroy does not: say one of the two")
    args = {"limit": options.limit, "destroy": not options.no_destroy, "now": options.now}
    return _operate(session, options, "vm-stop", harsh=options.now, **args)


def memory(session: Session, options: Namespace) -> int:
    """Another size of memory, up to what the definition allows."""
    return _operate(session, options, "vm-memory", memory_bytes=options.size)


def _operate(session: Session, options: Namespace, op: str, *, harsh: bool = False, **args: Any) -> int:
    question = "destroy, without asking the guests," if harsh else options.deed
    names = meant(session, options.names, question, yes=options.yes, harsh=harsh)
    ends = f"vmctl vm cancel {shlex.join(options.names)}"
    operation = Operation(op, {"names": names, **args}, options.deed, ends)
    return operate(session, operation, detach=options.detach)


def cancel(session: Session, options: Namespace) -> int:
    """Take queued tasks back; what runs already ends by itself."""
    result = session.row("vm-cancel", names=options.names)
    if session.screen.as_json:
        session.screen.document(result)
    else:
        _tell_cancelled(session, result)
    return Exit.PARTIAL if result.get("running") else Exit.OK


def _tell_cancelled(session: Session, result: Row) -> None:
    cancelled, running = result.get("cancelled"), result.get("running")
    if cancelled:
        session.screen.line(f"taken back: {names_text(cancelled)}")
    if running:
        session.screen.line(Styled("under way already, it goes on: ", "yellow"), names_text(running))
    if not cancelled and not running:
        session.screen.note("nothing was queued")
