"""The functions of trigger code over a property's past: last avg min max sum count change rate age nodata percentile.

Each is unknown when the property is missing, failed or stale, or when no value lies in the window; only age and nodata look
at a silent property. Windows are seconds back from now. avg, min, max, sum, count and percentile also work on plain values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

from vmmanager.triggers.unknown import Unknown, truth
from vmmanager.triggers.views import ClientsView, ClientView, Reads

Sample = tuple[float, Any]
_MISSING = object()
PREVIOUS = -1.0  # a window that holds the last value and the one before


def functions(reads: Reads) -> dict[str, Callable[..., Any]]:
    """The functions by their names in trigger code; `reads` says what time it is."""
    return {
        "time": lambda: reads.wall,
        "last": _over("last", _last),
        "avg": _over("avg", _average, _mean),
        "min": _over("min", lambda samples: min(value for _, value in samples), _smallest),
        "max": _over("max", lambda samples: max(value for _, value in samples), _largest),
        "sum": _over("sum", lambda samples: sum(value for _, value in samples), _total),
        "change": _over("change", _change, window_s=PREVIOUS),
        "rate": _over("rate", _rate),
        "percentile": percentile,
        "count": count,
        "age": age,
        "nodata": nodata,
        "values": values,
        "known": known,
    }


def _over(
    name: str,
    of_samples: Callable[[list[Sample]], Any],
    of_values: Callable[..., Any] | None = None,
    window_s: float = math.inf,
) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        first = arguments[0] if arguments else None
        if len(arguments) >= 2 and type(first) is Unknown and isinstance(arguments[1], str):
            return first
        if isinstance(first, ClientView):
            window = named.pop("window", arguments[2] if len(arguments) > 2 else window_s)
            return _on_window(name, of_samples, first, arguments[1] if len(arguments) > 1 else None, window)
        if of_values is None:
            raise TypeError(f"{name}: a client and the name of a property are wanted, as in {name}(client, 'load1', 300)")
        return of_values(*arguments, **named)

    return call


def _on_window(
    name: str, of_samples: Callable[[list[Sample]], Any], client: ClientView, prop: Any = None, window_s: Any = math.inf
) -> Any:
    samples = _samples(client, prop, math.inf if window_s == PREVIOUS else window_s)
    if type(samples) is Unknown:
        return samples
    if window_s == PREVIOUS:
        samples, window_s = samples[-2:], math.inf
    value = of_samples(samples)
    window = "" if window_s == math.inf else f", {window_s:g}"
    client._reads.results[f"{name}({client.name}, {prop}{window})"] = value
    return Unknown(f"too few values of {prop} of {client.name} within {window_s:g} s") if value is None else value


def _samples(client: ClientView, prop: str, window_s: float) -> Any:
    """list[Sample], oldest first, or Unknown. Raises TypeError when a value cannot be calculated with."""
    if not isinstance(prop, str):
        raise TypeError(f"the name of a property is wanted, not {prop!r}")
    now_value = client._value(prop)
    if type(now_value) is Unknown:
        return now_value
    held = client._held(prop)
    since, found = client._reads.wall - window_s, []
    for sample in reversed(held.history if held is not None else ()):
        if sample[0] < since:
            break
        if sample[1] is not None:
            found.append(sample)
    if not found:
        return Unknown(f"no value of {prop} of {client.name} within {window_s:g} s")
    found.reverse()
    return found


def _last(samples: list[Sample]) -> Any:
    return samples[-1][1]


def _average(samples: list[Sample]) -> Any:
    return math.fsum(value for _, value in samples) / len(samples)


def _change(samples: list[Sample]) -> Any:
    return None if len(samples) < 2 else samples[-1][1] - samples[0][1]


def _rate(samples: list[Sample]) -> Any:
    """Increase per second of a counter; a value below its predecessor is a counter that began again at zero."""
    elapsed = samples[-1][0] - samples[0][0]
    if len(samples) < 2 or elapsed <= 0:
        return None
    grown = 0.0
    for (_, before), (_, after) in pairwise(samples):
        grown += after - before if after >= before else after
    return grown / elapsed


def percentile(*arguments: Any) -> Any:
    """percentile(client, "load1", 300, 95) or percentile(values, 95): the nearest-rank percentile."""
    if len(arguments) == 4 and isinstance(arguments[0], ClientView):
        client, prop, window_s, percent = arguments
        samples = _samples(client, prop, window_s)
        return samples if type(samples) is Unknown else _ranked([value for _, value in samples], percent)
    if arguments and type(arguments[0]) is Unknown:
        return arguments[0]
    plain, percent = arguments
    found = list(plain)
    if not found:
        return Unknown("percentile of no values")
    unknown = next((value for value in found if type(value) is Unknown), None)
    return _ranked(found, percent) if unknown is None else unknown


def _ranked(found: list[Any], percent: float) -> Any:
    if not 0 < percent <= 100:
        raise ValueError(f"percentile {percent}: a number above 0 and up to 100 is wanted")
    return sorted(found)[math.ceil(len(found) * percent / 100) - 1]


def count(*arguments: Any) -> Any:
    """count(client, "load1", 300, lambda v: v > 8): values in the window, those for which the last argument holds.
    count(c.load1 > 8 for c in ...): how many are true; unknown when one is."""
    first = arguments[0] if arguments else ()
    if type(first) is Unknown:
        return first
    if not isinstance(first, ClientView):
        (conditions,) = arguments
        return _total(truth(condition) for condition in conditions)
    prop, window_s, *holds = arguments[1:]
    current = first._value(prop)
    if type(current) is Unknown:
        return current
    samples = _samples(first, prop, window_s)
    if type(samples) is Unknown:
        return 0
    return _total(truth(holds[0](value)) for _, value in samples) if holds else len(samples)


def age(client: Any, prop: Any = _MISSING) -> Any:
    """Seconds since the client's last message, or since the property was read, however stale it is."""
    if type(client) is Unknown:
        return client
    if prop is _MISSING:
        return client.age
    value, held = client._value(prop), client._held(prop)
    return value if held is None else client._reads.wall - held.read_at


def nodata(client: Any, *arguments: Any) -> Any:
    """nodata(client, 120): no message for so long. nodata(client, "load1", 120): no good reading of it for so long; unknown
    while the client itself has not been here for so long."""
    if type(client) is Unknown:
        return client
    reads = client._reads
    if len(arguments) == 1:
        quiet_at = client.active_timestamp + arguments[0]
        reads.wake = min(reads.wake, quiet_at) if quiet_at >= reads.wall else reads.wake
        return reads.wall > quiet_at
    prop, window_s = arguments
    client._value(prop)
    held = client._held(prop)
    good_at = None if held is None else held.read_at if not held.reading.error else _last_good(held.history)
    if good_at is None:
        since = client._client().connected_at
        if reads.wall - since <= window_s:
            reads.wake = min(reads.wake, since + window_s)
            return Unknown(f"{client.name} has been here for {reads.wall - since:.0f} s only")
        return True
    if good_at + window_s >= reads.wall:
        reads.wake = min(reads.wake, good_at + window_s)
        return False
    return True


def _last_good(history: Iterable[Sample]) -> float | None:
    times = [at for at, value in history if value is not None]
    return times[-1] if times else None


def values(clients: Any, prop: str) -> Any:
    """The known values of a property of all members of a group or a list; unknown ones are left out. Unknown when nobody's
    is known: the sum of nothing is not zero."""
    if type(clients) is Unknown:
        return clients
    members = clients.values() if isinstance(clients, ClientsView) else clients
    found = [value for value in (client._value(prop) for client in members) if type(value) is not Unknown]
    return found or Unknown(f"no value of {prop} is known")


def known(value: Any) -> bool:
    """Whether there is a value. The one way to ask about an unknown without becoming unknown."""
    return type(value) is not Unknown


def _plain(arguments: tuple[Any, ...], what: str) -> tuple[list[Any], Unknown | None]:
    if len(arguments) == 1 and type(arguments[0]) is Unknown:
        return [], arguments[0]
    found = list(arguments[0]) if len(arguments) == 1 else list(arguments)
    unknown = next((value for value in found if type(value) is Unknown), None)
    return found, unknown if found else Unknown(f"{what} of no values")


def _mean(*arguments: Any) -> Any:
    found, unknown = _plain(arguments, "avg")
    return unknown if unknown is not None else math.fsum(found) / len(found)


def _smallest(*arguments: Any, key: Any = None, default: Any = _MISSING) -> Any:
    found, unknown = _plain(arguments, "min")
    if not found and default is not _MISSING:
        return default
    return unknown if unknown is not None else min(found, key=key)


def _largest(*arguments: Any, key: Any = None, default: Any = _MISSING) -> Any:
    found, unknown = _plain(arguments, "max")
    if not found and default is not _MISSING:
        return default
    return unknown if unknown is not None else max(found, key=key)


def _total(items: Any, start: Any = 0) -> Any:
    if type(items) is Unknown:
        return items
    total = start
    for item in items:
        total = total + item
        if type(total) is Unknown:
            return total
    return total
