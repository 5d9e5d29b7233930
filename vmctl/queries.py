"""What the manager knows: status, clients, props, history, version. Asks and shows; changes nothing on the farm."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from vmctl.failure import Exit, Failure
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session, count_text
from vmctl.wording import moment_text, names_text, span_text, sparkline, value_text


def status(session: Session, options: Namespace) -> int:
    """The manager, its bus, its clients and triggers, on one screen."""
    result = session.row("status")
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.facts(
        [
            ("manager", _manager(result, session.now)),
            ("managers", _managers(result)),
            ("bus", _bus(_part(result, "bus"))),
            ("clients", _clients(_part(result, "clients"))),
            ("triggers", _triggers(_part(result, "triggers"))),
            ("store", _store(_part(result, "store"))),
            *_queues(_part(result, "queues")),
            *_dropped(_part(result, "dropped")),
        ]
    )
    return Exit.OK


def _part(result: Row, key: str) -> Row:
    part = result.get(key)
    return part if isinstance(part, dict) else {}


def _manager(result: Row, now: float) -> list[Cell]:
    started = result.get("started")
    up = f", up {span_text(now - started)}" if isinstance(started, (int, float)) else ""
    since = result.get("since_leader")
    led = f" for {span_text(since)}" if isinstance(since, (int, float)) else ""
    leads = result.get("leading")
    role = Styled(f"leads{led}", "green") if leads else Styled("stands by", "yellow")
    return [f"{result.get('name')}, ", role, f", epoch {result.get('epoch')}, version {result.get('version')}{up}"]


def _managers(result: Row) -> list[Cell]:
    names = result.get("managers")
    leader = result.get("leader")
    if not isinstance(names, list) or not names:
        return [Styled("none in the view: no manager may act", "yellow")]
    leads = f"{leader} leads" if leader else "nobody leads: no majority"
    return [names_text(names), Styled(f" ({leads})", "" if leader else "red")]


def _bus(bus: Row) -> list[Cell]:
    where = f"{bus.get('engine', '?')} at {bus.get('daemon', '?')}"
    if bus.get("connected"):
        return [Styled("connected", "green"), f" to {where} as {bus.get('name')}"]
    return [Styled("not connected", "bold red"), f" to {where}; the manager tries again by itself"]


def _clients(clients: Row) -> list[Cell]:
    cells: list[Cell] = [f"{clients.get('total', '?')}: ", Styled(f"{clients.get('connected', '?')} connected", "green")]
    if clients.get("silent"):
        cells += [", ", Styled(f"{clients['silent']} silent", "yellow")]
    if clients.get("lost"):
        cells += [", ", Styled(f"{clients['lost']} lost", "red")]
    if clients.get("pending"):
        waits = count_text(clients["pending"], "key waits", "keys wait")
        cells += [", ", Styled(f"{waits} to be accepted (vmctl key list)", "yellow")]
    return cells


def _triggers(triggers: Row) -> list[Cell]:
    cells: list[Cell] = [str(triggers.get("total", "?"))]
    for name in ("firing", "pending", "unknown", "flapping", "silenced", "disabled"):
        if triggers.get(name):
            cells += [": " if len(cells) == 1 else ", ", Styled(f"{triggers[name]} {name}", state(name).style)]
    return cells


def _store(store: Row) -> list[Cell]:
    if store.get("ok"):
        return [Styled("ok", "green"), f", {count_text(store.get('events', 0), 'event')}"]
    return [Styled(f"not written: {store.get('error')}", "bold red")]


def _queues(queues: Row) -> list[tuple[str, list[Cell]]]:
    """Only those that hold something."""
    held: list[Cell] = []
    for name, sizes in sorted(queues.items()):
        if isinstance(sizes, list) and len(sizes) == 2 and sizes[0]:
            full = sizes[1] and sizes[0] > sizes[1] / 2
            held += [", " if held else "", Styled(f"{name} {sizes[0]} of {sizes[1]}", "yellow" if full else "")]
    return [("queues", held)] if held else []


def _dropped(dropped: Row) -> list[tuple[str, list[Cell]]]:
    counts = [f"{number} {reason}" for reason, number in sorted(dropped.items()) if number]
    return [("dropped", [Styled("messages that failed a check: " + ", ".join(counts), "yellow")])] if counts else []


CLIENT_COLUMNS = (
    Column("CLIENT"),
    Column("STATE"),
    Column("LAST HEARD", right=True),
    Column("GROUPS", keep=6, flexible=True),
    Column("PROPS", keep=5, right=True),
    Column("COMMANDS", keep=3, flexible=True),
    Column("VERSION", keep=2),
    Column("ADDRESS", keep=1),
)


def clients(session: Session, options: Namespace) -> int:
    """Every client the manager has seen."""
    rows = session.rows("clients", pattern=options.pattern, group=options.group)
    narrowed = options.pattern or options.group
    nothing = "no client matches" if narrowed else "no client yet (vmctl key list shows who waits)"
    return session.listing(sorted(rows, key=_by("name")), CLIENT_COLUMNS, _client_cells, nothing)


def _client_cells(row: Row) -> list[Cell]:
    unknown = row.get("unknown")
    known = value_text(row.get("properties"))
    return [
        str(row.get("name")),
        state(row.get("state")),
        span_text(row.get("age")),
        names_text(row.get("groups")) or "-",
        Styled(f"{known} ({unknown} unknown)", "yellow") if unknown else known,
        names_text(row.get("commands"), 8) or "-",
        str(row.get("version") or "-"),
        str(row.get("address") or "-"),
    ]


PROPERTY_COLUMNS = (
    Column("CLIENT"),
    Column("PROPERTY"),
    Column("VALUE", right=True, flexible=True),
    Column("UNIT", keep=7),
    Column("AGE", keep=8, right=True),
    Column("EVERY", keep=3, right=True),
    Column("TYPE", keep=1),
    Column("NOTE", keep=6, flexible=True, lines=3),
)


def props(session: Session, options: Namespace) -> int:
    """The last values in the manager's own state; asks no client."""
    rows = session.rows("props", client=options.on, pattern=options.pattern)
    nothing = "no property matches" if options.pattern or options.on else "no property yet"
    return session.listing(sorted(rows, key=_by("client", "name")), PROPERTY_COLUMNS, _own_property_cells, nothing)


def _own_property_cells(row: Row) -> list[Cell]:
    return property_cells(row, str(row.get("client")))


def property_cells(row: Row, client: str) -> list[Cell]:
    """One reading; `age` in a row of the manager's state, `age_s` in a client's own answer."""
    ticks = row.get("ticks")
    error, stale = row.get("error"), row.get("stale")
    value = value_text(row.get("value"))
    note: Cell = Styled(str(error), "red") if error else state("stale") if stale else ""
    return [
        client,
        str(row.get("name")),
        Styled("unknown", "yellow") if error or row.get("value") is None else Styled(value, "yellow" if stale else ""),
        str(row.get("unit") or ""),
        span_text(row.get("age", row.get("age_s"))),
        span_text(ticks) if isinstance(ticks, (int, float)) and ticks > 0 else "asked",
        str(row.get("type") or ""),
        note,
    ]


def history(session: Session, options: Namespace) -> int:
    """The recorded values of one property of one client."""
    result = session.link.ask("history", {"client": options.client, "name": options.property, "since": options.since})
    samples = [pair for pair in result if isinstance(pair, list) and len(pair) == 2] if isinstance(result, list) else []
    if session.screen.as_json:
        session.screen.document(samples)
        return Exit.OK
    if not samples:
        session.screen.note("no value recorded" + (" in that time" if options.since else " yet"))
        return Exit.OK
    rows: list[list[Cell]] = [
        [
            moment_text(at, session.now),
            span_text(session.now - at),
            Styled("unknown", "yellow") if value is None else value_text(value),
        ]
        for at, value in samples
    ]
    session.screen.table((Column("TIME"), Column("AGO", right=True), Column("VALUE", right=True, flexible=True)), rows)
    _course(session, [value for _, value in samples])
    return Exit.OK


def _course(session: Session, values: list[Any]) -> None:
    line = sparkline(values, 60)
    if line:
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        session.screen.note(Styled(f"{line}  {value_text(min(numbers))} to {value_text(max(numbers))}", "dim"))


def version(session: Session, options: Namespace) -> int:
    """Both versions; the manager's only when it answers."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        own: str | None = installed("vmherd")
    except PackageNotFoundError:
        own = None
    try:
        manager: str | None = str(session.row("status").get("version"))
        why = ""
    except Failure as failure:
        manager, why = None, str(failure)
    if session.screen.as_json:
        session.screen.document({"vmctl": own, "vmmanager": manager, "why": why or None})
    else:
        session.screen.line(f"vmctl {own or 'not installed'}")
        session.screen.line(f"vmmanager {manager}" if manager else f"vmmanager not reachable: {why}")
    return Exit.OK


def _by(*keys: str) -> Any:
    return lambda row: tuple(str(row.get(key)) for key in keys)
