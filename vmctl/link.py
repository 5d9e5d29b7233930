"""The control socket as vmctl sees it: one JSON object a line (docs/design/0004). Knows no command and no terminal."""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vmctl.failure import EXIT_OF_CODE, Exit, Failure, unreachable

SOCKET_NAME = "vmmanager.sock"
DEFAULT_FOLDER = Path("/run/vmherd")  # PathsConfig.run, whose module costs 20 ms to load: a test holds the two together
LINE_BYTES_MAX = 16 * 1024 * 1024  # docs/design/0004
ANSWER_S = 15.0  # a manager that says nothing for so long is counted as stuck; requests to clients add their own time
SLOW_S = 0.3  # an answer that takes longer than this deserves a sign of life on the terminal

Piece = dict[str, Any]


def socket_path(option: str | None) -> Path:
    """--socket, else VMHERD_SOCKET, else the default. A folder means the socket in it."""
    path = Path(option or os.environ.get("VMHERD_SOCKET") or DEFAULT_FOLDER)
    return path / SOCKET_NAME if path == DEFAULT_FOLDER or path.is_dir() else path


class Link:
    """One connection to one manager. Raises Failure, and nothing else, whatever the manager does."""

    def __init__(self, path: Path, *, answer_s: float = ANSWER_S) -> None:
        self.path = path
        self._answer_s = answer_s
        self._socket: socket.socket | None = None
        self._rest = bytearray()

    def ask(
        self,
        op: str,
        args: dict[str, Any] | None = None,
        *,
        on_more: Callable[[Piece], None] = lambda piece: None,
        on_slow: Callable[[], None] = lambda: None,
        follow: bool = False,
        patient: bool = False,
    ) -> Any:
        """The `result` of one operation; each `more` goes to on_more. `follow`: there may be nothing to say for hours.

        A `more` with `timeout` tells how long the manager itself is going to wait, and so must we. `patient`: a migration has
        nothing to say for minutes; the wait goes on as long as the manager answers another connection."""
        self._send({"op": op, "args": {key: value for key, value in (args or {}).items() if value is not None}})
        limit_s = None if follow else self._answer_s
        slow_at: float | None = time.monotonic() + SLOW_S
        while True:
            line, slow_at = self._line(limit_s, slow_at, on_slow, patient)
            answer = _parsed(line, self.path)
            if "more" not in answer:
                return _result(answer)
            piece = answer["more"] if isinstance(answer["more"], dict) else {}
            wait_s = piece.get("timeout")
            if limit_s is not None and isinstance(wait_s, (int, float)):
                limit_s = self._answer_s + max(0.0, wait_s)
            on_more(piece)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, request: Piece) -> None:
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._socket.settimeout(self._answer_s)
                self._socket.connect(os.fspath(self.path))
            self._socket.settimeout(self._answer_s)
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as fault:
            self.close()
            raise _why_unreachable(self.path, fault) from None

    def _line(
        self, limit_s: float | None, slow_at: float | None, on_slow: Callable[[], None], patient: bool
    ) -> tuple[bytes, float | None]:
        """The next line, and when on_slow is due (None: it was called)."""
        assert self._socket is not None
        give_up_at = None if limit_s is None else time.monotonic() + limit_s
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > LINE_BYTES_MAX:
                raise self._broken(f"sent a line of more than {LINE_BYTES_MAX} bytes")
            now = time.monotonic()
            if slow_at is not None and now >= slow_at:
                on_slow()
                slow_at = None
            if limit_s is not None and give_up_at is not None and now >= give_up_at:
                if not patient:
                    raise self._broken(f"said nothing for {limit_s:.0f} s: it hangs or is stopped")
                self._see_that_it_lives()
                give_up_at = time.monotonic() + limit_s
            due = [at for at in (slow_at, give_up_at) if at is not None]
            self._receive(min(due) - now if due else None)
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line, slow_at

    def _receive(self, wait_s: float | None) -> None:
        assert self._socket is not None
        self._socket.settimeout(None if wait_s is None else max(wait_s, 0.001))
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return
        except OSError as fault:
            raise self._broken(f"broke off: {fault.strerror or fault}") from None
        if not data:
            raise self._broken("closed the connection before it had answered: it was stopped or has died")
        self._rest += data

    def _see_that_it_lives(self) -> None:
        """Raises Failure where the manager does not answer somebody else either."""
        other = Link(self.path, answer_s=self._answer_s)
        try:
            other.ask("status")
        finally:
            other.close()

    def _broken(self, what: str) -> Failure:
        self.close()
        return unreachable(f"the manager at {self.path} {what}")


def _parsed(line: bytes, path: Path) -> Piece:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not ("more" in answer or "ok" in answer):
        raise unreachable(f"what listens at {path} does not speak vmmanager's language")
    return answer


def _result(answer: Piece) -> Any:
    if answer["ok"] is True:
        return answer.get("result")
    code = str(answer.get("code") or "refused")
    faults = answer.get("faults")
    lines = tuple(str(fault) for fault in faults) if isinstance(faults, list) else ()
    text = str(answer.get("error") or "the manager refused and did not say why")
    raise Failure(text, EXIT_OF_CODE.get(code, Exit.PARTIAL), code=code, faults=lines)


def _why_unreachable(path: Path, fault: OSError) -> Failure:
    start = "start it with `systemctl start vmmanager`, or in the foreground with `vmmanager`"
    if isinstance(fault, FileNotFoundError):
        elsewhere = "if it keeps its socket elsewhere, say so with --socket or VMHERD_SOCKET"
        return unreachable(f"no manager here: there is no socket {path}; {start}; {elsewhere}")
    if isinstance(fault, ConnectionRefusedError):
        return unreachable(f"the manager of {path} has died (its socket is there, but nobody listens); {start}")
    if isinstance(fault, PermissionError):
        return unreachable(f"you may not use {path}: {_who_may(path)}")
    if isinstance(fault, TimeoutError):
        return unreachable(f"the manager at {path} takes no connection: it hangs or is stopped")
    return unreachable(f"cannot use {path}: {fault.strerror or fault}")


def _who_may(path: Path) -> str:
    """Who has the right that we lack, as far as we can see it."""
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except OSError:
            continue
        owner, group = _user(found.st_uid), _group(found.st_gid)
        if found.st_mode & stat.S_IWGRP or (place != path and found.st_mode & stat.S_IXGRP):
            return (
                f"{place} is for user {owner} and group {group}; an administrator can add you with `usermod -aG {group} USER`"
            )
        return f"{place} is for user {owner} alone; set `control_group` in vmmanager.ini to let a group in, or use sudo"
    return "ask the administrator of this machine"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
