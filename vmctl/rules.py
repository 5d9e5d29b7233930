"""Triggers and silences: their states, why, what they did, what they would do. Knows no socket."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from vmctl.failure import Exit, usage
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session, count_text
from vmctl.wording import ago_text, moment_at, moment_text, operands_text, source_lines, span_s, span_text, wish_text

SOURCE_BYTES_MAX = 1_048_576
FIRINGS_SHOWN = 10
URGENT = ("firing", "pending", "flapping", "unknown", "silenced", "ok", "disabled")
TRIGGER_COLUMNS = (
    Column("TRIGGER"),
    Column("STATE"),
    Column("SINCE", keep=7, right=True),
    Column("SUBJECTS", keep=4),
    Column("FIRED", keep=5, right=True),
    Column("LAST", keep=6, right=True),
    Column("SEVERITY", keep=2),
    Column("WHY", keep=8, flexible=True, least=30, lines=3),
)


def triggers(session: Session, options: Namespace) -> int:
    """All triggers, those that need attention first."""
    rows = session.rows("triggers", pattern=options.pattern)
    ordered = sorted(rows, key=lambda row: (_urgency(row.get("state")), str(row.get("name"))))
    nothing = "no trigger matches" if options.pattern else "no trigger is configured (triggers.d/*.ini)"
    return session.listing(ordered, TRIGGER_COLUMNS, lambda row: _trigger_cells(row, session.now), nothing)


def _urgency(word: Any) -> int:
    return URGENT.index(word) if word in URGENT else 0


def _trigger_cells(row: Row, now: float) -> list[Cell]:
    why = str(row.get("why") or "")
    notes = ["dry run"] if row.get("dry_run") else []
    cooldown = row.get("cooldown_until")
    if isinstance(cooldown, (int, float)) and cooldown > now:
        notes.append(f"cooling down for {span_text(cooldown - now)}")
    return [
        str(row.get("name")),
        state(row.get("state")),
        ago_text(row.get("since"), now),
        _counts(row.get("subjects")),
        str(row.get("fired", "-")),
        ago_text(row.get("last_fired"), now),
        str(row.get("severity") or ""),
        "; ".join([*([why] if why else []), *notes]),
    ]


def _counts(subjects: Any) -> str:
    """`1 firing, 4 ok`; nothing for a trigger without `each`."""
    if not isinstance(subjects, dict) or sum(n for n in subjects.values() if isinstance(n, int)) < 2:
        return ""
    ordered = sorted(subjects.items(), key=lambda item: _urgency(item[0]))
    return ", ".join(f"{number} {word}" for word, number in ordered)


def show(session: Session, options: Namespace) -> int:
    """One trigger: its code, what it says of each subject and why, what it did."""
    result = session.row("trigger", name=options.name, subject=options.subject)
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.facts(_trigger_facts(result, session.now))
    _source(session, result.get("source"))
    _subjects(session, [row for row in _list(result, "subjects") if isinstance(row, dict)])
    _firings(session, [row for row in _list(result, "firings") if isinstance(row, dict)])
    return Exit.OK


def _list(result: Row, key: str) -> list[Any]:
    found = result.get(key)
    return found if isinstance(found, list) else []


def _trigger_facts(result: Row, now: float) -> list[tuple[str, list[Cell]]]:
    since = f" for {ago_text(result.get('since'), now)}" if result.get("since") else ""
    facts: list[tuple[str, list[Cell]]] = [
        ("trigger", [str(result.get("name")), f" ({result.get('severity')})"]),
        ("defined", [str(result.get("where"))]),
        ("state", [state(result.get("state")), since]),
        ("why", [str(result.get("why") or "-")]),
        ("fired", [f"{count_text(result.get('fired', 0), 'time')}, last {moment_text(result.get('last_fired'), now)}"]),
    ]
    cooldown = result.get("cooldown_until")
    if isinstance(cooldown, (int, float)) and cooldown > now:
        facts.append(("cooldown", [f"until {moment_text(cooldown, now)}"]))
    if result.get("dry_run"):
        facts.append(("dry run", ["it says what it would do and does nothing"]))
    return facts


def _source(session: Session, source: Any) -> None:
    lines = source_lines(source)
    if lines:
        session.screen.line()
        session.screen.line(Styled("source", "bold"))
    for line in lines:
        session.screen.line("  " + line.expandtabs())


SUBJECT_COLUMNS = (
    Column("SUBJECT"),
    Column("STATE"),
    Column("SINCE", keep=6, right=True),
    Column("WHY", keep=8, flexible=True, least=30, lines=4),
    Column("VALUES", keep=5, flexible=True, lines=4),
)


def _subjects(session: Session, rows: list[Row]) -> None:
    if not rows or (len(rows) == 1 and not rows[0].get("subject")):
        return
    ordered = sorted(rows, key=lambda row: (_urgency(row.get("state")), str(row.get("subject"))))
    session.screen.line()
    session.screen.table(
        SUBJECT_COLUMNS,
        [
            [
                str(row.get("subject") or "-"),
                state(row.get("state")),
                ago_text(row.get("since"), session.now),
                str(row.get("why") or ""),
                operands_text(row.get("operands")),
            ]
            for row in ordered
        ],
    )


def _firings(session: Session, rows: list[Row]) -> None:
    if not rows:
        return
    session.screen.line()
    session.screen.line(Styled("last firings", "bold"))
    for row in rows[:FIRINGS_SHOWN]:
        _firing(session, row)
    if len(rows) > FIRINGS_SHOWN:
        session.screen.line(Styled(f"  and {len(rows) - FIRINGS_SHOWN} before these (--json has them)", "dim"))


def _firing(session: Session, row: Row) -> None:
    subject = f" {row['subject']}" if row.get("subject") else ""
    dry = " (dry run)" if row.get("dry_run") else ""
    outcome = row.get("outcome") or "no outcome yet"
    session.screen.line("  ", Styled(moment_text(row.get("at"), session.now), "bold"), f"{subject}{dry}: {outcome}")
    operands = operands_text(row.get("operands"))
    if operands:
        session.screen.line(f"    values   {operands}")
    _deeds(session, row)


def _deeds(session: Session, row: Row) -> None:
    """What the code asked for, printed and broke on."""
    for wish in _list(row, "wishes"):
        session.screen.line(f"    asked    {wish_text(wish)}")
    for line in _list(row, "printed"):
        session.screen.line(f"    printed  {line}")
    if row.get("error"):
        session.screen.line("    ", Styled(f"error    {row['error']}", "red"))


def test(session: Session, options: Namespace) -> int:
    """What a trigger says of the farm now, or over recorded time; nothing is done."""
    if options.file is None and options.name is None:
        raise usage("say which: a trigger's name, --file FILE, or both for one trigger of the file")
    args: Row = {"name": options.name, "history": options.over}
    if options.file is not None:
        args |= {"source": _read(options.file), "file": options.file}
    if options.samples is not None:
        args |= {"samples": _read(options.samples), "samples_file": options.samples}
    rows = session.rows("trigger-test", **args)
    if session.screen.as_json:
        session.screen.document(rows)
    else:
        for row in rows:
            _tested(session, row)
        fire = sum(1 for row in rows if row.get("would_fire"))
        session.screen.note(Styled(f"{count_text(len(rows), 'evaluation')}, {fire} would fire; nothing was done", "dim"))
    return Exit.PARTIAL if any(row.get("error") for row in rows) else Exit.OK


def _tested(session: Session, row: Row) -> None:
    value = row.get("value")
    subject = f" {row['subject']}" if row.get("subject") else ""
    verdict = "would fire" if row.get("would_fire") else "would not fire"
    said = Styled(str(value), STATE_OF_VALUE.get(str(value), ""))
    session.screen.line(
        Styled(moment_text(row.get("at"), session.now), "bold"), f"  {row.get('trigger')}{subject}: ", said, f", {verdict}"
    )
    operands = operands_text(row.get("operands"))
    if operands:
        session.screen.line(f"    values   {operands}")
    _deeds(session, row)


STATE_OF_VALUE = {"true": "bold red", "false": "green", "unknown": "yellow"}


def _read(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.read(SOURCE_BYTES_MAX)
        with Path(path).open(encoding="utf-8") as file:
            return file.read(SOURCE_BYTES_MAX)
    except OSError as fault:
        raise usage(f"cannot read {path}: {fault.strerror or fault}") from None
    except UnicodeDecodeError:
        raise usage(f"{path} is not UTF-8 text") from None


def enable(session: Session, options: Namespace) -> int:
    """Switch a trigger on or off, until somebody switches it back."""
    result = session.row("trigger-enable", name=options.name, enabled=options.enabled)
    if session.screen.as_json:
        session.screen.document(result)
    else:
        session.screen.line(f"{result.get('name')} is ", state("enabled" if result.get("enabled") else "disabled"))
    return Exit.OK


SILENCE_COLUMNS = (
    Column("ID"),
    Column("WHAT"),
    Column("LEFT", right=True),
    Column("UNTIL", keep=7),
    Column("WHO", keep=6),
    Column("WHY", keep=8, flexible=True, least=30, lines=3),
)


def silences(session: Session, options: Namespace) -> int:
    """What is silenced, by whom, until when."""
    rows = session.rows("silences")
    ordered = sorted(rows, key=lambda row: row["until"] if isinstance(row.get("until"), (int, float)) else 0)
    return session.listing(ordered, SILENCE_COLUMNS, lambda row: _silence_cells(row, session.now), "nothing is silenced")


def _silence_cells(row: Row, now: float) -> list[Cell]:
    until = row.get("until")
    left = span_text(until - now) if isinstance(until, (int, float)) and until > now else "over"
    return [
        str(row.get("id")), str(row.get("what")), left, moment_text(until, now),
        str(row.get("who") or "-"), str(row.get("why") or ""),
    ]  # fmt: skip


def silence(session: Session, options: Namespace) -> int:
    """Keep triggers quiet: they are evaluated and shown, but do nothing."""
    until = _end(options, session.now)
    if until <= session.now:
        raise usage(f"{options.until} lies in the past")
    result = session.row("silence", what=options.what, why=options.why, until=until)
    if session.screen.as_json:
        session.screen.document(result)
    else:
        end = moment_text(result.get("until", until), session.now)
        session.screen.line(f"{options.what} is silenced until {end}; `vmctl silence remove {result.get('id')}` ends it sooner")
    return Exit.OK


def _end(options: Namespace, now: float) -> float:
    try:
        return now + span_s(options.span) if options.span else moment_at(options.until, now)
    except ValueError as fault:
        raise usage(str(fault)) from None


def unsilence(session: Session, options: Namespace) -> int:
    """End silences before their time."""
    ended = [session.row("unsilence", id=each) for each in options.ids]
    if session.screen.as_json:
        session.screen.document(ended)
    else:
        for result in ended:
            session.screen.line(f"silence {result.get('id')} is over")
    return Exit.OK
