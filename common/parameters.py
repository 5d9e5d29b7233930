"""What a plugin function's annotations say of its parameters: text or wire values in, typed arguments out.

Knows no plugin by name, loads and runs nothing. ParameterFault is the caller's fault and says which parameter and why;
SignatureFault is the author's.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from common.plugin import Site
from common.value import Value

SIMPLE = (str, int, float, bool)
BOOLS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


class ParameterFault(Exception):
    """These parameters do not suit the function: the text names the parameter and what it takes."""


class SignatureFault(Exception):
    """The function cannot be a plugin: a parameter's annotation is missing or of a kind that nothing converts to."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter the caller may give."""

    name: str
    type: Any
    required: bool
    positional: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """What `bind` needs to know of a function; made once, when the plugin is loaded."""

    parameters: tuple[Parameter, ...]
    rest: Any  # the annotation of **name, or None
    site: str  # the parameter that takes the Site, or empty

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Signature:
        """Raises SignatureFault."""
        try:
            hints = typing.get_type_hints(function)
        except (NameError, TypeError, SyntaxError) as fault:
            raise SignatureFault(f"{function.__name__}: its annotations cannot be read: {fault}") from None
        parameters: list[Parameter] = []
        rest: Any = None
        site = ""
        for parameter in inspect.signature(function).parameters.values():
            hint = hints.get(parameter.name)
            if hint is Site:
                site = parameter.name
            elif parameter.kind is parameter.VAR_KEYWORD:
                rest = _checked(hint, function.__name__, parameter.name)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                raise SignatureFault(f"{function.__name__}: *{parameter.name} is not supported; use list[str]")
            else:
                hint = _checked(hint, function.__name__, parameter.name)
                required = parameter.default is parameter.empty
                parameters.append(Parameter(parameter.name, hint, required, parameter.kind is not parameter.KEYWORD_ONLY))
        return cls(tuple(parameters), rest, site)

    def bind(self, positional: tuple[str, ...], named: Mapping[str, Value], site: Site) -> dict[str, Any]:
        """The arguments as keywords. Raises ParameterFault."""
        given = self._place(positional, named)
        known = {parameter.name: parameter for parameter in self.parameters}
        bound: dict[str, Any] = {self.site: site} if self.site else {}
        for name, value in given.items():
            if name in known:
                bound[name] = convert(value, known[name].type, name)
            elif self.rest is not None and name != self.site:
                bound[name] = convert(value, self.rest, name)
            else:
                takes = ", ".join(known) or "none"
                raise ParameterFault(f"no parameter {name}; there are: {takes}")
        missing = [parameter.name for parameter in self.parameters if parameter.required and parameter.name not in bound]
        if missing:
            raise ParameterFault(f"parameter {', '.join(missing)} is missing")
        return bound

    def _place(self, positional: tuple[str, ...], named: Mapping[str, Value]) -> dict[str, Value]:
        slots = [parameter for parameter in self.parameters if parameter.positional]
        given: dict[str, Value] = {}
        if slots and _is_list(slots[-1].type) and len(positional) >= len(slots):
            last = len(slots) - 1
            given[slots[last].name] = list(positional[last:])
            positional = positional[:last]
        if len(positional) > len(slots):
            raise ParameterFault(f"{len(positional)} parameters given, at most {len(slots)} taken")
        for slot, value in zip(slots, positional, strict=False):
            given[slot.name] = value
        twice = sorted(set(given) & set(named))
        if twice:
            raise ParameterFault(f"parameter {twice[0]} is given twice")
        return given | dict(named)


def convert(value: Value, wanted: Any, name: str) -> Any:
    """One value as its annotation wants it. Raises ParameterFault."""
    origin = typing.get_origin(wanted)
    if origin is Literal:
        return _choice(value, typing.get_args(wanted), name)
    if origin in (Union, types.UnionType):
        return _union(value, typing.get_args(wanted), name)
    if _is_object(wanted):
        if isinstance(value, dict):
            return value
        raise ParameterFault(f"parameter {name}: {_shown(value)} is no object")
    if _is_list(wanted):
        items = value if isinstance(value, list) else [value]
        return [convert(item, str, name) for item in items]
    return _simple(value, wanted, name)


def _simple(value: Value, wanted: Any, name: str) -> Any:
    if wanted is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return str(value)
    if wanted is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in BOOLS:
            return BOOLS[value.strip().lower()]
    elif wanted in (int, float) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = wanted(value)
        except (ValueError, OverflowError):
            pass
        else:
            if wanted is float or isinstance(value, str) or number == value:
                return number
    raise ParameterFault(f"parameter {name}: {_shown(value)} is no {wanted.__name__}")


def _choice(value: Value, choices: tuple[Any, ...], name: str) -> Any:
    for choice in choices:
        if value == choice or str(value) == str(choice):
            return choice
    raise ParameterFault(f"parameter {name}: {_shown(value)} is none of {', '.join(map(str, choices))}")


def _union(value: Value, members: tuple[Any, ...], name: str) -> Any:
    if value is None and type(None) in members:
        return None
    faults: list[str] = []
    for member in sorted((member for member in members if member is not type(None)), key=lambda member: member is str):
        try:
            return convert(value, member, name)
        except ParameterFault as fault:
            faults.append(str(fault))
    raise ParameterFault(faults[-1] if faults else f"parameter {name}: takes nothing")


def _checked(hint: Any, function: str, name: str) -> Any:
    members = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    for member in members:
        if not (
            member in (*SIMPLE, type(None)) or typing.get_origin(member) is Literal or _is_list(member) or _is_object(member)
        ):
            what = "has no annotation" if hint is None else f"is annotated {hint}"
            takes = "str, int, float, bool, Literal, list[str] or dict[str, Value]"
            raise SignatureFault(f"{function}: parameter {name} {what}; it may be {takes}")
    return hint


def _is_list(hint: Any) -> bool:
    return typing.get_origin(hint) is list and typing.get_args(hint) == (str,)


def _is_object(hint: Any) -> bool:
    return typing.get_origin(hint) is dict and typing.get_args(hint) == (str, Value)


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
