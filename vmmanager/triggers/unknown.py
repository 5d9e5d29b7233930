"""The third truth value: what is missing, failed or stale is neither true nor false. Kleene's strong logic over it.

Arithmetic and comparisons with an Unknown give it back, so its reason survives to the result. Where Python insists on a plain
value (`if` of a comprehension, a dictionary key, `float(x)`) UnknownUsed is raised, and the whole result is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn


class UnknownUsed(Exception):
    """An Unknown was used where only a value can be."""

    def __init__(self, unknown: Unknown) -> None:
        super().__init__(unknown.reason)
        self.unknown = unknown


class OverBudget(BaseException):
    """The code ran longer than the trigger's budget_s. No Exception, so that no handler on the way swallows it."""


def _same(self: Unknown, *_: object, **__: object) -> Unknown:
    return self


def _refuse(self: Unknown, *_: object) -> NoReturn:
    raise UnknownUsed(self)


class Unknown:
    """No value, and why: `ram_free of xen3 is stale (age 200 s)`."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason: Final = reason

    def __getattr__(self, name: str) -> Unknown:
        if name.startswith("_"):
            raise AttributeError(name)
        return self

    def __repr__(self) -> str:
        return f"unknown ({self.reason})"

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _same
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __and__ = __rand__ = _same
    __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _same
    __neg__ = __pos__ = __abs__ = __invert__ = __round__ = __lt__ = __le__ = __gt__ = __ge__ = _same
    __getitem__ = __call__ = _same
    __bool__ = __len__ = __iter__ = __contains__ = __int__ = __float__ = __index__ = __next__ = _refuse

    # an unknown is not even known to be itself
    def __eq__(self, other: object) -> Unknown:  # type: ignore[override]
        return self

    def __ne__(self, other: object) -> Unknown:  # type: ignore[override]
        return self

    def __hash__(self) -> int:
        raise UnknownUsed(self)


Truth = bool | Unknown


def truth(value: Any) -> Truth:
    if value is True or value is False:
        return value
    return value if type(value) is Unknown else bool(value)


def kleene_not(value: Any) -> Truth:
    return value if type(value) is Unknown else not value


def kleene_and(left: Any, right: Callable[[], Any]) -> Any:
    """Python's `and`, with its values; False wins over unknown."""
    if type(left) is not Unknown:
        return right() if left else left
    other = _unless_broken(right, left)
    return left if type(other) is Unknown or other else other


def kleene_or(left: Any, right: Callable[[], Any]) -> Any:
    """Python's `or`, with its values; True wins over unknown."""
    if type(left) is not Unknown:
        return left or right()
    other = _unless_broken(right, left)
    return other if type(other) is not Unknown and other else left


def _unless_broken(right: Callable[[], Any], left: Unknown) -> Any:
    """The right side may count on the left one (`c.x != 0 and 1 / c.x`): under an unknown guard its failure says nothing."""
    try:
        return right()
    except Exception:  # noqa: BLE001
        return left


def kleene_if(condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """`then if condition else otherwise`; of an unknown condition only what both branches agree on is known."""
    if type(condition) is not Unknown:
        return then() if condition else otherwise()
    yes, no = _unless_broken(then, condition), _unless_broken(otherwise, condition)
    if type(yes) is Unknown or type(no) is Unknown:
        return condition
    same = yes == no
    return yes if same is True else condition


def kleene_any(values: Iterable[Any]) -> Truth:
    unknown: Unknown | None = None
    for value in values:
        if type(value) is Unknown:
            unknown = value if unknown is None else unknown
        elif value:
            return True
    return False if unknown is None else unknown


def kleene_all(values: Iterable[Any]) -> Truth:
    unknown: Unknown | None = None
    for value in values:
        if type(value) is Unknown:
            unknown = value if unknown is None else unknown
        elif not value:
            return False
    return True if unknown is None else unknown


def kleene_in(item: Any, container: Any) -> Truth:
    """`item in container`: true when a known element is equal, unknown when an unknown one might be."""
    if type(container) is Unknown:
        return container
    if isinstance(container, (str, bytes, dict)) or not isinstance(container, (list, tuple, set, frozenset)):
        return item if type(item) is Unknown else item in container
    if type(item) is Unknown:
        return item if len(container) else False
    return kleene_any(element is item or element == item for element in container)


def kleene_is(left: Any, right: Any) -> Truth:
    if type(left) is Unknown:
        return left
    return right if type(right) is Unknown else left is right


def kleene_chain(first: Any, links: tuple[tuple[Callable[[Any, Any], Any], Callable[[], Any]], ...]) -> Any:
    """`a < b < c`: each operand once, as `a < b and b < c`."""
    left = first
    result: Any = True
    for compare, operand in links:
        right = operand() if type(result) is not Unknown else _unless_broken(operand, result)
        step = compare(left, right)
        if type(step) is Unknown:
            result = step if type(result) is not Unknown else result
        elif not step:
            return step
        elif type(result) is not Unknown:
            result = step
        left = right
    return result


def definite(value: Any) -> Any:
    """For places that would turn an unknown into text."""
    if type(value) is Unknown:
        raise UnknownUsed(value)
    return value
