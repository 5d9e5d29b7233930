"""The event history, and events as they come; the reload. Knows no socket."""

from __future__ import annotations

import time
from argparse import Namespace

from vmctl.failure import Exit
from vmctl.screen import Styled
from vmctl.session import Row, Session
from vmctl.wording import moment_text

KIND_CELLS = 8
KIND_STYLES = {
    "trigger": "yellow", "firing": "bold red", "refused": "red", "silence": "cyan", "key": "magenta", "notify": "bold",
    "reload": "cyan", "request": "blue",
}  # fmt: skip


def events(session: Session, options: Namespace) -> int:
    """What happened, oldest first; -f goes on until Ctrl-C."""
    found: list[Row] = []

    def take(row: Row) -> None:
        if "kind" not in row:
            return
        if not session.screen.as_json:
            _show(session, row, time.time() if options.follow else session.now)  # with -f the day may change
        elif options.follow:
            session.screen.json_line(row)
        else:
            found.append(row)

    args = {
        "since": options.since,
        "limit": options.number,
        "kind": options.kind,
        "subject": options.subject,
        "follow": options.follow,
    }
    session.link.ask("events", args, on_more=take, follow=options.follow)
    if session.screen.as_json and not options.follow:
        session.screen.document(found)
    return Exit.OK


def _show(session: Session, row: Row, now: float) -> None:
    kind = str(row.get("kind"))
    told = str(row.get("subject") or "") in str(row.get("text"))  # most sentences name their subject
    subject = "" if told else f"{row['subject']}: "
    who = f" (by {row['who']})" if row.get("who") else ""
    session.screen.line(
        Styled(moment_text(row.get("at"), now), "dim"),
        "  ",
        Styled(kind.ljust(KIND_CELLS), KIND_STYLES.get(kind, "")),
        "  ",
        Styled(subject, "bold"),
        f"{row.get('text')}{who}",
    )


def reload(session: Session, options: Namespace) -> int:
    """Let the manager read its files again; what is wrong keeps the old configuration."""
    result = session.row("reload")
    changed = result.get("changed")
    if session.screen.as_json:
        session.screen.document(result)
    elif isinstance(changed, list) and changed:
        for sentence in changed:
            session.screen.line(str(sentence))
    else:
        session.screen.line("read again, nothing has changed")
    return Exit.OK
