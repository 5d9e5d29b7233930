"""Who may speak: the keys of clients and managers, accepted, rejected and removed. Knows no socket."""

from __future__ import annotations

from argparse import Namespace
from fnmatch import fnmatchcase

from vmctl.failure import Exit, Failure
from vmctl.screen import Cell, Column, state
from vmctl.session import Row, Session, count_text
from vmctl.wording import moment_text

ATTENTION = ("changed", "pending", "rejected", "accepted")
KEY_COLUMNS = (
    Column("NAME"),
    Column("STATE"),
    Column("ROLE", keep=5),
    Column("FINGERPRINT", keep=8),
    Column("FIRST SEEN", keep=4),
    Column("DECIDED", keep=3),
    Column("BY", keep=3),
    Column("ADDRESS", keep=2),
)


def keys(session: Session, options: Namespace) -> int:
    """All keys, those that wait for a decision first."""
    rows = session.rows("key-list", state=options.state)
    nothing = f"no key is {options.state}" if options.state else "no key"
    return session.listing(sorted(rows, key=_attention), KEY_COLUMNS, lambda row: _cells(row, session.now), nothing)


def _attention(row: Row) -> tuple[int, str]:
    word = row.get("state")
    return (ATTENTION.index(word) if word in ATTENTION else 0, str(row.get("name")))


def _cells(row: Row, now: float) -> list[Cell]:
    return [
        str(row.get("name")),
        state(row.get("state")),
        str(row.get("role") or "-"),
        str(row.get("fingerprint") or "-"),
        moment_text(row.get("first_seen"), now),
        moment_text(row.get("decided"), now),
        str(row.get("who") or "-"),
        str(row.get("address") or "-"),
    ]


def decide(session: Session, options: Namespace) -> int:
    """accept, reject, remove: one name after the other, or all that a pattern matches after a question."""
    prints = _matched(session, options)
    decided = [session.row(f"key-{options.verb}", name=name, fingerprint=shown) for name, shown in prints.items()]
    if session.screen.as_json:
        session.screen.document(decided)
    else:
        for row in decided:
            word = "removed" if options.verb == "remove" else row.get("state")
            mark = f"  {row['fingerprint']}" if row.get("fingerprint") else ""
            session.screen.line(f"{row.get('name')}: ", state(word), mark)
    return Exit.OK


def _matched(session: Session, options: Namespace) -> dict[str, str | None]:
    """Names, each with the fingerprint that was shown for it: another key that came meanwhile is not meant."""
    patterns = [word for word in options.names if any(char in word for char in "*?[")]
    shown: str | None = getattr(options, "fingerprint", None)
    if shown and (patterns or len(options.names) != 1):
        raise Failure("--fingerprint is about one name", Exit.USAGE, code="usage")
    if not patterns:
        return dict.fromkeys(options.names, shown)
    wanted = {"accept": ("pending",), "reject": ("pending", "changed"), "remove": ATTENTION}[options.verb]
    rows = [row for row in session.rows("key-list") if row.get("state") in wanted]
    found = [row for row in rows if any(fnmatchcase(str(row.get("name")), word) for word in patterns)]
    if not found:
        states = " or ".join(wanted) if options.verb != "remove" else "known"
        raise Failure(f"no {states} key matches {' '.join(patterns)}", Exit.USAGE, code="no-such")
    for row in found:
        session.screen.note(f"  {row.get('name')}  {row.get('fingerprint')}  {row.get('state')}")
    session.confirm(f"vmctl: {options.verb} {count_text(len(found), 'key')}?", yes=options.yes)
    plain = [word for word in options.names if word not in patterns]
    matched = {str(row.get("name")): str(row.get("fingerprint") or "") or None for row in found}
    return dict.fromkeys(plain) | dict(sorted(matched.items()))
