"""What was asked of clients and not answered yet: by envelope id, with a deadline, a state for each target. Pure.

Says who answered, who was late, who stayed silent, who was not there; sends nothing itself. A late answer is still told,
for LINGER_S after the deadline. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from common.protocol import Answer, ClbControl, ExecErr, ExecVal, Message, PropErr, PropList, PropVal, Reading

LINGER_S = 60.0  # an answer after the deadline is recognized for so long
REQUESTS_MAX = 1_000  # open ones at a time; more are refused

State = Literal["waiting", "answered", "late", "silent", "unreachable", "error"]
Kind = Literal["get", "exec", "control"]


@dataclass(slots=True)
class Target:
    """One client of a request. `missing`: names of properties still to come; `gone`: the bus lost it while we waited;
    `last_id`: of the envelope that the request went to it in last."""

    name: str
    state: State = "waiting"
    gone: bool = False
    missing: set[str] = field(default_factory=set)
    readings: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    body: dict[str, Any] = field(default_factory=dict)  # of exec and control, as docs/design/0004 has it
    elapsed_s: float = 0.0
    last_id: int = 0


@dataclass(slots=True)
class Request:
    """One message to many targets. `call` is the vmctl that waits, `firing` the trigger's, `task` that of a VM; none: nobody
    waits."""

    key: int  # the id of its first envelope
    kind: Kind
    message: Message
    targets: dict[str, Target]
    started: float
    deadline: float
    call: int = 0
    firing: str = ""
    task: str = ""
    ended: bool = False
    repeats: bool = True  # to a client that comes back on the bus
    waiting: int = 0  # targets still waiting
    ids: list[int] = field(default_factory=list)  # of all envelopes it went out in

    def names(self, *states: State) -> list[str]:
        return sorted(target.name for target in self.targets.values() if target.state in states)

    def summary(self, now: float) -> dict[str, Any]:
        errors = {t.name: "; ".join(t.errors) for t in self.targets.values() if t.errors and t.state in ("answered", "error")}
        return {
            "answered": self.names("answered", "error"), "late": self.names("late"), "silent": self.names("silent"),
            "unreachable": self.names("unreachable"), "errors": dict(sorted(errors.items())),
            "elapsed": now - self.started,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settled:
    """One target is done with."""

    request: Request
    target: Target


@dataclass(frozen=True, slots=True)
class Ended:
    """All targets are done with, or the deadline has passed."""

    request: Request


Progress = Settled | Ended


class Requests:
    """All open requests of this manager."""

    def __init__(self) -> None:
        self._by_id: dict[int, Request] = {}
        self._open: dict[int, Request] = {}  # by key, until LINGER_S after the deadline

    def __len__(self) -> int:
        return sum(1 for request in self._open.values() if not request.ended)

    @property
    def full(self) -> bool:
        return len(self._open) >= REQUESTS_MAX and len(self) >= REQUESTS_MAX

    def open(
        self,
        key: int,
        kind: Kind,
        message: Message,
        present: Iterable[str],
        absent: Iterable[str],
        now: float,
        timeout_s: float,
        *,
        call: int = 0,
        firing: str = "",
        task: str = "",
    ) -> list[Progress]:
        """`present` are sent to, `absent` are known and not on the bus."""
        wanted = set(getattr(message, "names", ())) if kind == "get" else set()
        targets = {name: Target(name, missing=set(wanted)) for name in present}
        targets |= {name: Target(name, "unreachable", body={"reason": "not on the bus"}) for name in absent}
        request = Request(key, kind, message, targets, now, now + timeout_s, call, firing, task)
        request.waiting = sum(1 for target in targets.values() if target.state == "waiting")
        self._make_room()
        self._open[key] = request
        self.also(request, key, targets)
        progress: list[Progress] = [Settled(request, t) for t in targets.values() if t.state == "unreachable"]
        return progress + self._maybe_end(request)

    def _make_room(self) -> None:
        if len(self._open) >= REQUESTS_MAX:
            for request in [request for request in self._open.values() if request.ended][: REQUESTS_MAX // 10]:
                self._forget(request)

    def also(self, request: Request, id: int, names: Iterable[str]) -> None:
        """The request went out to these under this id, too."""
        self._by_id[id] = request
        request.ids.append(id)
        for name in names:
            request.targets[name].last_id = id

    def answer(self, in_reply_to: int, sender: str, message: Answer, now: float) -> list[Progress]:
        """An answer came. To an unknown request, or of one who was not asked: nothing."""
        request = self._by_id.get(in_reply_to)
        target = request.targets.get(sender) if request else None
        if request is None or target is None or target.state in ("answered", "late", "error"):
            return []
        if isinstance(message, ExecErr) and in_reply_to != target.last_id:  # safety: the copy sent later may still be run
            return []
        if not _take(target, request, message):
            return []
        target.elapsed_s = now - request.started
        was_waiting = target.state == "waiting"
        if now > request.deadline or not was_waiting:
            target.state = "late"
        else:
            target.state = "error" if target.errors and not target.readings else "answered"
        request.waiting -= was_waiting
        return [Settled(request, target), *self._maybe_end(request)]

    def lost(self, name: str, now: float) -> list[Progress]:
        """The bus lost this client. A command may have run: for its answer we wait until the deadline, it may come back."""
        progress: list[Progress] = []
        for request in list(self._open.values()):
            target = request.targets.get(name)
            if target is None or target.state != "waiting":
                continue
            target.gone = True
            if request.kind != "exec":
                progress += self._settle(request, target, now)
                progress += self._maybe_end(request)
        return progress

    def deposed(self) -> None:
        """safety: what was ordered in an earlier reign is never sent again: another leader has decided since."""
        for request in self._open.values():
            request.repeats = False

    def returned(self, name: str) -> list[Request]:
        """The client is back on the bus: what it should be sent again (commands only; they are answered from its record)."""
        again = []
        for request in self._open.values():
            target = request.targets.get(name)
            if (
                request.kind == "exec"
                and request.repeats
                and not request.ended
                and target is not None
                and target.state == "waiting"
            ):
                target.gone = False
                again.append(request)
        return again

    def unsent(self, id: int, reason: str, now: float) -> list[Progress]:
        """The bus did not take it."""
        request = self._by_id.get(id)
        if request is None or request.ended:
            return []
        progress: list[Progress] = []
        for target in request.targets.values():
            if target.state == "waiting":
                target.gone = True
                progress += self._settle(request, target, now, reason)
        return progress + self._maybe_end(request)

    def due(self, now: float) -> list[Progress]:
        """Ends what is past its deadline, forgets what is long past it."""
        progress: list[Progress] = []
        for request in list(self._open.values()):
            if not request.ended and now > request.deadline:
                for target in request.targets.values():
                    if target.state == "waiting":
                        progress += self._settle(request, target, now)
                progress += self._maybe_end(request)
            elif request.ended and now > request.deadline + LINGER_S:
                self._forget(request)
        return progress

    def next_wake(self) -> float:
        """The next deadline."""
        return min((request.deadline for request in self._open.values() if not request.ended), default=float("inf"))

    def hung_up(self, call: int) -> None:
        """Nobody waits any more; the answers still go into the state."""
        for request in self._open.values():
            if request.call == call:
                request.call = 0

    def _settle(self, request: Request, target: Target, now: float, reason: str = "") -> list[Progress]:
        """No answer."""
        target.state = "unreachable" if target.gone else "silent"
        target.elapsed_s = now - request.started
        why = reason or ("left the bus before it answered" if target.gone else "no answer by the deadline")
        if request.kind == "exec" and not reason:
            why += "; whether the command ran is not known"
        target.body = {"reason": why}
        request.waiting -= 1
        return [Settled(request, target)]

    def _maybe_end(self, request: Request) -> list[Progress]:
        if request.waiting or request.ended:
            return []
        request.ended = True
        return [Ended(request)]

    def _forget(self, request: Request) -> None:
        del self._open[request.key]
        for id in request.ids:
            del self._by_id[id]


def _take(target: Target, request: Request, message: Answer) -> bool:
    """Notes what the answer says; is the target's answer complete now? An answer of the wrong kind is none."""
    if request.kind == "get":
        return _take_readings(target, request, message)
    if request.kind == "exec" and isinstance(message, ExecVal):
        target.body = {"result": message.result, "output": message.output, "repeated": message.repeated,
                       "kind": "ok", "reason": "", "ran_s": message.elapsed_s}  # fmt: skip
        return True
    if request.kind == "exec" and isinstance(message, ExecErr):
        target.body = {"result": message.result, "output": message.output, "repeated": message.repeated,
                       "kind": message.kind, "reason": message.reason, "ran_s": message.elapsed_s}  # fmt: skip
        target.errors = [f"{message.kind}: {message.reason}"]
        return True
    if request.kind == "control" and isinstance(message, ClbControl):
        target.body = {"ok": message.ok, "reason": message.reason, "values": message.values}
        target.errors = [] if message.ok else [message.reason or "not done"]
        return True
    return False


def _take_readings(target: Target, request: Request, message: Answer) -> bool:
    """Named properties may come in several answers; all of them count once every name is there."""
    if isinstance(message, PropVal):
        readings: tuple[Reading, ...] = (message.reading,)
    elif isinstance(message, PropList):
        readings = message.readings
    elif isinstance(message, PropErr):
        target.errors += [f"{name}: {why}" for name, why in sorted(message.errors.items())]
        target.missing -= set(message.errors)
        return not target.missing
    else:
        return False
    asked = set(getattr(request.message, "names", ()))
    for reading in readings:
        if not asked or reading.name in asked:
            target.readings.append(
                {"name": reading.name, "value": reading.value, "type": reading.type, "unit": reading.unit,
                 "age": reading.age_s, "ticks": reading.ticks, "error": reading.error or None}
            )  # fmt: skip
            if reading.error:
                target.errors.append(f"{reading.name}: {reading.error}")
    target.missing -= {reading.name for reading in readings}
    return not target.missing
