"""Requests to clients: finds the targets, sends once to a group where they are many, tells vmctl piece by piece. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from common.protocol import Control, Execute, FetchProp, GetProp
from vmmanager.context import Context, Refused
from vmmanager.requests import Ended, Kind, Progress, Request, Requests, Target
from vmmanager.roll import address

if TYPE_CHECKING:
    from vmmanager.acting import Acting

EVERYBODY = ("all", "clients")
TIMEOUT_S_MAX = 3600.0
EXECUTE_GRACE_S = 2.0  # a client that ends a command at its time limit needs a moment to say so
Question = GetProp | FetchProp | Execute | Control


class Asking:
    """All that this manager asks clients on somebody's behalf."""

    def __init__(self, context: Context, requests: Requests) -> None:
        self._c = context
        self._requests = requests
        self.task_ended: Callable[[Request], None] = lambda request: None  # set by the owner

    def targets(self, words: Iterable[str]) -> list[str]:
        """Client names for names, groups, patterns, `all`. Raises Refused for a word that means nothing."""
        farm = self._c.farm
        found: dict[str, None] = {}
        for word in words:
            if word in farm.clients:
                names: Iterable[str] = (word,)
            elif word in EVERYBODY:
                names = farm.clients
            elif word in farm.groups:
                names = farm.groups[word]
            elif any(char in word for char in "*?["):
                names = [name for name in farm.clients if fnmatchcase(name, word)]
            else:
                raise Refused("no-such", f"no client or group is called {word}")
            found.update(dict.fromkeys(names))
        return sorted(found)

    def ask(
        self,
        kind: Kind,
        message: Question,
        names: list[str],
        timeout_s: float,
        *,
        call: int = 0,
        firing: str = "",
        task: str = "",
    ) -> tuple[int, list[Progress]]:
        """Sends to those of `names` that are on the bus. Returns the request's key and who is done with already."""
        if self._requests.full:
            raise Refused("refused", "too many requests are open already")
        clients = self._c.farm.clients
        present = [name for name in names if clients[name].address]
        absent = [name for name in names if not clients[name].address]
        self._c.more(call, {"targets": names, "timeout": timeout_s})
        key = self._send(message, present) if present else self._c.next_id()
        progress = self._requests.open(
            key, kind, message, present, absent, self._c.now.mono, timeout_s, call=call, firing=firing, task=task
        )
        return key, progress

    def again(self, name: str) -> None:
        """This client is back on the bus: a command that it may not have got is sent again, under the same execution id."""
        for request in self._requests.returned(name):
            if isinstance(request.message, Execute):
                self._requests.also(request, self._send(request.message, [name]), [name])

    def _send(self, message: Question, names: list[str]) -> int:
        to, addresses = address(self._c, names)
        return self._c.send(message, to, addresses)

    def progress(self, progress: Iterable[Progress], acting: Acting) -> list[tuple[str, str]]:
        """Tells those who wait. Returns the firings that are over, with their outcomes."""
        over: list[tuple[str, str]] = []
        for item in progress:
            request = item.request
            if isinstance(item, Ended):
                self._c.reply(request.call, request.summary(self._c.now.mono))
                if request.firing:
                    over += acting.ended(request)
                if request.task:
                    self.task_ended(request)
            elif request.ended and item.target.state == "late":
                self._late(request, item.target)
            elif item.target.state in ("answered", "error", "late"):
                self._c.more(request.call, piece(request, item.target))
                if not request.task:
                    item.target.readings = []  # told; the values are in the state
        return over

    def _late(self, request: Request, target: Target) -> None:
        what = request.message.command if isinstance(request.message, Execute) else request.kind
        text = f"client {target.name}: answered {what} late, after {target.elapsed_s:.1f} s"
        said = target.errors[0] if target.errors else ""
        self._c.note(text + (f": {said}" if said else ""), part="requests")
        if request.kind == "exec":
            self._c.record("request", target.name, text, {"answer": msgspec.to_builtins(target.body)})


def piece(request: Request, target: Target) -> dict[str, Any]:
    """One line of the answer to vmctl, as docs/design/0004 has it."""
    told: dict[str, Any] = {"client": target.name, "state": target.state, "elapsed": target.elapsed_s, **target.body}
    if request.kind == "get":
        told["readings"] = target.readings
        told["error"] = "; ".join(target.errors) or told.pop("reason", None)
    return told


def timeout_of(args: dict[str, Any], default_s: float) -> float:
    """Raises Refused."""
    given = args.get("timeout")
    if given is None:
        return default_s
    if not isinstance(given, (int, float)) or isinstance(given, bool) or not 0 < given <= TIMEOUT_S_MAX:
        raise Refused("usage", f"timeout is a number of seconds from 0 to {TIMEOUT_S_MAX:.0f}")
    return float(given)
