"""Why a firing that is due must wait. Looks at the board, changes only windows that have passed."""

from __future__ import annotations

from dataclasses import dataclass

from vmmanager.triggers.board import Board
from vmmanager.triggers.pipeline import SHARE_RETRY_S, share_of
from vmmanager.triggers.rule import Rule
from vmmanager.triggers.states import NEVER, State, Subject

PACE_S = 1.0  # code of the same trigger and subject starts at most so often; news in between is taken together


@dataclass(frozen=True, slots=True)
class Hold:
    """`until`: monotonic time to look again; NEVER: something else will wake it. `kind` is the first word of the reason."""

    kind: str
    reason: str
    until: float = NEVER


def hold(board: Board, subject: Subject, part: str) -> Hold | None:
    """None: it may go."""
    found = _running(board, subject) or grace(board, subject.rule) or _silence(board, subject)
    if found or part == "recovery_cmd":
        return found
    return _parents(subject) or _cooldown(board, subject) or _max_actions(board, subject) or _storm(board, subject)


def _running(board: Board, subject: Subject) -> Hold | None:
    if subject.running:
        return Hold("running", "its code is running")
    if board.now.mono < subject.last_run + PACE_S:
        return Hold("pace", f"its code ran less than {PACE_S:g} s ago", subject.last_run + PACE_S)
    return None


def grace(board: Board, rule: Rule) -> Hold | None:
    assert board.leading_since is not None
    started = board.started.mono + board.settings.grace_s
    until = max(started, board.leading_since + rule.config.grace_s)
    if board.now.mono >= until:
        return None
    return Hold("grace", f"start-up grace for {until - board.now.mono:.0f} s more", until)


def _silence(board: Board, subject: Subject) -> Hold | None:
    found = board.silences.find(subject.rule.name, subject.name, board.farm)
    if found is None:
        return None
    return Hold("silence", str(found), board.now.mono + max(0.0, found.until - board.now.wall))


def _parents(subject: Subject) -> Hold | None:
    for parent in subject.rule.parents:
        why = parent.blocks(subject.name)
        if why:
            return Hold("depends", why)
    return None


def _cooldown(board: Board, subject: Subject) -> Hold | None:
    left_s = subject.cooldown_until - board.now.mono
    return Hold("cooldown", f"cooldown for {left_s:.0f} s more", subject.cooldown_until) if left_s > 0 else None


def _max_actions(board: Board, subject: Subject) -> Hold | None:
    rule, config = subject.rule, subject.rule.config
    if not config.max_actions:
        return None
    rule.window(board.now)
    if len(rule.starts) < config.max_actions:
        return None
    return Hold(
        "max_actions",
        f"fired {len(rule.starts)} times within {config.max_actions_window_s:g} s, max_actions allows {config.max_actions}",
        rule.starts[0] + config.max_actions_window_s,
    )


def _storm(board: Board, subject: Subject) -> Hold | None:
    """Before any of many clients is acted upon: where too many are in the same state at once, the fault is hardly theirs."""
    rule, share = subject.rule, subject.rule.config.max_share
    if share >= 1.0 or not rule.config.each:
        return None
    rule.window(board.now)
    concerned = {name for name, one in rule.subjects.items() if one.state in (State.FIRING, State.PENDING)}
    touched = concerned.union(*(clients for _, clients in rule.acted))
    allowed = share_of(share, len(board.farm.clients))
    if len(touched) <= allowed:
        return None
    reason = f"{len(touched)} of {len(board.farm.clients)} clients are concerned at once, max_share allows {allowed}"
    return Hold("max_share", reason, board.now.mono + SHARE_RETRY_S)
