"""Requests to many clients: get, exec, control. Shows who answered what, and names everyone who did not."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from vmctl.failure import Exit, usage
from vmctl.queries import PROPERTY_COLUMNS, property_cells
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session, count_text
from vmctl.watch import Watch
from vmctl.wording import clean_lines, names_text, span_text, value_text

EVERYBODY = ("all", "clients")
HARMLESS_VERBS = ("ping", "hello", "properties", "history")


def get(session: Session, options: Namespace) -> int:
    """Properties from the clients themselves; --fetch makes them read anew."""
    args = {"targets": options.on, "names": options.properties, "fetch": options.fetch, "timeout": options.timeout}
    pieces, result = _gather(session, "get", args, "reading" if options.fetch else "asking")
    failed = bool(options.properties) and any(reading.get("error") for piece in pieces for reading in _readings(piece))
    if session.screen.as_json:
        return _document(session, pieces, result, failed)
    rows = [property_cells(reading, str(piece.get("client"))) for piece in pieces for reading in _readings(piece)]
    if rows:
        session.screen.table(PROPERTY_COLUMNS, rows)
    return _summary(session, result, failed=failed)


def _readings(piece: Row) -> list[Row]:
    readings = piece.get("readings")
    return [reading for reading in readings if isinstance(reading, dict)] if isinstance(readings, list) else []


RUN_COLUMNS = (
    Column("CLIENT"),
    Column("STATE"),
    Column("TOOK", keep=5, right=True),
    Column("RESULT", keep=8, flexible=True, least=30, lines=4),
)


def execute(session: Session, options: Namespace) -> int:
    """Run a command on clients; each client's own file decides whether it may."""
    _confirm(session, options, f"run `{options.command}`")
    args = {
        "targets": options.on,
        "command": options.command,
        "parameters": assignments(options.parameters),
        "timeout": options.timeout,
    }
    pieces, result = _gather(session, "exec", args, f"running {options.command}")
    if session.screen.as_json:
        return _document(session, pieces, result)
    if pieces:
        session.screen.table(RUN_COLUMNS, [_run_cells(piece) for piece in pieces])
    for piece in pieces:
        _output(session, piece)
    return _summary(session, result, pieces)


def _run_cells(piece: Row) -> list[Cell]:
    kind, reason = piece.get("kind"), piece.get("reason")
    if reason:
        known = kind if isinstance(kind, str) and kind not in ("ok", "error", "") else ""
        said = f"{known}: {reason}" if known and not str(reason).startswith(str(known)) else str(reason)
    else:
        said = _result_text(piece.get("result"))
    again = " (from the record of an earlier run)" if piece.get("repeated") else ""
    return [str(piece.get("client")), state(piece.get("state")), span_text(piece.get("elapsed")), said + again]


PRINTED = ("output", "errors")  # what a program wrote, in the result of the command `exec`: shown line by line


def _result_text(result: Any) -> str:
    """`status=0` where the result has names."""
    if isinstance(result, dict):
        return ", ".join(f"{key}={value_text(value)}" for key, value in result.items() if key not in PRINTED)
    return "" if result is None else value_text(result)


def _output(session: Session, piece: Row) -> None:
    """What the command printed, each line behind a bar, so that no output can pass for ours."""
    result = piece.get("result")
    texts = [piece.get("output"), *(result.get(key) for key in PRINTED)] if isinstance(result, dict) else [piece.get("output")]
    lines = [line for text in dict.fromkeys(str(text or "") for text in texts) for line in clean_lines(text)]
    if lines:
        session.screen.line(Styled(f"{piece.get('client')} printed:", "bold"))
    for line in lines:
        session.screen.line(Styled("  | ", "dim"), line)


CONTROL_COLUMNS = (Column("CLIENT"), Column("STATE"), Column("ANSWER", keep=8, flexible=True, least=30, lines=4))


def control(session: Session, options: Namespace) -> int:
    """Steer the client daemons themselves."""
    if options.verb not in HARMLESS_VERBS:
        _confirm(session, options, f"send `{options.verb}`")
    args = {
        "targets": options.on,
        "verb": options.verb,
        "arguments": {key: _number(value) for key, value in assignments(options.arguments).items()},
        "timeout": options.timeout,
    }
    pieces, result = _gather(session, "control", args, f"sending {options.verb}")
    if session.screen.as_json:
        return _document(session, pieces, result)
    if pieces:
        session.screen.table(CONTROL_COLUMNS, [_control_cells(piece) for piece in pieces])
    return _summary(session, result, pieces)


def _control_cells(piece: Row) -> list[Cell]:
    values = piece.get("values")
    said = [f"{key}={value_text(value)}" for key, value in values.items()] if isinstance(values, dict) else []
    reason = str(piece.get("reason") or "")
    answer = ", ".join([*([reason] if reason else []), *said])
    return [str(piece.get("client")), state(piece.get("state")), answer or ("done" if piece.get("ok") else "")]


def assignments(words: Sequence[str]) -> dict[str, Any]:
    """`key=text` and `key:=JSON` as parameters. Raises Failure."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        typed = key.endswith(":")
        key = key.removesuffix(":")
        if not equals or not key:
            raise usage(f"{word!r} is not a parameter: write key=value, or key:=JSON for a number, true, null or a list")
        if key in found:
            raise usage(f"parameter {key} is given twice")
        found[key] = _json(word, text) if typed else text
    return found


def _number(value: Any) -> Any:
    """`ticks=10` is a number for a verb; a command's parameters stay text, its client knows their types."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value) if "." in value else int(value)
    return value


def _json(word: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as fault:
        raise usage(f"{word!r}: what follows := is not JSON: {fault}") from None


def _confirm(session: Session, options: Namespace, deed: str) -> None:
    """On everybody only after a question, which says how many that are."""
    if options.yes or not any(target in EVERYBODY or not target.strip("*") for target in options.on):
        return
    number = sum(1 for row in session.rows("clients") if row.get("state") != "lost")
    session.confirm(f"vmctl: {deed} on all {count_text(number, 'client')}?", yes=False)


def _gather(session: Session, op: str, args: Row, label: str) -> tuple[list[Row], Row]:
    """All answers, by client, and the manager's summing up."""
    pieces: list[Row] = []
    watch = Watch(session.screen, label)

    def take(piece: Row) -> None:
        if isinstance(piece.get("targets"), list):
            watch.expect([str(name) for name in piece["targets"]])
        if "client" in piece:
            pieces.append(piece)
            watch.answered(str(piece["client"]))

    try:
        result = session.link.ask(op, args, on_more=take, on_slow=watch.start)
    except KeyboardInterrupt:
        watch.stop()
        session.screen.note(
            f"vmctl: interrupted; {count_text(len(pieces), 'client')} had answered, what was sent is not taken back"
        )
        raise
    finally:
        watch.stop()
    return sorted(pieces, key=lambda piece: str(piece.get("client"))), result if isinstance(result, dict) else {}


NOT_WELL = ("late", "silent", "unreachable")


def _exit(result: Row, failed: bool) -> Exit:
    return Exit.PARTIAL if failed or result.get("errors") or any(result.get(kind) for kind in NOT_WELL) else Exit.OK


def _document(session: Session, pieces: list[Row], result: Row, failed: bool = False) -> int:
    session.screen.document({"clients": pieces, **result})
    return _exit(result, failed)


def _summary(session: Session, result: Row, pieces: Sequence[Row] = (), *, failed: bool = False) -> int:
    """Who answered, in numbers; who did not, by name; what failed, unless it stands in the table of `pieces` already."""
    told = {str(piece.get("client")) for piece in pieces if piece.get("reason")}
    answered = result.get("answered")
    number = len(answered) if isinstance(answered, list) else 0
    session.screen.note(Styled(f"{count_text(number, 'client')} answered in {span_text(result.get('elapsed'))}", "dim"))
    for kind in NOT_WELL:
        if result.get(kind):
            session.screen.note(state(kind), f" ({len(result[kind])}): {names_text(sorted(result[kind], key=str))}")
    errors = result.get("errors")
    for client, text in sorted(errors.items()) if isinstance(errors, dict) else ():
        if client not in told:
            session.screen.note(Styled("error", "red"), f" {client}: {text}")
    return _exit(result, failed)
