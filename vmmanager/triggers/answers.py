"""Answers vmctl about triggers and silences, as docs/design/0004 has them. Reads the board; changes only what was asked."""

from __future__ import annotations

import fnmatch
from collections import Counter
from typing import Any

from common.protocol import Value
from vmmanager.events import Note, Persist, Record
from vmmanager.triggers import firing as firings
from vmmanager.triggers.board import PART, Board
from vmmanager.triggers.effects import Answer, Tell
from vmmanager.triggers.holds import Hold, grace
from vmmanager.triggers.pipeline import Pipeline
from vmmanager.triggers.rule import Rule
from vmmanager.triggers.silences import EVERYTHING, Silence
from vmmanager.triggers.states import State, Subject
from vmmanager.triggers.unknown import Unknown
from vmmanager.triggers.watch import Watch

SILENCE_TOKEN = "silence:"
ENABLE_TOKEN = "trigger:"
SILENCE_MAX_S = 366 * 86_400.0


class Refused(Exception):
    """The request cannot be answered: `code` of docs/design/0004 and a sentence."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def answer(board: Board, pipeline: Pipeline, watch: Watch, op: str, args: dict[str, Any], who: str) -> Answer:
    try:
        match op:
            case "triggers":
                return _ok(_triggers(board, args))
            case "trigger":
                return _ok(_trigger(board, pipeline, args))
            case "trigger-enable":
                return _enable(board, watch, args, who)
            case "silence":
                return _silence(board, args, who)
            case "silences":
                return _ok([silence.row() for silence in board.silences])
            case "unsilence":
                return _unsilence(board, watch, args, who)
    except Refused as refused:
        return Answer({"ok": False, "error": str(refused), "code": refused.code})
    return Answer({"ok": False, "error": f"{op} is no operation of triggers", "code": "unknown-op"})


def _ok(result: Any) -> Answer:
    return Answer({"ok": True, "result": result})


def _triggers(board: Board, args: dict[str, Any]) -> list[dict[str, Any]]:
    pattern = args.get("pattern")
    return [
        _shown(board, rule)
        for name, rule in sorted(board.rules.items())
        if not pattern or fnmatch.fnmatchcase(name, str(pattern))
    ]


def _shown(board: Board, rule: Rule) -> dict[str, Any]:
    state, reason = _summary(board, rule)
    silence = board.silences.find(rule.name, "", board.farm)
    if silence is not None and state != "disabled":
        state, reason = "silenced", f"{silence}; without that it would be {state}: {reason}"
    cooldown = max((one.cooldown_until for one in rule.subjects.values()), default=0.0) - board.now.mono
    return {
        "name": rule.name,
        "state": state,
        "since": max((one.since for one in rule.subjects.values()), default=None),
        "subjects": dict(Counter(_state(one) for one in rule.subjects.values())),
        "why": reason,
        "last_fired": rule.last_fired or None,
        "fired": rule.fired,
        "cooldown_until": board.now.wall + cooldown if cooldown > 0 else None,
        "enabled": not rule.disabled,
        "dry_run": rule.config.dry_run,
        "severity": rule.config.severity,
        "where": str(rule.config.where),
    }


def _summary(board: Board, rule: Rule) -> tuple[str, str]:
    """(state, why) of the trigger as a whole."""
    state, subject = rule.state()
    if rule.disabled:
        return state, rule.disabled
    if subject is not None:
        return state, f"{subject.name}: {why(board, subject)}" if subject.name else why(board, subject)
    return state, f"none of {len(rule.subjects)} clients" if rule.subjects else f"nobody is in {rule.config.each}"


def _state(subject: Subject) -> str:
    return "unknown" if subject.state is State.DOUBTFUL else str(subject.state)


def why(board: Board, subject: Subject) -> str:
    """Why it is, or is not, firing, as of now."""
    parts: list[str] = []
    if subject.condition is None:
        return "not evaluated yet"
    if type(subject.condition) is Unknown:
        parts.append(f"unknown: {subject.condition.reason}")
    else:
        found = firings.sentence(firings.operands(*subject.operands))
        parts.append(f"{'true' if subject.condition else 'false'}" + (f": {found}" if found else ""))
    config = subject.rule.config
    if subject.state is State.PENDING and subject.true_since is not None:
        lasted = board.now.mono - subject.true_since
        parts.append(f"for {lasted:.0f} of {config.for_s:g} s" if board.leading else "the leader fires")
    elif subject.condition is True and not subject.raised:
        blocked = next(filter(None, (parent.blocks(subject.name) for parent in subject.rule.parents)), "")
        parts += [f"held: {blocked}"] if blocked else []
    elif subject.state is State.FLAPPING:
        parts.append(f"flapping: {subject.why}")
    elif subject.state is State.DOUBTFUL:
        parts.append("it was firing before")
    elif subject.state is State.FIRING and subject.condition is not True:
        parts.append("not recovered yet")
    if subject.hold and (subject.raised or subject.recovering):
        parts.append(f"held: {subject.hold.partition(': ')[2]}")
    return "; ".join(parts)


def _trigger(board: Board, pipeline: Pipeline, args: dict[str, Any]) -> dict[str, Any]:
    rule = _rule(board, args)
    wanted = args.get("subject")
    if wanted is not None and wanted not in rule.subjects:
        raise Refused("no-such", f"trigger {rule.name} has no subject {wanted}")
    subjects = [one for name, one in sorted(rule.subjects.items()) if wanted is None or name == wanted]
    listed = [pipeline.firings[one] for one in rule.firings if one in pipeline.firings]
    shown = _shown(board, rule)
    waiting: Hold | None = grace(board, rule) if board.leading else None
    return shown | {
        "why": f"{shown['why']}; {waiting.reason}" if waiting is not None else shown["why"],
        "subjects": [
            {
                "subject": one.name,
                "state": _state(one),
                "since": one.since,
                "why": why(board, one),
                "operands": firings.operands(*one.operands),
            }
            for one in subjects
        ],
        "firings": [one.shown() for one in reversed(listed) if wanted is None or one.subject == wanted],
        "source": _source(rule),
    }


def _source(rule: Rule) -> dict[str, str]:
    config = rule.config
    codes = {"expr": config.expr, "cmd": config.cmd, "recovery": config.recovery, "recovery_cmd": config.recovery_cmd}
    return {key: code.text.strip() for key, code in codes.items() if code is not None}


def _rule(board: Board, args: dict[str, Any]) -> Rule:
    name = args.get("name")
    if not isinstance(name, str):
        raise Refused("usage", "the name of a trigger is wanted")
    if name not in board.rules:
        raise Refused("no-such", f"there is no trigger {name}")
    return board.rules[name]


def _enable(board: Board, watch: Watch, args: dict[str, Any], who: str) -> Answer:
    rule, enabled = _rule(board, args), args.get("enabled")
    if not isinstance(enabled, bool):
        raise Refused("usage", "enabled: true or false is wanted")
    row: dict[str, Value] = {
        "name": rule.name, "enabled": enabled, "why": "" if enabled else f"disabled by {who}", "who": who,
        "at": board.now.wall, "fingerprint": rule.fingerprint,
    }  # fmt: skip
    board.overrides[rule.name] = row
    rule.override_by(row)
    watch.everything()
    text = f"trigger {rule.name}: {'enabled' if enabled else 'disabled'} by {who}"
    token = f"{ENABLE_TOKEN}{rule.name}"
    effects = (
        Note(text, "info", PART),
        Record(board.now.wall, "trigger", rule.name, text, {}, who),
        Persist("trigger", rule.name, row, token),
        Tell("trigger-enable", row),
    )
    return Answer({"ok": True, "result": {"name": rule.name, "enabled": enabled}}, effects, token)


def _silence(board: Board, args: dict[str, Any], who: str) -> Answer:
    what, reason, until = args.get("what"), args.get("why", ""), args.get("until")
    if not isinstance(what, str) or not what:
        raise Refused("usage", "what: a trigger's name, client:NAME, group:NAME or all is wanted")
    if not isinstance(reason, str) or len(reason) > 1000:
        raise Refused("usage", "why: a text of at most 1,000 characters is wanted")
    if isinstance(until, bool) or not isinstance(until, (int, float)) or not board.now.wall < until:
        raise Refused("usage", "until: a time in the future is wanted, in seconds since the epoch")
    if until > board.now.wall + SILENCE_MAX_S:
        raise Refused("usage", "until: a silence lasts a year at most")
    _check_target(board, what)
    silence = Silence(id=board.silences.new_id(), what=what, why=reason, who=who, created=board.now.wall, until=float(until))
    board.silences.add(silence)
    row = silence.row()
    text = f"silence {silence.id}: {what} for {until - board.now.wall:.0f} s" + (f": {reason}" if reason else "")
    token = SILENCE_TOKEN + silence.id
    effects = (
        Note(f"{text} (by {who})", "info", PART),
        Record(board.now.wall, "silence", what, text, {"id": silence.id, "until": silence.until}, who),
        Persist("silence", silence.id, row, token),
        Tell("silence", row),
    )
    return Answer({"ok": True, "result": row}, effects, token)


def _check_target(board: Board, what: str) -> None:
    """A misspelt silence would silence nothing, and nobody would notice before the night."""
    kind, colon, name = what.partition(":")
    if not colon:
        if what != EVERYTHING and what not in board.rules:
            raise Refused("no-such", f"there is no trigger {what}; clients are client:NAME, groups group:NAME")
    elif kind == "client":
        if name not in board.farm.clients:
            raise Refused("no-such", f"there is no client {name}")
    elif kind != "group":
        raise Refused("usage", f"what = {what}: a trigger's name, client:NAME, group:NAME or all is wanted")
    elif not board.farm.groups.get(name):
        raise Refused("no-such", f"nobody is in group {name}")


def _unsilence(board: Board, watch: Watch, args: dict[str, Any], who: str) -> Answer:
    silence = board.silences.remove(str(args.get("id")))
    if silence is None:
        raise Refused("no-such", f"there is no silence {args.get('id')}")
    watch.look_at_held()
    text = f"silence {silence.id}: {silence.what} ended"
    token = SILENCE_TOKEN + silence.id
    effects = (
        Note(f"{text} by {who}", "info", PART),
        Record(board.now.wall, "silence", silence.what, text, {"id": silence.id}, who),
        Persist("silence", silence.id, None, token),
        Tell("unsilence", {"id": silence.id}),
    )
    return Answer({"ok": True, "result": {"id": silence.id}}, effects, token)
