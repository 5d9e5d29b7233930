"""What the manager knows of virtual machines: list, show, render, console-log. Asks and shows; changes nothing."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from vmctl.board import where_text
from vmctl.failure import Exit
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session, count_text
from vmctl.wording import ago_text, clean_lines, moment_text, share_text, size_text, span_text

EVENTS_SHOWN = 8
CONSOLE_LINE_BYTES = 400  # asked of the host for each wanted line; boot messages are shorter
CONSOLE_BYTES_MAX = 1_048_576
VM_COLUMNS = (
    Column("VM"),
    Column("STATE"),
    Column("HOST", keep=8),
    Column("WANTED", keep=7),
    Column("SINCE", keep=6, right=True),
    Column("MEMORY", keep=5, right=True),
    Column("CPUS", keep=4, right=True),
    Column("GROUP", keep=4),
    Column("IMAGE", keep=1),
    Column("WHY", keep=8, flexible=True, least=24, lines=4),
)


def vms(session: Session, options: Namespace) -> int:
    """All VMs and their states."""
    rows = session.rows("vms", pattern=options.pattern, host=options.on, group=options.group, foreign=options.foreign)
    narrowed = options.pattern or options.on or options.group
    nothing = "no VM matches" if narrowed else "no VM is defined (vms.ini)"
    ordered = sorted(rows, key=lambda row: str(row.get("name")))
    code = session.listing(ordered, VM_COLUMNS, lambda row: _cells(row, session.now), nothing)
    if rows and not session.screen.as_json:
        session.screen.note(Styled(_counts(rows), "dim"))
    return code


def _counts(rows: list[Row]) -> str:
    """`12 VMs: 9 running, 2 stopped, 1 failed`."""
    words = [str(row.get("state")) for row in rows]
    ordered = sorted(set(words), key=lambda word: (-words.count(word), word))
    return f"{count_text(len(rows), 'VM')}: " + ", ".join(f"{words.count(word)} {word}" for word in ordered)


def _cells(row: Row, now: float) -> list[Cell]:
    foreign = row.get("foreign")
    return [
        str(row.get("name")),
        state(row.get("state")),
        str(row.get("host") or ("unknown" if row.get("state") == "unknown" else "-")),
        state("foreign") if foreign else str(row.get("wanted") or "-"),
        ago_text(row.get("since"), now),
        size_text(row.get("memory_bytes")),
        _number(row.get("vcpus")),
        str(row.get("group") or "-"),
        str(row.get("image") or "-"),
        _remark(row),
    ]


def _remark(row: Row) -> Cell:
    """What is being done, or what holds it, or why it is as it is."""
    task, held = row.get("task"), row.get("held")
    if isinstance(task, dict):
        return Styled(task_text(task), "cyan")
    if held:
        return Styled(f"held: {held_text(held)}", "yellow")
    return str(row.get("why") or "")


def held_text(held: Any) -> str:
    return held if isinstance(held, str) else "somebody stopped it without us"


def task_text(task: Row) -> str:
    """`migrate to xen2, 42%: copies memory`."""
    head = str(task.get("op") or "task") + (f" to {task['target']}" if task.get("target") else "")
    share = share_text(task.get("share"))
    return (f"{head}, {share}" if share else head) + (f": {task['text']}" if task.get("text") else "")


def _number(value: Any) -> str:
    return "unknown" if value is None else str(value)


def show(session: Session, options: Namespace) -> int:
    """All that one wants to know of one VM."""
    result = session.row("vm", name=options.name)
    events: list[Row] = []
    asked = {"subject": options.name, "limit": EVENTS_SHOWN, "follow": False}
    session.link.ask("events", asked, on_more=lambda row: events.append(row) if "kind" in row else None)
    if session.screen.as_json:
        session.screen.document({**result, "events": events})
        return Exit.OK
    session.screen.facts(
        [
            ("vm", [str(result.get("name")), *_belongs(result)]),
            *_state_facts(result, session.now),
            *_domain_facts(result.get("domain")),
            *_definition_facts(result.get("definition")),
            *_seen_facts(result.get("seen")),
            *_placement_facts(result.get("placement")),
            *_event_facts(events, session.now),
        ]
    )
    return Exit.OK


Facts = list[tuple[str, list[Cell]]]


def _belongs(row: Row) -> list[Cell]:
    if row.get("foreign"):
        return [" (not ours: it is never touched)"]
    parts = [f"group {row['group']}"] if row.get("group") else []
    if row.get("priority") is not None:
        parts.append(f"priority {row['priority']}")
    return [f" ({', '.join(parts)})"] if parts else []


def _state_facts(row: Row, now: float) -> Facts:
    where = where_text(row)
    since = ago_text(row.get("since"), now)
    facts: Facts = [
        ("state", [state(row.get("state")), f" on {where}" if where else "", f" for {since}" if since != "-" else ""]),
        ("wanted", _wanted(row)),
    ]
    if row.get("why") and row.get("why") != row.get("held"):
        facts.insert(1, ("why", [str(row["why"])]))
    task = row.get("task")
    if isinstance(task, dict):
        facts.append(("task", [Styled(task_text(task), "cyan"), f", begun {ago_text(task.get('since'), now)} ago"]))
    if row.get("restarts"):
        facts.append(("restarts", [str(row["restarts"])]))
    if row.get("held"):
        again = f"; `vmctl vm start {row.get('name')}` starts it, `vmctl vm stop {row.get('name')}` agrees"
        facts.append(("held", [Styled(held_text(row["held"]), "yellow"), again]))
    elif row.get("state") == "failed":
        facts.append(("what to do", [f"`vmctl vm start {row.get('name')}` tries again and forgets the restarts"]))
    return facts


def _wanted(row: Row) -> list[Cell]:
    by = row.get("wanted_by")
    says = "as vms.ini has it" if by == "file" else f"ordered by {by}" if by else "by nobody"
    return [str(row.get("wanted") or "unknown"), f" ({says})"]


def _domain_facts(domain: Any) -> Facts:
    if not isinstance(domain, dict):
        return [("domain", ["none is listed"])]
    number = f"number {domain['number']}, " if domain.get("number") is not None else ""
    sizes = f"{size_text(domain.get('memory_bytes'))}, {_number(domain.get('vcpus'))} vcpus"
    used = f", {span_text(domain.get('cpu_s'))} of CPU used"
    note = f"; {domain['note']}" if domain.get("note") else ""
    return [("domain", [state(domain.get("state")), f", {number}{sizes}{used}{note}"])]


def _definition_facts(definition: Any) -> Facts:
    if not isinstance(definition, dict):
        return [("definition", ["none: it is not in vms.ini"])]
    most = f" (at most {size_text(definition['memory_max_bytes'])})" if definition.get("memory_max_bytes") else ""
    head = f"{definition.get('type')}, {size_text(definition.get('memory_bytes'))}{most}, {definition.get('vcpus')} vcpus"
    facts: Facts = [("definition", [head])]
    for key in ("image", "kernel", "initrd", "cmdline"):
        if definition.get(key):
            facts.append((f"  {key}", [str(definition[key])]))
    if definition.get("native"):
        facts.append(("  config", ["a hand-written file of its own (vmctl vm render shows it)"]))
    facts += [("  network", [_network(each)]) for each in _objects(definition.get("networks"))]
    return facts + [("  disk", [_disk(each)]) for each in _objects(definition.get("disks"))]


def _objects(value: Any) -> list[Row]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _network(network: Row) -> str:
    vlan = f", vlan {network['vlan']}" if network.get("vlan") else ""
    return f"bridge {network.get('bridge')}{vlan}, mac {network.get('mac')}"


def _disk(disk: Row) -> str:
    return f"{disk.get('device')}: {disk.get('path')} ({disk.get('form')}{', read only' if disk.get('read_only') else ''})"


def _seen_facts(seen: Any) -> Facts:
    """Where hosts list it; a host that cannot say stands there as unknown."""
    facts: Facts = [
        ("seen on", [f"{each.get('host')}: ", state(each.get("state")), f", {span_text(each.get('age'))} ago"])
        for each in _objects(seen)
    ]
    return facts or [("seen on", ["no host"])]


def _placement_facts(placement: Any) -> Facts:
    if not isinstance(placement, dict):
        return []
    host, why = placement.get("host"), placement.get("why")
    facts: Facts = [("would go to", [str(host) if host else Styled("no host", "red"), f": {why}" if why else ""])]
    rejected = placement.get("rejected")
    for name, reason in sorted(rejected.items()) if isinstance(rejected, dict) else ():
        facts.append((f"  not {name}", [str(reason)]))
    return facts


def _event_facts(events: list[Row], now: float) -> Facts:
    return [
        ("last events" if not place else "", [Styled(moment_text(row.get("at"), now), "dim"), f"  {_event(row)}"])
        for place, row in enumerate(events)
    ]


def _event(row: Row) -> str:
    return f"{row.get('text')} (by {row['who']})" if row.get("who") else str(row.get("text"))


def render(session: Session, options: Namespace) -> int:
    """What the host would hand to its hypervisor to start this VM."""
    result = session.row("vm-render", name=options.name, host=options.on)
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.note(Styled(f"{result.get('vm')} as {result.get('host')} would start it ({result.get('kind')})", "dim"))
    _whole_text(session, clean_lines(str(result.get("text") or "")))
    return Exit.OK


def _whole_text(session: Session, lines: list[str]) -> None:
    """A text of the host or the guest: behind a bar on a terminal, so that it cannot pass for ours; elsewhere as it is."""
    bar = Styled("| ", "dim") if session.screen.out.is_terminal else ""
    for line in lines:
        session.screen.line(bar, line)


def console(session: Session, options: Namespace) -> int:
    """The last lines of what the guest wrote to its console."""
    wanted_bytes = min(options.number * CONSOLE_LINE_BYTES, CONSOLE_BYTES_MAX)
    result = session.row("vm-console", name=options.name, bytes=wanted_bytes)
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    lines = clean_lines(str(result.get("text") or ""))[-options.number :]
    head = f"console of {result.get('vm')} on {result.get('host')}"
    session.screen.note(Styled(head if lines else f"{head}: nothing is logged there", "dim"))
    _whole_text(session, lines)
    return Exit.OK
