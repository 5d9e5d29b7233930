"""CONTROL in the client: what each verb means. Pure; the verbs stand in one table at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from common.envelope import Envelope
from common.leasewords import LEASE, WORDS, Grant
from common.protocol import ClbControl, Control, Value
from common.words import Plea
from vmclient.events import Effect, Moment, Note, Send
from vmclient.properties import Property

if TYPE_CHECKING:
    from vmclient.host import Host

TICKS_MIN_S, TICKS_MAX_S = 0.1, 30 * 86_400.0
JITTER_S_MAX = 60.0


class ControlFault(Exception):
    """The verb cannot be obeyed, and why."""


def obey(host: Host, envelope: Envelope, now: Moment) -> list[Effect]:
    """Every CONTROL is answered by one CLB_CONTROL, at once or when it has been done."""
    control = envelope.message
    assert isinstance(control, Control)
    verb = VERBS.get(control.verb)
    try:
        if verb is None:
            raise ControlFault(f"no verb {control.verb}; there are: {', '.join(sorted(VERBS))}")
        return verb(host, control, envelope, now)
    except ControlFault as fault:
        return [Send(ClbControl(verb=control.verb, ok=False, reason=str(fault)), in_reply_to=envelope.id)]


def _done(control: Control, envelope: Envelope, values: dict[str, Value] | None = None) -> list[Effect]:
    return [Send(ClbControl(verb=control.verb, values=values or {}), in_reply_to=envelope.id)]


def _ping(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    """Argument `jitter_s`: answer within so many seconds, each client at its own moment; without it at once."""
    jitter_s = control.arguments.get("jitter_s", 0)
    if not isinstance(jitter_s, (int, float)) or isinstance(jitter_s, bool) or not 0 <= jitter_s <= JITTER_S_MAX:
        raise ControlFault(f"jitter_s is a number of seconds from 0 to {JITTER_S_MAX:g}")
    return host.answer_later(_done(control, envelope, {"received": now.wall}), host.phase * jitter_s, now)


def _hello(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    return [host.hello(in_reply_to=envelope.id)]


def _reload(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    return host.reload(envelope.id)


def _set_ticks(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    """Arguments `ticks` and `names` (all where missing). Holds until the next reload or start."""
    ticks = control.arguments.get("ticks")
    if not isinstance(ticks, (int, float)) or isinstance(ticks, bool):
        raise ControlFault("ticks is missing, or no number")
    if ticks != -1 and not TICKS_MIN_S <= ticks <= TICKS_MAX_S:
        raise ControlFault(f"ticks is -1, or {TICKS_MIN_S:g} to {TICKS_MAX_S:g} seconds")
    those = _named(host, control)
    for one in those:
        host.properties.set_ticks(one, float(ticks), now)
    names = ", ".join(one.config.name for one in those)
    return [Note(f"ticks of {names}: {ticks:g} s, asked by {envelope.sender}"), *_done(control, envelope)]


def _pause(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    """Argument `names` (all where missing): they are read only when fetched, until `resume`."""
    names = {one.config.name for one in _named(host, control)}
    host.properties.paused |= names
    return _paused(host, "paused", names, control, envelope)


def _resume(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    names = {one.config.name for one in _named(host, control)}
    host.properties.paused -= names
    return _paused(host, "resumed", names, control, envelope)


def _paused(host: Host, what: str, names: set[str], control: Control, envelope: Envelope) -> list[Effect]:
    paused: list[Value] = [*sorted(host.properties.paused)]
    note = Note(f"reading of {', '.join(sorted(names))}: {what}, asked by {envelope.sender}")
    return [note, *_done(control, envelope, {"paused": paused})]


def _properties(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    return _done(control, envelope, {one.config.name: _described(host, one, now) for one in _named(host, control)})


def _history(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    """Per property of argument `names` the last `keep` values, oldest first, as [age in seconds, value]."""
    values: dict[str, Value] = {}
    for one in _named(host, control):
        values[one.config.name] = [[now.mono - at, value] for at, value in one.history]
    return _done(control, envelope, values)


def _shutdown(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    if "control:shutdown" not in host.config.allow:
        raise ControlFault("this client does not allow control:shutdown")
    return [*_done(control, envelope), *host.stop(f"asked by {envelope.sender}", now)]


def _lease(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    """A grant to several hosts. It is not answered: the next asking says all."""
    grant = Grant.of(control.arguments)
    if grant is None or host.config.hypervisor.engine == "none":
        return []
    if envelope.epoch < host.epoch:  # safety: a leader that was deposed grants nothing
        return [
            Note(
                f"a lease of {envelope.sender} is none: its epoch is {envelope.epoch}, now is {host.epoch}", "warning", "lease"
            )
        ]
    return host.leases.granted(grant, now.mono)


def _words(host: Host, control: Control, envelope: Envelope, now: Moment) -> list[Effect]:
    """A leader asks for our word, which counts where this client is the witness."""
    plea = Plea.of(control.arguments)
    if plea is None or plea.epoch != envelope.epoch:
        raise ControlFault("not understood")
    answer = host.witness.asked(envelope.sender, plea, now.mono)
    return [Send(answer, in_reply_to=envelope.id)] if answer is not None else []  # a name is no place on the bus


def _described(host: Host, one: Property, now: Moment) -> Value:
    reading = one.reading_at(now)
    return {
        "command": one.config.command,
        "type": one.type,
        "unit": one.unit,
        "ticks": one.ticks,
        "push": one.config.push,
        "timeout_s": one.config.timeout_s,
        "keep": one.config.keep,
        "paused": one.config.name in host.properties.paused,
        "reading": one.reading,
        "error": reading.error,
        "age_s": reading.age_s if one.read_mono is not None else None,
    }


def _named(host: Host, control: Control) -> list[Property]:
    names = control.arguments.get("names", control.arguments.get("name"))
    by_name = host.properties.by_name
    if names is None:
        return list(by_name.values())
    wanted = [names] if isinstance(names, str) else names
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted):
        raise ControlFault("names is no list of property names")
    unknown = sorted(name for name in wanted if name not in by_name)
    if unknown:
        raise ControlFault(f"no property {', '.join(unknown)[:1000]}")
    return [by_name[name] for name in wanted]


Verb = Callable[["Host", Control, Envelope, Moment], list[Effect]]

VERBS: dict[str, Verb] = {
    "ping": _ping,
    "hello": _hello,
    "reload": _reload,
    "set-ticks": _set_ticks,
    "pause": _pause,
    "resume": _resume,
    "properties": _properties,
    "history": _history,
    "shutdown": _shutdown,
    LEASE: _lease,
    WORDS: _words,
}
