"""One operation on VMs from the question to the summary: asked, watched, summed up. Knows no command line and no socket.

The manager does it, task by task, and goes on when we are gone: whoever interrupts us is told so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from vmctl.board import ENDED, OPEN, Board, where_text
from vmctl.failure import Exit, Failure
from vmctl.progress import Progress
from vmctl.screen import Cell, Column, Styled, state
from vmctl.session import Row, Session, count_text
from vmctl.wording import names_text, span_text

NAMES_SHOWN = 12  # in a question or a sentence
ROWS_MAX = 60  # VMs in the final table on a terminal; of more only the numbers and the failures
DONE_COLUMNS = (
    Column("VM"),
    Column("STATE"),
    Column("HOST", keep=7),
    Column("TOOK", keep=6, right=True),
    Column("NOTE", keep=8, flexible=True, least=20, lines=3),
)


@dataclass(frozen=True, slots=True)
class Operation:
    """`op`, `args`: for the manager; `deed`: one word for people; `ends`: the command that takes back what is queued."""

    op: str
    args: Row
    deed: str
    ends: str


class _HungUpError(Exception):
    """We know that the tasks are taken, and do not wait for them."""


def operate(session: Session, operation: Operation, *, detach: bool = False) -> Exit:
    """Ask, watch, sum up. `detach`: go as soon as the tasks are taken."""
    progress = Progress(session.screen, operation.deed)
    first: Row = {}

    def take(piece: Row) -> None:
        first.update(piece if "plan" in piece else {})
        progress.take(piece)
        if detach and (first or progress.board.accepted):
            raise _HungUpError

    try:
        result = session.link.ask(operation.op, operation.args, on_more=take, on_slow=progress.start, patient=True)
    except _HungUpError:
        session.link.close()
        return _left(session, operation, progress.board)
    except KeyboardInterrupt:
        progress.stop()
        _goes_on(session, operation, progress.board, "interrupted")
        raise
    except Failure as failure:
        progress.stop()
        if failure.exit is Exit.UNREACHABLE and progress.board.pieces:
            _goes_on(session, operation, progress.board, "the manager is gone")
        raise
    finally:
        progress.stop()
    return _summary(session, operation, progress.board, first, result if isinstance(result, dict) else {})


def _goes_on(session: Session, operation: Operation, board: Board, why: str) -> None:
    ended = len(board.pieces) - len(board.names(*OPEN))
    session.screen.note(f"vmctl: {why}; {ended} of {count_text(len(board.pieces), 'VM')} had ended, the rest goes on")
    session.screen.note(f"  `vmctl vm list` shows it, `{operation.ends}` takes back what has not begun")


def _left(session: Session, operation: Operation, board: Board) -> Exit:
    """What is known when we do not wait."""
    failed = {vm: str(board.pieces[vm].get("text") or "") for vm in board.names("failed")}
    if session.screen.as_json:
        session.screen.document({"vms": _pieces(board), "done": board.names("done"), "failed": failed, "elapsed": None})
    else:
        taken = len(board.pieces) - len(failed)
        session.screen.note(f"{operation.deed} of {count_text(taken, 'VM')} is under way: `vmctl vm list` shows it")
        _name_failures(session, failed)
    return Exit.PARTIAL if failed else Exit.OK


def _pieces(board: Board) -> list[Row]:
    return [{"vm": vm, **piece} for vm, piece in sorted(board.pieces.items())]


def _summary(session: Session, operation: Operation, board: Board, first: Row, result: Row) -> Exit:
    """A line for each VM, and every failure with its whole sentence."""
    failed, stays = _reasons(result, "failed"), _reasons(result, "stays")
    code = Exit.PARTIAL if failed or stays else Exit.OK
    if session.screen.as_json:
        session.screen.document({"vms": _pieces(board), **first, **result})
        return code
    done = result.get("done")
    names = [str(vm) for vm in done] if isinstance(done, list) else []
    rows = [_cells(vm, "failed" if vm in failed else "done", board.pieces.get(vm, {})) for vm in sorted({*names, *failed})]
    if rows and (len(rows) <= ROWS_MAX or not session.screen.out.is_terminal):
        session.screen.table(DONE_COLUMNS, rows)
    total = len({*names, *failed, *stays})
    said = f"{operation.deed}: {len(names)} of {count_text(total, 'VM')} done in {span_text(result.get('elapsed'))}"
    session.screen.note(Styled(said, "dim"))
    _name_failures(session, failed)
    for vm, why in sorted(stays.items()):
        session.screen.note(Styled("stays", "yellow"), f" {vm}: {why}")
    return code


def _reasons(result: Row, key: str) -> dict[str, str]:
    found = result.get(key)
    return {str(vm): str(why) for vm, why in found.items()} if isinstance(found, dict) else {}


def _cells(vm: str, word: str, piece: Row) -> list[Cell]:
    said = str(piece.get("text") or "") if word == "done" and piece.get("state") in ENDED else ""
    return [vm, state(word), where_text(piece) or "-", span_text(piece.get("elapsed")), said]


def _name_failures(session: Session, failed: dict[str, str]) -> None:
    for vm, why in sorted(failed.items()):
        said = why or "the manager does not say why"
        session.screen.note(state("failed"), f" {said}" if said.startswith((f"{vm} ", f"{vm}:")) else f" {vm}: {said}")


def meant(session: Session, words: Sequence[str], deed: str, *, yes: bool, harsh: bool = False) -> list[str]:
    """The names to send. Asks where a word stands for more than one VM, or the deed is `harsh`; then exactly those that were
    shown are meant. With `yes` the words go as they are."""
    if yes:
        return list(words)
    rows = session.rows("vms")
    found = {word: matched(word, rows) for word in dict.fromkeys(words)}
    names = list(dict.fromkeys(name for word, names in found.items() for name in names or [word]))
    if harsh or any(len(each) > 1 for each in found.values()):
        session.screen.note(f"  {names_text(names, NAMES_SHOWN)}")
        session.confirm(f"vmctl: {deed} {count_text(len(names), 'VM')}?", yes=False)
    return names


def matched(word: str, rows: Sequence[Row]) -> list[str]:
    """The VMs that one word stands for: a VM, a group, a pattern, or `all`."""
    own = {str(row.get("name")): str(row.get("group") or "") for row in rows if not row.get("foreign")}
    if word in own:
        return [word]
    found = [vm for vm, group in own.items() if group == word]
    if word == "all" or (not found and any(char in word for char in "*?[")):
        found = [vm for vm in own if word == "all" or fnmatchcase(vm, word)]
    return sorted(found)
