"""Hosts and what runs on them: list, show, maintenance, evacuate, return. Knows no socket."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from vmctl.failure import Exit, usage
from vmctl.operation import Operation, operate
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session, count_text
from vmctl.wording import ago_text, moment_text, names_text, size_text, span_text, value_text

WHY_EVACUATED = "evacuation"  # what colleagues read where no --why was given
HOST_COLUMNS = (
    Column("HOST"),
    Column("STATE"),
    Column("VMS", keep=8, right=True),
    Column("FOREIGN", keep=3, right=True),
    Column("FREE", keep=7, right=True),
    Column("MEMORY", keep=6, right=True),
    Column("CPUS", keep=5, right=True),
    Column("LOAD", keep=5, right=True),
    Column("TASKS", keep=4, right=True),
    Column("HEARD", keep=4, right=True),
    Column("KIND", keep=2),
    Column("VERSION", keep=1),
    Column("WHY", keep=8, flexible=True, least=20, lines=3),
)


def hosts(session: Session, options: Namespace) -> int:
    """Every client that has a hypervisor."""
    rows = sorted(session.rows("hosts", pattern=options.pattern), key=lambda row: str(row.get("name")))
    nothing = "no host matches" if options.pattern else "no client has a hypervisor ([hypervisor] engine in vmclient.ini)"
    return session.listing(rows, HOST_COLUMNS, _cells, nothing)


def _cells(row: Row) -> list[Cell]:
    return [
        str(row.get("name")),
        state(row.get("state")),
        known(row.get("domains")),
        known(row.get("foreign")),
        known(row.get("memory_free_bytes"), size_text),
        known(row.get("memory_bytes"), size_text),
        known(row.get("cpus")),
        known(row.get("load")),
        known(row.get("tasks")),
        span_text(row.get("age")),
        known(row.get("kind")),
        known(row.get("version")),
        "; ".join(_remarks(row)),
    ]


def known(value: Any, text: Any = value_text) -> Cell:
    """The value, or that it is not known: never zero, never empty."""
    return Styled("unknown", "yellow") if value is None else str(text(value))


def _remarks(row: Row) -> list[str]:
    maintenance, evacuation = _part(row, "maintenance"), _part(row, "evacuation")
    said = [f"maintenance: {maintenance.get('why')}"] if maintenance else []
    if evacuation:
        said.append(evacuation_text(evacuation))
    return said + ([str(row["why"])] if row.get("why") else [])


def _part(row: Row, key: str) -> Row:
    part = row.get(key)
    return part if isinstance(part, dict) else {}


def evacuation_text(evacuation: Row) -> str:
    """`evacuation running: 3 of 5 moved, 1 failed`."""
    failed = f", {_count(evacuation.get('failed'))} failed" if evacuation.get("failed") else ""
    moved = f"{_count(evacuation.get('moved'))} of {_count(evacuation.get('total'))} moved"
    return f"evacuation {evacuation.get('state')}: {moved}{failed}"


def _count(value: Any) -> str:
    return str(len(value)) if isinstance(value, (list, dict)) else value_text(value)


DOMAIN_COLUMNS = (
    Column("DOMAIN"),
    Column("STATE"),
    Column("WANTED", keep=7),
    Column("MEMORY", keep=6, right=True),
    Column("CPUS", keep=5, right=True),
    Column("CPU USED", keep=3, right=True),
    Column("NUMBER", keep=2, right=True),
    Column("NOTE", keep=8, flexible=True, least=20, lines=3),
)


def show(session: Session, options: Namespace) -> int:
    """One host: what it has, what it has left, what runs there."""
    result = session.row("host", name=options.name)
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.facts(_facts(result, session.now))
    domains = result.get("list")
    if domains is None:
        session.screen.note(Styled("what runs there is not known", "yellow"), f": {result.get('why') or 'no list was told'}")
    elif isinstance(domains, list) and domains:
        session.screen.line()
        session.screen.table(DOMAIN_COLUMNS, [_domain_cells(row) for row in domains if isinstance(row, dict)])
    return Exit.OK


def _facts(row: Row, now: float) -> list[tuple[str, list[Cell]]]:
    maintenance, evacuation = _part(row, "maintenance"), _part(row, "evacuation")
    facts: list[tuple[str, list[Cell]]] = [
        ("host", [str(row.get("name"))]),
        ("state", [state(row.get("state")), f", heard {span_text(row.get('age'))} ago"]),
        ("hypervisor", [known(row.get("kind")), " ", known(row.get("version"))]),
        ("memory", [known(row.get("memory_free_bytes"), size_text), " free of ", known(row.get("memory_bytes"), size_text)]),
        ("cpus", [known(row.get("cpus")), ", load ", known(row.get("load"))]),
        ("domains", [known(row.get("domains")), " of ours, ", known(row.get("foreign")), " of others (never touched)"]),
        ("tasks", [known(row.get("tasks"))]),
    ]
    if row.get("why"):
        facts.append(("why", [str(row["why"])]))
    if maintenance:
        since = f"{moment_text(maintenance.get('since'), now)}, {ago_text(maintenance.get('since'), now)} ago"
        facts.append(
            ("maintenance", [Styled(f"{maintenance.get('why')}", "yellow"), f" (by {maintenance.get('who')}, {since})"])
        )
    if evacuation:
        facts.append(("evacuation", [evacuation_text(evacuation).removeprefix("evacuation ")]))
    return facts


def _domain_cells(row: Row) -> list[Cell]:
    return [
        str(row.get("name")),
        state(row.get("state")),
        str(row.get("wanted") or "-") if row.get("ours") else state("foreign"),
        known(row.get("memory_bytes"), size_text),
        known(row.get("vcpus")),
        span_text(row.get("cpu_s")),
        value_text(row.get("number")),
        str(row.get("note") or ""),
    ]


def maintenance(session: Session, options: Namespace) -> int:
    """No VM is placed on a host in maintenance; what runs there stays."""
    on = options.switch == "on"
    if on and not options.why:
        raise usage("say why, for your colleagues: --why 'new memory'")
    result = session.row("host-maintenance", name=options.name, on=on, why=options.why)
    if session.screen.as_json:
        session.screen.document(result)
    elif on:
        session.screen.line(f"{result.get('name')} is in ", state("maintenance"), "; what runs there stays, nothing new comes")
    else:
        session.screen.line(f"{result.get('name')} takes VMs again")
    return Exit.OK


PLAN_COLUMNS = (
    Column("VM"),
    Column("TARGET", keep=8),
    Column("WHY", keep=7, flexible=True, least=20, lines=3),
)


def evacuate(session: Session, options: Namespace) -> int:
    """Move every VM of ours elsewhere; shows the plan and asks. --dry-run only shows it, --stop ends one that is under way."""
    if options.stop and (options.to or options.why):
        raise usage("--stop ends an evacuation; --to and --why are for one that begins")
    if options.stop:
        return _stop(session, options)
    args = {"name": options.name, "to": options.to, "why": options.why or WHY_EVACUATED}
    if options.dry_run:
        return _plan(session, args)
    if not options.yes:
        moves = len(_planned(session, args).get("plan") or ())
        session.confirm(f"vmctl: put {options.name} into maintenance and move {count_text(moves, 'VM')} away?", yes=False)
    ends = f"vmctl host evacuate {options.name} --stop"
    operation = Operation("host-evacuate", {**args, "dry_run": False}, "evacuate", ends)
    return operate(session, operation, detach=options.detach)


def _plan(session: Session, args: Row) -> int:
    plan = _planned(session, args)
    if session.screen.as_json:
        session.screen.document(plan)
    return Exit.PARTIAL if plan.get("stays") else Exit.OK


def _planned(session: Session, args: Row) -> Row:
    """Ask for the plan and show it; nothing is done."""
    plan: Row = {"plan": [], "stays": {}}
    asked = {**args, "dry_run": True}
    session.link.ask("host-evacuate", asked, on_more=lambda piece: plan.update(piece if "plan" in piece else {}))
    if not session.screen.as_json:
        _show_plan(session, plan)
    return plan


def _show_plan(session: Session, plan: Row) -> None:
    steps = [step for step in plan["plan"] if isinstance(step, dict)] if isinstance(plan["plan"], list) else []
    if steps:
        rows: list[list[Cell]] = [[str(step.get(key) or "-") for key in ("vm", "target", "why")] for step in steps]
        session.screen.table(PLAN_COLUMNS, rows)
    else:
        session.screen.note("no VM has to move")
    for vm, why in sorted(_part(plan, "stays").items()):
        session.screen.note(Styled("stays", "yellow"), f" {vm}: {why}")


def _stop(session: Session, options: Namespace) -> int:
    result = session.row("host-evacuate-stop", name=options.name)
    if session.screen.as_json:
        session.screen.document(result)
        return Exit.OK
    session.screen.line(f"the evacuation of {options.name} is stopped; the host stays in maintenance")
    for key, text in (("running", "under way, they still move"), ("left", "they stay")):
        if result.get(key):
            session.screen.line(f"{text}: {names_text(result[key])}")
    return Exit.OK


def come_back(session: Session, options: Namespace) -> int:
    """What the evacuation moved away comes back, and maintenance ends."""
    ends = f"vmctl host evacuate {options.name} --stop"
    operation = Operation("host-return", {"name": options.name}, "return", ends)
    return operate(session, operation, detach=options.detach)
