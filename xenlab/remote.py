"""Commands in an emulated host, through its agent (guest/agent.py). For the lab's own work; scenarios speak through vmctl."""

from __future__ import annotations

import json
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

BEYOND_S = 30.0  # what the answer may take over the command's own limit, in emulation
PIECE_BYTES = 65_536
RETRY_S = 0.2


class Unanswered(Exception):
    """The host's agent did not answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it wrote to output and errors. `status` 124: stopped at its limit."""

    status: int
    output: str


def run(agent: Path, command: str, limit_s: float = 60.0) -> Said:
    """One shell command. Raises Unanswered."""
    order = {"id": uuid.uuid4().hex, "command": command, "limit_s": limit_s}
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(limit_s + BEYOND_S)
        try:
            line.connect(str(agent))
            line.sendall(json.dumps(order).encode() + b"\n")
            return _answer(line, order["id"])
        except OSError as fault:
            raise Unanswered(f"{agent.name}: {fault}") from None


def _answer(line: socket.socket, wanted: object) -> Said:
    """Answers to somebody who has hung up may come first."""
    held = b""
    while True:
        data = line.recv(PIECE_BYTES)
        if not data:
            raise OSError("hung up")
        *lines, held = (held + data).split(b"\n")
        for each in lines:
            try:
                found = json.loads(each)
            except ValueError:
                continue
            if found.get("id") == wanted:
                return Said(found["status"], found["output"])


def wait(agent: Path, command: str, limit_s: float) -> None:
    """Until the command ends well. Raises Unanswered with what it said last."""
    end = time.monotonic() + limit_s
    said = "no answer"
    while time.monotonic() < end:
        try:
            done = run(agent, command, limit_s=min(10.0, limit_s))
            if done.status == 0:
                return
            said = f"{done.status}: {done.output.strip()}"
        except Unanswered as fault:
            said = str(fault)
        time.sleep(RETRY_S)
    raise Unanswered(f"{agent.name}: after {limit_s:g} s `{command}` has not ended well: {said}")
