"""Parameters of plugins: text from a file or values from the wire become what the annotations say, or one clear refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.parameters import ParameterFault, Signature, SignatureFault
from common.plugin import Site
from common.value import NotCarried, Value, plain

SITE = Site("xen1")


def disk(
    site: Site, path: str, field: Literal["free", "used"] = "free", percent: bool = False, depth: int | None = None
) -> None: ...
def many(first: str, rest: list[str]) -> None: ...
def anything(site: Site, program: str, **parameters: str) -> None: ...
def structured(definition: dict[str, Value], more: dict[str, Value] | None = None) -> None: ...
def numbers(whole: int = 0, part: float = 0.0, choice: Literal[1, 5] = 1, either: int | str = 0) -> None: ...


def bind(function: Callable[..., Any], *positional: str, **named: Value) -> dict[str, Any]:
    bound = Signature.of(function).bind(positional, named, SITE)
    return {name: value for name, value in bound.items() if value is not SITE}


@pytest.mark.parametrize(
    ("function", "positional", "named", "expected"),
    [
        (disk, ("/",), {}, {"path": "/"}),
        (disk, ("/", "used", "yes", "3"), {}, {"path": "/", "field": "used", "percent": True, "depth": 3}),
        (disk, (), {"path": "/", "depth": None}, {"path": "/", "depth": None}),
        (disk, (), {"path": 5}, {"path": "5"}),
        (many, ("a", "b", "c"), {}, {"first": "a", "rest": ["b", "c"]}),
        (many, ("a",), {"rest": "b"}, {"first": "a", "rest": ["b"]}),
        (anything, ("p",), {"x": "1", "y": 2}, {"program": "p", "x": "1", "y": "2"}),
        (structured, (), {"definition": {"a": [1, {"b": None}]}}, {"definition": {"a": [1, {"b": None}]}}),
        (structured, (), {"definition": {}, "more": None}, {"definition": {}, "more": None}),
        (numbers, ("7", "1.5", "5", "9"), {}, {"whole": 7, "part": 1.5, "choice": 5, "either": 9}),
        (numbers, (), {"whole": 7.0, "either": "x"}, {"whole": 7, "either": "x"}),
    ],
)
def test_bound(function: Callable[..., Any], positional: tuple[str, ...], named: dict[str, Value], expected: object) -> None:
    assert bind(function, *positional, **named) == expected


@pytest.mark.parametrize(
    ("function", "positional", "named", "why"),
    [
        (disk, (), {}, "parameter path is missing"),
        (disk, ("/", "full"), {}, "parameter field: 'full' is none of free, used"),
        (disk, ("/",), {"percent": "maybe"}, "parameter percent: 'maybe' is no bool"),
        (disk, ("/",), {"nope": 1}, "no parameter nope; there are: path, field, percent, depth"),
        (disk, ("/",), {"path": "/"}, "parameter path is given twice"),
        (disk, ("/", "free", "1", "2", "3"), {}, "5 parameters given, at most 4 taken"),
        (disk, ("/",), {"site": "mine"}, "no parameter site"),
        (anything, ("p",), {"site": "mine"}, "no parameter site"),
        (numbers, ("1.5",), {}, "parameter whole: '1.5' is no int"),
        (numbers, (), {"whole": 1.5}, "parameter whole: 1.5 is no int"),
        (numbers, (), {"whole": True}, "parameter whole: True is no int"),
        (numbers, (), {"part": [1]}, "is no float"),
        (many, ("a",), {"rest": [1, {}]}, "is no str"),
        (structured, ("text",), {}, "parameter definition: 'text' is no object"),
        (structured, (), {"definition": [1]}, "parameter definition: [1] is no object"),
    ],
)
def test_refused(function: Callable[..., Any], positional: tuple[str, ...], named: dict[str, Value], why: str) -> None:
    with pytest.raises(ParameterFault) as caught:
        bind(function, *positional, **named)
    assert why in str(caught.value)


def test_a_function_whose_parameters_nothing_converts_to_is_no_plugin() -> None:
    def bare(x) -> None: ...  # type: ignore[no-untyped-def]
    def odd(x: dict[str, str]) -> None: ...
    def stars(*x: str) -> None: ...

    for function in (bare, odd, stars):
        with pytest.raises(SignatureFault, match=function.__name__):
            Signature.of(function)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(
    st.lists(st.text(), max_size=6),
    st.dictionaries(st.sampled_from(["path", "field", "whole", "rest", "x"]), values, max_size=4),
)
def test_whatever_is_given_is_bound_or_refused(positional: list[str], named: dict[str, Any]) -> None:
    for function in (disk, many, anything, numbers):
        with contextlib.suppress(ParameterFault):  # and nothing else
            bind(function, *positional, **named)


@given(values)
def test_a_plain_value_is_one_that_both_ends_can_carry(value: object) -> None:
    from common.protocol import PropVal, Reading, decode, encode

    try:
        carried = plain(value)
    except NotCarried:
        return
    message = PropVal(reading=Reading(name="x", value=carried))
    assert decode(encode(message)) == message
