"""Compiles `expr`, `recovery` and `cmd`: Python text in, code that can be called out. Evaluates nothing, knows no farm.

An expression is rewritten so that `and`, `or`, `not`, `in`, `is`, chained comparisons, `x if c else y`, `any` and `all` follow
Kleene's logic over Unknown (unknown.py), and is refused where it reaches for more than its views: no names or attributes
with leading underscores, none of Python's inspection attributes, no str.format. `cmd` is plain Python, compiled as it stands.
"""

from __future__ import annotations

import ast
import operator
import textwrap
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

from common.config.model import Code, ConfigurationError, Fault, Where
from vmmanager.triggers import unknown
from vmmanager.triggers.unknown import Unknown

SOURCE_CHARS_MAX = 20_000
INTEGER_BITS_MAX = 4_096  # `10 ** 10 ** 10` runs in C, where no budget can stop it
SEQUENCE_MAX = 1_000_000  # the same for "x" * 10**12 and range(10**12)

_INSPECTION_PREFIXES = ("gi_", "cr_", "ag_", "tb_", "co_")
INSPECTION = frozenset(
    {
        "f_back",
        "f_builtins",
        "f_code",
        "f_globals",
        "f_locals",
        "f_lasti",
        "f_lineno",
        "f_trace",
        "func_globals",
        "func_code",
        "mro",
    }
)
DIGITS_MAX = 400  # a float has no more; round(5, -10**9) would count 10**10**9
WIDENERS = frozenset({"center", "expandtabs", "ljust", "rjust", "to_bytes", "zfill"})  # the same for "x".ljust(10**12)
CHANGERS = frozenset(  # a list or dict that a client told is the farm's own
    {
        *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort"),
        *("difference_update", "intersection_update", "symmetric_difference_update", "update"),
    }
)
FORMATTERS = frozenset({"format", "format_map"})  # "{0.__class__}".format(x) reads any attribute

_OPERATORS: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Eq: ("_k_eq", operator.eq),
    ast.NotEq: ("_k_ne", operator.ne),
    ast.Lt: ("_k_lt", operator.lt),
    ast.LtE: ("_k_le", operator.le),
    ast.Gt: ("_k_gt", operator.gt),
    ast.GtE: ("_k_ge", operator.ge),
    ast.In: ("_k_in", unknown.kleene_in),
    ast.NotIn: ("_k_not_in", lambda item, container: unknown.kleene_not(unknown.kleene_in(item, container))),
    ast.Is: ("_k_is", unknown.kleene_is),
    ast.IsNot: ("_k_is_not", lambda left, right: unknown.kleene_not(unknown.kleene_is(left, right))),
}
_NATIVE = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)  # Unknown's own methods do these


class CodeFault(ConfigurationError):
    """The text cannot be used: why, with file, line, section and key."""

    def __init__(self, where: Where, text: str) -> None:
        self.fault = Fault(where, text)
        super().__init__([self.fault])


def bounded_pow(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base).bit_length() * exponent > INTEGER_BITS_MAX:
        raise OverflowError(f"{base} ** {exponent} is too large")
    return base**exponent


def bounded_shift(value: Any, by: Any) -> Any:
    if isinstance(by, int) and by > INTEGER_BITS_MAX:
        raise OverflowError(f"<< {by} is too large")
    return value << by


def bounded_mul(left: Any, right: Any) -> Any:
    for sequence, times in ((left, right), (right, left)):
        if isinstance(sequence, (str, bytes, list, tuple)) and isinstance(times, int) and len(sequence) * times > SEQUENCE_MAX:
            raise OverflowError(f"a sequence of {len(sequence) * times} elements is too large")
    return left * right


def bounded_round(number: Any, digits: Any = None) -> Any:
    if isinstance(digits, int) and abs(digits) > DIGITS_MAX:
        raise OverflowError(f"round to {digits} digits is too much")
    return round(number, digits)


def bounded_range(*limits: int) -> range:
    numbers = range(*(operator.index(limit) for limit in limits))
    if len(numbers[: SEQUENCE_MAX + 1]) > SEQUENCE_MAX:
        raise OverflowError(f"a range of more than {SEQUENCE_MAX} numbers is too large")
    return numbers


def definite_mod(left: Any, right: Any) -> Any:
    if isinstance(left, (str, bytes)):
        if len(left) > 200 or "*" in str(left) or any(len(digits) > 3 for digits in _numbers(str(left))):
            raise OverflowError("a format with so wide fields is too large")
        for value in right if isinstance(right, tuple) else (right,):
            unknown.definite(value)
    return left % right


def _numbers(text: str) -> list[str]:
    return "".join(letter if letter.isdigit() else " " for letter in text).split()


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A builtin that would turn an Unknown into text or a guess gives the Unknown back instead."""

    def call(*arguments: Any) -> Any:
        for argument in arguments:
            if type(argument) is Unknown:
                return argument
        return function(*arguments)

    return call


_SAFE: tuple[Any, ...] = (
    abs, dict, divmod, enumerate, filter, frozenset, len, list, map, reversed, set, sorted, tuple, zip,
)  # fmt: skip
BUILTINS: dict[str, Any] = {
    **{builtin.__name__: builtin for builtin in _SAFE},
    "any": unknown.kleene_any,
    "all": unknown.kleene_all,
    "bool": unknown.truth,
    "float": _plain(float),
    "int": _plain(int),
    "str": _plain(str),
    "range": bounded_range,
    "round": bounded_round,
    "None": None,
    "True": True,
    "False": False,
}

MACHINERY: dict[str, Any] = {
    **dict(_OPERATORS.values()),
    "_k_and": unknown.kleene_and,
    "_k_or": unknown.kleene_or,
    "_k_not": unknown.kleene_not,
    "_k_if": unknown.kleene_if,
    "_k_chain": unknown.kleene_chain,
    "_k_definite": unknown.definite,
    "_k_pow": bounded_pow,
    "_k_shift": bounded_shift,
    "_k_mul": bounded_mul,
    "_k_mod": definite_mod,
}
_GUARDED: dict[type[ast.operator], str] = {ast.Pow: "_k_pow", ast.LShift: "_k_shift", ast.Mult: "_k_mul", ast.Mod: "_k_mod"}


def compile_expr(code: Code, arguments: tuple[str, ...], names: Iterable[str]) -> CodeType:
    """Code of a lambda with these arguments; `names` are the other names it may use. Raises CodeFault."""
    tree = _parse(code)
    _check(tree, code, frozenset(arguments) | frozenset(names) | BUILTINS.keys())
    rewritten = _Kleene().visit(tree.body)
    wanted = ast.arguments([], [ast.arg(name) for name in arguments], None, [], [], None, [])
    function = ast.Expression(ast.copy_location(ast.Lambda(wanted, rewritten), tree.body))
    ast.increment_lineno(ast.fix_missing_locations(function), _before(code))
    try:
        return compile(function, code.where.file, "eval", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise CodeFault(code.where, str(fault)) from None


def compile_cmd(code: Code) -> CodeType:
    """The module that `cmd` is, with the file's own line numbers. Raises CodeFault."""
    source = "\n" * (max(code.where.line, 1) - 1) + cmd_text(code.text)
    try:
        return compile(source, code.where.file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise _located(code, fault, 0) from None


def cmd_text(text: str) -> str:
    """What stands between the braces, brought to the left margin, with as many lines as before."""
    first, newline, rest = text.partition("\n")
    if not first.strip():
        return newline + textwrap.dedent(rest)
    rest = textwrap.dedent(rest)
    if first.rstrip().endswith(":"):
        rest = textwrap.indent(rest, "    ")
    return first.strip() + newline + rest


def error_place(fault: BaseException, code: Code) -> Where:
    """The operator's line that raised."""
    line, trace = code.where.line, fault.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == code.where.file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return _at(code, line)


def _parse(code: Code) -> ast.Expression:
    if len(code.text) > SOURCE_CHARS_MAX:
        raise CodeFault(code.where, f"{len(code.text)} characters, the limit is {SOURCE_CHARS_MAX}")
    try:
        # in parentheses, so that it may span lines
        tree = ast.parse("(" + code.text + "\n)", code.where.file, "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise _located(code, fault, _before(code)) from None
    if isinstance(tree.body, ast.GeneratorExp):
        raise CodeFault(code.where, "a generator is always true; write any(...) or all(...) around it")
    if isinstance(tree.body, (ast.Tuple, ast.Lambda)):
        raise CodeFault(code.where, f"a {type(tree.body).__name__.lower()} is always true; one condition is wanted")
    return tree


def _before(code: Code) -> int:
    """Lines of the file before the code's first one."""
    return max(code.where.line, 1) - 1


def _at(code: Code, line: int) -> Where:
    return Where(code.where.file, line, code.where.section, code.where.key)


def _located(code: Code, fault: Exception, before: int) -> CodeFault:
    if isinstance(fault, SyntaxError):
        return CodeFault(_at(code, (fault.lineno or 1) + before), str(fault.msg))
    return CodeFault(code.where, str(fault))


def _check(tree: ast.Expression, code: Code, names: frozenset[str]) -> None:
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    for node in ast.walk(tree):
        why = _refused(node, names | bound)
        if why:
            raise CodeFault(_at(code, getattr(node, "lineno", 1) + _before(code)), why)


def _refused(node: ast.AST, names: frozenset[str]) -> str:
    if isinstance(node, ast.Attribute):
        if node.attr.startswith(("_", *_INSPECTION_PREFIXES)) or node.attr in INSPECTION:
            return f"the attribute {node.attr} is not for expressions"
        if node.attr in CHANGERS:
            return f"{node.attr} is not for expressions: they change nothing (a property of that name is props[{node.attr!r}])"
        if node.attr in WIDENERS:
            return f"{node.attr} is not for expressions"
        if node.attr in FORMATTERS:
            return f"str.{node.attr} is not for expressions; use an f-string"
    elif isinstance(node, ast.Name):
        if node.id.startswith("__") or node.id.startswith("_k_"):
            return f"the name {node.id} is not for expressions"
        if node.id not in names:
            return f"there is no {node.id} here"
    elif isinstance(node, ast.arg) and node.arg.startswith(("__", "_k_")):
        return f"the name {node.arg} is not for expressions"
    elif isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)):
        return f"{type(node).__name__} is not for expressions"
    elif isinstance(node, ast.comprehension) and node.is_async:
        return "async is not for expressions"
    elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
        spec = ast.unparse(node.format_spec)
        if any(len(digits) > 3 for digits in _numbers(spec)) or "{" in spec:
            return "so wide a field is not for expressions"
    return ""


class _Kleene(ast.NodeTransformer):
    """Rewrites what Python decides by bool() so that it can be unknown."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        name = "_k_and" if isinstance(node.op, ast.And) else "_k_or"
        values = [self.visit(value) for value in node.values]
        result = values[-1]
        for value in reversed(values[:-1]):
            result = _call(name, node, value, _later(result))
        return result  # type: ignore[no-any-return]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        operand = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return _call("_k_not", node, operand)
        return ast.copy_location(ast.UnaryOp(node.op, operand), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        left, rest = self.visit(node.left), [self.visit(operand) for operand in node.comparators]
        if len(rest) == 1:
            if isinstance(node.ops[0], _NATIVE):
                return ast.copy_location(ast.Compare(left, node.ops, rest), node)
            return _call(_OPERATORS[type(node.ops[0])][0], node, left, rest[0])
        links = [
            ast.Tuple([_name(_OPERATORS[type(op)][0]), _later(operand)], ast.Load())
            for op, operand in zip(node.ops, rest, strict=True)
        ]
        return _call("_k_chain", node, left, ast.Tuple(list(links), ast.Load()))

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        return _call("_k_if", node, self.visit(node.test), _later(self.visit(node.body)), _later(self.visit(node.orelse)))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in ("any", "all") and len(node.args) == 1 and not node.keywords:
            argument = node.args[0]
            if isinstance(argument, ast.GeneratorExp) and argument.generators[-1].ifs:
                node.args[0] = _filter_inside(argument, all_of=node.func.id == "all")
        return self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        node.value = _call("_k_definite", node, self.visit(node.value))
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left, right = self.visit(node.left), self.visit(node.right)
        guarded = _GUARDED.get(type(node.op))
        if guarded is None:
            return ast.copy_location(ast.BinOp(left, node.op, right), node)
        return _call(guarded, node, left, right)


def _filter_inside(generator: ast.GeneratorExp, *, all_of: bool) -> ast.GeneratorExp:
    """any(e for x in y if f) as any(f and e for x in y), so that an unknown f does not spoil what the others decide."""
    last = generator.generators[-1]
    held: ast.expr = ast.BoolOp(ast.And(), last.ifs) if len(last.ifs) > 1 else last.ifs[0]
    last.ifs = []
    if all_of:
        generator.elt = ast.BoolOp(ast.Or(), [ast.UnaryOp(ast.Not(), held), generator.elt])
    else:
        generator.elt = ast.BoolOp(ast.And(), [held, generator.elt])
    return generator


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _later(value: ast.expr) -> ast.expr:
    return ast.copy_location(ast.Lambda(ast.arguments([], [], None, [], [], None, []), value), value)


def _call(name: str, at: ast.AST, *arguments: ast.expr) -> ast.expr:
    called: ast.expr = ast.Call(_name(name), list(arguments), [])
    return ast.copy_location(called, at)
