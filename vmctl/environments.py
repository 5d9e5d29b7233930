"""Environments: list, show, plan, words of operators, requests for slots. Knows no socket."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from vmctl.failure import Exit, usage
from vmctl.hosts import known
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session
from vmctl.wording import moment_text, names_text, span_s, span_text

ENVIRONMENT_COLUMNS = (
    Column("ENVIRONMENT"),
    Column("WAITING", keep=8, right=True),
    Column("RUNNING", keep=6, right=True),
    Column("OLDEST", keep=4, right=True),
    Column("SLOTS", right=True),
    Column("WANTED", keep=8, right=True),
    Column("SERVING", keep=8, right=True),
    Column("IDLE", keep=6, right=True),
    Column("MIN", keep=3, right=True),
    Column("MAX", keep=3, right=True),
    Column("QUEUE", keep=2),
    Column("WHY", keep=8, flexible=True, least=20, lines=3),
)


def environments(session: Session, options: Namespace) -> int:
    """All environments, and why the mix stands still, where it does."""
    result = session.row("envs")
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    rows = [row for row in result.get("environments") or () if isinstance(row, dict)]
    if not rows:
        session.screen.note("environments.ini of the manager defines no environment")
        return Exit.OK
    session.screen.table(ENVIRONMENT_COLUMNS, [_cells(row) for row in rows])
    _stands(session, result)
    return Exit.OK


def _stands(session: Session, result: Row) -> None:
    if result.get("stands"):
        session.screen.note(Styled("the mix stays as it is", "yellow"), f": {result['stands']}")


def _cells(row: Row) -> list[Cell]:
    return [
        str(row.get("name")),
        known(row.get("waiting")),
        known(row.get("running")),
        known(row.get("oldest_wait"), span_text),
        known(row.get("slots")),
        "-" if row.get("wanted") is None else str(row["wanted"]),
        known(row.get("serving")),
        known(row.get("idle")),
        str(row.get("min", "-")),
        "-" if row.get("max") is None else str(row["max"]),
        names_text(
            [*(row.get("queue") or ()), *([row["feature"]] if row.get("feature") else []), *(row.get("user_group") or ())]
        ),
        str(row.get("why") or ""),
    ]


SLOT_COLUMNS = (
    Column("SLOT"),
    Column("STATE"),
    Column("ENVIRONMENT", keep=8),
    Column("FOR", keep=7),
    Column("SINCE", keep=4, right=True),
    Column("JOBS", keep=6, right=True),
    Column("VM", keep=5),
    Column("NODE", keep=2),
    Column("WHY", keep=8, flexible=True, least=20, lines=3),
)


def show(session: Session, options: Namespace) -> int:
    """One environment with its slots, or all slots."""
    if options.name is None:
        rows = session.rows("env-slots")
        return session.listing(
            rows,
            SLOT_COLUMNS,
            lambda row: _slot_cells(row, session.now),
            "there are no slots: no host that hosts of environments.ini names",
        )
    result = session.row("env", name=options.name)
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.facts(_facts(result, session.now))
    slots = [row for row in result.get("list") or () if isinstance(row, dict)]
    if slots:
        session.screen.line()
        session.screen.table(SLOT_COLUMNS, [_slot_cells(row, session.now) for row in slots])
    return Exit.OK


def _facts(row: Row, now: float) -> list[tuple[str, list[Cell]]]:
    if "slots" not in row:
        return [("environment", [str(row.get("name"))]), ("why", [str(row.get("why"))])]
    oldest = row.get("oldest_wait")
    waits = f", the oldest for {span_text(oldest)}" if isinstance(oldest, (int, float)) and oldest > 0 else ""
    states = row.get("states") if isinstance(row.get("states"), dict) else {}
    facts: list[tuple[str, list[Cell]]] = [
        ("environment", [str(row.get("name"))]),
        ("jobs", [known(row.get("waiting")), " wait", waits, ", ", known(row.get("running")), " run"]),
        (
            "slots",
            [
                f"{row.get('slots')}, wanted {row.get('wanted', '-')}, {row.get('serving')} serve, ",
                known(row.get("idle")),
                " idle",
            ],
        ),
        ("states", [", ".join(f"{count} {name}" for name, count in (states or {}).items()) or "-"]),
        ("limits", [f"min {row.get('min')}, max {'-' if row.get('max') is None else row['max']}"]),
        ("template", [str(row.get("template"))]),
    ]
    if row.get("paused_until"):
        facts.append(("paused", [Styled(f"until {moment_text(row['paused_until'], now)}", "yellow")]))
    return facts + ([("why", [str(row["why"])])] if row.get("why") else [])


def _slot_cells(row: Row, now: float) -> list[Cell]:
    since = row.get("since")
    return [
        str(row.get("slot")),
        state(row.get("state")),
        str(row.get("environment") or "-"),
        str(row.get("target") or "-"),
        span_text(now - since) if isinstance(since, (int, float)) else "-",
        "-" if row.get("node_state") is None else str(row.get("jobs")),
        str(row.get("vm") or "-"),
        str(row.get("node") or "-"),
        str(row.get("why") or ""),
    ]


def plan(session: Session, options: Namespace) -> int:
    """What would be decided now. Nothing is done."""
    result = session.row("env-plan")
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.line(f"policy {result.get('policy')}")
    for line in result.get("lines") or ():
        session.screen.line(str(line))
    if not result.get("moves") and not result.get("stands"):
        session.screen.line("nothing is to be moved")
    if result.get("unclaimed"):
        session.screen.note(f"{result['unclaimed']} waiting jobs are of no environment")
    _stands(session, result)
    return Exit.OK


# --- words of operators -----------------------------------------------------------------------------------------------------


def freeze(session: Session, options: Namespace) -> int:
    return _said(session, session.row("env-freeze", why=options.why), "the mix stays as it is; what is under way goes on")


def thaw(session: Session, options: Namespace) -> int:
    return _said(session, session.row("env-thaw"), "the mix follows the queues again")


def exclude(session: Session, options: Namespace) -> int:
    result = session.row("env-exclude", hosts=options.hosts, why=options.why)
    return _said(session, result, f"excluded: {names_text(result.get('excluded'))}; their slots go when their jobs have ended")


def include(session: Session, options: Namespace) -> int:
    result = session.row("env-include", hosts=options.hosts)
    return _said(session, result, f"environments may use them again: {names_text(result.get('included'))}")


def release(session: Session, options: Namespace) -> int:
    result = session.row("env-release", names=options.names)
    return _said(session, result, f"tried again: {names_text(result.get('released'))}")


def _said(session: Session, result: Row, text: str) -> int:
    if session.screen.as_json:
        session.screen.document(result)
    else:
        session.screen.line(text)
    return Exit.OK


# --- requests ---------------------------------------------------------------------------------------------------------------

REQUEST_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("ENVIRONMENT"),
    Column("SLOTS", right=True),
    Column("FROM", keep=8),
    Column("UNTIL", keep=8),
    Column("WHO", keep=6),
    Column("GROUP", keep=4),
    Column("DECIDED BY", keep=3),
    Column("WHY", keep=5, flexible=True, least=20, lines=3),
)


def request(session: Session, options: Namespace) -> int:
    begins = options.begins if options.begins is not None else session.now
    result = session.row(
        "env-request",
        environment=options.environment,
        slots=options.slots,
        begins=begins,
        ends=options.ends if options.span is None else begins + _span(options.span),
        group=options.group,
        why=options.why,
    )
    waits = ", and waits for an approval" if result.get("state") == "pending" else ""
    return _said(session, result, f"request {result.get('id')}: {result.get('state')}{waits}")


def _span(text: str) -> float:
    try:
        return span_s(text)
    except ValueError as fault:
        raise usage(str(fault)) from None


def requests(session: Session, options: Namespace) -> int:
    rows = session.rows("env-requests", all=options.all)
    return session.listing(rows, REQUEST_COLUMNS, lambda row: _request_cells(row, session.now), "no slots are asked for")


def _request_cells(row: Row, now: float) -> list[Cell]:
    def text(key: str) -> str:
        return str(row.get(key) or "-")

    times: list[Any] = [moment_text(row.get(key), now) for key in ("begins", "ends")]
    return [
        text("id"), state(row.get("state")), text("environment"), text("slots"), *times, text("who"), text("group"),
        text("decided_by"), str(row.get("why") or ""),
    ]  # fmt: skip


def decide(session: Session, options: Namespace) -> int:
    result = session.row(f"env-{options.verb}", id=options.id)
    return _said(session, result, f"request {result.get('id')}: {result.get('state')}")
