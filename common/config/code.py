"""The Python of a trigger: parsed with the file's own line numbers, its faults as sentences. Compiles, but runs nothing.

tree(code, "expr")   one expression; line breaks are free, as within parentheses
tree(code, "cmd")    statements
"""

from __future__ import annotations

import ast
import warnings
from typing import Literal, overload

from common.config.model import Code, Fault, Where
from common.config.python2 import old_prints, old_syntax

Kind = Literal["expr", "cmd"]

_ALWAYS_TRUE = ((ast.Tuple, "a tuple"), (ast.GeneratorExp, "a generator"))


@overload
def tree(code: Code, kind: Literal["expr"]) -> ast.Expression: ...
@overload
def tree(code: Code, kind: Literal["cmd"]) -> ast.Module: ...


def tree(code: Code, kind: Kind) -> ast.Expression | ast.Module:
    """The syntax tree, whose line numbers are the file's. Raises SyntaxError, and nothing else."""
    text = f"({code.text}\n)" if kind == "expr" else code.text + "\n"
    text = "\n" * (max(code.where.line, 1) - 1) + text
    mode: Literal["eval", "exec"] = "eval" if kind == "expr" else "exec"
    try:
        parsed = ast.parse(text, code.where.file, mode)
        assert isinstance(parsed, ast.Expression | ast.Module)
        compile(
            parsed, code.where.file, mode, dont_inherit=True
        )  # finds what only the compiler knows: `return` outside a function
    except (MemoryError, RecursionError):
        raise SyntaxError("nested too deeply", (code.where.file, code.where.line, 1, "")) from None
    except (ValueError, OverflowError) as fault:
        raise SyntaxError(str(fault), (code.where.file, code.where.line, 1, "")) from None
    return parsed


def check(code: Code, kind: Kind) -> tuple[list[Fault], list[Fault]]:
    """(faults, warnings) of one block, each with the file's line."""
    if not code.text.strip():
        return [Fault(code.where, "is empty")], []
    old = old_prints(code.text) if kind == "cmd" else []
    if old:
        return [_fault(code, at, f"this is Python 2; in Python 3 the line is: {line}") for at, line in old], []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parsed = tree(code, kind)
        except SyntaxError as fault:
            return [_syntax_fault(code, kind, fault)], []
    hints = [_fault(code, max((one.lineno or 1) - code.where.line, 0), f"Python warns: {one.message}") for one in caught]
    always = [what for node, what in _ALWAYS_TRUE if isinstance(parsed, ast.Expression) and isinstance(parsed.body, node)]
    if always:
        return [Fault(code.where, f"is {always[0]}, which is always true (write any(...), all(...), or one condition)")], []
    return [], hints


def _fault(code: Code, at: int, text: str) -> Fault:
    where = code.where
    return Fault(Where(where.file, where.line + at, where.section, where.key), text)


def _syntax_fault(code: Code, kind: Kind, fault: SyntaxError) -> Fault:
    lines = code.text.split("\n")
    at = min(max((fault.lineno or 1) - code.where.line, 0), len(lines) - 1)
    line = lines[at].strip()
    new = old_syntax(line)
    if new:
        return _fault(code, at, f"this is Python 2; in Python 3 {new}: {line}")
    if kind == "expr" and _is_statement(code):
        return _fault(code, at, f"must be an expression, one that gives a value, and is a statement: {line}")
    return _fault(code, at, f"Python does not understand this ({fault.msg}): {line}")


def _is_statement(code: Code) -> bool:
    if old_prints(code.text):
        return True
    try:
        tree(code, "cmd")
    except SyntaxError:
        return False
    return True
