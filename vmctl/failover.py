"""Fail-over for the operator: status, proof, room, and the words that the manager believes. Knows no socket."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import Any

from vmctl.failure import Exit, Failure, usage
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session, count_text
from vmctl.wording import moment_text, names_text, span_text

HOST_COLUMNS = (
    Column("HOST"),
    Column("STATE"),
    Column("FOR", keep=7, right=True),
    Column("ASKED", keep=6, right=True),
    Column("WATCHDOG", keep=5, right=True),
    Column("STORAGE", keep=3),
    Column("FENCES", keep=4),
    Column("PROTECTED", keep=8, flexible=True, least=12),
    Column("WHY", keep=8, flexible=True, least=20, lines=3),
)


def status(session: Session, options: Namespace) -> int:
    """Who may act, and how it stands with each host."""
    result = session.row("ha-status")
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.facts(_facts(result, session.now))
    hosts = [row for row in result.get("hosts") or () if isinstance(row, dict)]
    session.screen.line()
    if hosts:
        session.screen.table(HOST_COLUMNS, [_cells(row) for row in hosts])
    else:
        session.screen.note("no host has asked for a lease (they do when a VM has `protect = yes`)")
    return Exit.OK


def _facts(row: Row, now: float) -> list[tuple[str, list[Cell]]]:
    voters, needed = row.get("voters") or [], row.get("needed")
    may: list[Cell] = ["yes"] if row.get("acting") else [Styled("no", "red"), f": {row.get('why_not')}"]
    facts: list[tuple[str, list[Cell]]] = [
        ("leader", [str(row.get("leader") or "nobody")]),
        ("this one acts", may),
        ("words", [f"{needed} of {names_text(voters)} are needed" if len(voters) > 1 else "it is the only manager"]),
    ]
    disarmed, storage = row.get("disarmed"), row.get("storage")
    if isinstance(disarmed, dict):
        text = f"by {disarmed.get('by')}, {moment_text(disarmed.get('since'), now)}: {disarmed.get('why')}"
        facts.append(("disarmed", [Styled(text, "yellow")]))
    if row.get("storm"):
        facts.append(("storm", [Styled(f"silent at once: {names_text(row['storm'])}", "bold red"), "; `vmctl ha confirm`"]))
    if row.get("grace_left"):
        facts.append(("grace", [f"nobody is declared dead for {span_text(row['grace_left'])}"]))
    if isinstance(storage, dict):
        facts.append(("storage", [Styled(str(storage["error"]), "red") if storage.get("error") else "readable"]))
    if row.get("strangers"):
        text = f"{names_text(row['strangers'])}: seen on the bus, and not in `managers`: nothing is restarted"
        facts.append(("strangers", [Styled(text, "red")]))
    facts.append(("protected", [names_text(row.get("protected") or [], 10) or "no VM (protect = yes in vms.ini)"]))
    if row.get("rescued"):
        facts.append(("to be restarted", [names_text(row["rescued"], 10)]))
    return facts


def _cells(row: Row) -> list[Cell]:
    watchdog = span_text(row.get("watchdog_s")) if row.get("watchdog_s") else "none"
    return [
        str(row.get("name")),
        state(row.get("state")),
        span_text(row.get("since")),
        span_text(row.get("asked")) if row.get("asked") is not None else "never",
        f"{watchdog}{' armed' if row.get('armed') else ''}",
        "yes" if row.get("storage") else "no",
        names_text(row.get("fences") or []) or "none",
        names_text(row.get("protected") or [], 5),
        str(row.get("why") or ""),
    ]


STEP_COLUMNS = (
    Column("SECONDS", right=True),
    Column("WHAT IS SO BY THEN", keep=8, flexible=True, least=30, lines=3),
    Column("SUM", keep=5, flexible=True, least=20, lines=3),
)


def timeline(session: Session, options: Namespace) -> int:
    """The worst case for the configured numbers."""
    result = session.row("ha-timeline")
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    for part in result.get("parts") or ():
        session.screen.line(Styled(f"{part.get('name')}", "bold"))
        steps = [step for step in part.get("steps") or () if isinstance(step, dict)]
        session.screen.table(
            STEP_COLUMNS, [[f"{_number(step.get('at_s')):.2f}", str(step.get("text")), str(step.get("sum"))] for step in steps]
        )
        session.screen.line()
    return Exit.OK


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


FAILURE_COLUMNS = (
    Column("HOSTS THAT DIE"),
    Column("VM", keep=8),
    Column("WHY IT FINDS NO HOST", keep=7, flexible=True, least=30, lines=4),
)


def capacity(session: Session, options: Namespace) -> int:
    """Exit code 1 where a protected VM would be left over."""
    result = session.row("ha-capacity", hosts=options.hosts)
    failures = [each for each in result.get("failures") or () if isinstance(each, dict)]
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.PARTIAL if failures else Exit.OK
    hosts, tried = count_text(result.get("hosts"), "host"), count_text(result.get("tried"), "sequence")
    if not failures:
        how = "" if result.get("all") else f" (only {tried} were looked at)"
        session.screen.line(f"every protected VM finds a host when {hosts} die one after the other{how}")
        return Exit.OK
    rows: list[list[Cell]] = [
        [" then ".join(each["hosts"]), str(vm), str(why)] for each in failures for vm, why in sorted(each["left"].items())
    ]
    session.screen.table(FAILURE_COLUMNS, rows)
    session.screen.note(Styled("not enough room", "yellow"), f" for {hosts} to die ({tried} looked at)")
    return Exit.PARTIAL


# --- an operator's words --------------------------------------------------------------------------------------------------


def arm(session: Session, options: Namespace) -> int:
    return _said(session, session.row("ha-arm"), "fail-over is armed")


def disarm(session: Session, options: Namespace) -> int:
    result = session.row("ha-disarm", why=options.why)
    return _said(session, result, "fail-over is disarmed: nothing is restarted or fenced until `vmctl ha arm`; leases go on")


def confirm(session: Session, options: Namespace) -> int:
    storm = session.row("ha-status").get("storm") or []
    if storm:
        session.confirm(f"vmctl: are these hosts gone indeed: {names_text(storm)}?", yes=options.yes)
    result = session.row("ha-confirm")
    return _said(session, result, f"confirmed: {names_text(result.get('confirmed') or [])}")


def failback(session: Session, options: Namespace) -> int:
    result = session.row("ha-failback", name=options.name)
    left = result.get("left") or {}
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.PARTIAL if left else Exit.OK
    moving = names_text(result.get("moving") or [])
    session.screen.line(f"move back: {moving}" if moving else "no VM has to move back")
    for vm, why in sorted(left.items()):
        session.screen.note(Styled("stays", "yellow"), f" {vm}: {why}")
    return Exit.PARTIAL if left else Exit.OK


def fence(session: Session, options: Namespace) -> int:
    """Waits until the device has answered."""
    session.confirm(f"vmctl: cut the power of {options.name} now?", yes=options.yes)
    result = session.row("host-fence", name=options.name)
    if session.screen.as_json:
        session.screen.document(result)
    else:
        for text in result.get("said") or ():
            session.screen.note(str(text))
        session.screen.line(f"{options.name}: ", state("ok") if result.get("off") else state("failed"))
    return Exit.OK if result.get("off") else Exit.PARTIAL


def confirm_dead(session: Session, options: Namespace) -> int:
    """The manager believes it, so the name is typed a second time."""
    again = options.again or _typed(options.name)
    if again != options.name:
        raise Failure(f"{again!r} is not {options.name}: nothing was done", Exit.USAGE, code="usage")
    result = session.row("host-confirm-dead", name=options.name, again=again)
    return _said(session, result, f"{options.name} counts as dead: its VMs start elsewhere")


def _typed(name: str) -> str:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise usage(f"say the name again: --again {name}")
    sys.stderr.write(f"If {name} still runs its VMs they will run twice, and their disks will be destroyed.\nType its name: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _said(session: Session, result: Row, text: str) -> int:
    if session.screen.as_json:
        session.screen.document(result)
    else:
        session.screen.line(text)
    return Exit.OK


# --- why ------------------------------------------------------------------------------------------------------------------


def why(session: Session, options: Namespace) -> int:
    """The sentences of the manager, and every host with why it is not the one."""
    result = session.row("vm-why", name=options.name)
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.line(Styled(options.name, "bold"), ": ", state(result.get("state")), f" {result.get('host') or ''}")
    for text in result.get("said") or ():
        session.screen.line(f"  {text}")
    placement = result.get("placement")
    if isinstance(placement, dict):
        session.screen.line(f"  were it placed now: {placement.get('host') or 'nowhere'} ({placement.get('why')})")
        for host, reason in sorted((placement.get("rejected") or {}).items()):
            session.screen.line(f"    not {host}: {reason}")
    return Exit.OK
