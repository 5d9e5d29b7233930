"""Blocks of Python: whatever Python a person writes between the braces is what is run, with the file's own lines."""

from __future__ import annotations

import ast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.config.blocks import read_block
from common.config.code import tree
from common.config.load import parse_triggers
from common.config.model import ConfigurationError, Fault
from common.config.python2 import old_prints

Line = tuple[str, bool]  # its text, and whether it begins within a string, where indentation is content
TEXTS = st.lists(st.sampled_from([*"{}()[]'\"#\\ab:=,\n\t é“”", "\n    ", "}\n  {"]), max_size=12).map("".join)


def _expressions() -> st.SearchStrategy[str]:
    names = st.sampled_from(["a", "b", "manager"])
    f_strings = TEXTS.map(lambda text: "f" + repr("{a}" + text.replace("{", "{{").replace("}", "}}")))
    return st.recursive(
        TEXTS.map(repr) | names | st.integers(0, 99).map(str) | f_strings,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
            st.lists(inner, max_size=3).map(lambda items: "{" + ", ".join(f"a: {item}" for item in items) + "}"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]} or\n{pair[1]})"),
            inner.map(lambda item: f"a(  # }} ]\n{item})"),
        ),
        max_leaves=8,
    )


def _statements() -> st.SearchStrategy[list[Line]]:
    simple = st.one_of(
        _expressions().map(lambda value: _lines(f"x = {value}")),
        TEXTS.map(lambda text: [("# " + text.replace("\n", " "), False), ("pass", False)]),
        TEXTS.map(lambda text: _string(text.replace("\\", "").replace('"', "'"))),
        st.just([("x = 1 + \\", False), ("  2", False), ("", False)]),
    )
    headers = st.sampled_from(["if a:", "for b in a:", "def f():"])
    return st.recursive(
        simple,
        lambda inner: st.one_of(
            st.tuples(headers, inner).map(lambda pair: [(pair[0], False), *_deeper(pair[1], "  ")]),
            st.tuples(inner, inner).map(lambda pair: pair[0] + pair[1]),
        ),
        max_leaves=5,
    )


def _lines(code: str) -> list[Line]:
    return [(line, False) for line in code.split("\n")]


def _string(text: str) -> list[Line]:
    first, *rest = f'y = """{text}"""'.split("\n")
    return [(first, False), *((line, True) for line in rest)]


def _deeper(lines: list[Line], indent: str) -> list[Line]:
    return [(line if within else indent + line, within) for line, within in lines]


def _text(lines: list[Line]) -> str:
    return "\n".join(line for line, _ in lines)


def _shape(code: ast.AST, lines_off: int = 0) -> list[tuple[str, int]]:
    """Each node with its line; constants with their value."""
    return [
        (
            ast.dump(node) if isinstance(node, ast.Constant) else type(node).__name__,
            getattr(node, "lineno", lines_off) - lines_off,
        )
        for node in ast.walk(code)
    ]


@given(_expressions())
def test_an_expression_comes_out_as_it_went_in(expression: str) -> None:
    (trigger,) = parse_triggers(f"# the first line\n[t]\nexpr = {{ [{expression}] }}  # }}\n")
    assert _shape(tree(trigger.expr, "expr").body, 2) == _shape(ast.parse(f"[{expression}]", mode="eval").body)


@example([("# \\", False), ("pass", False)], "    ", "}")
@given(_statements(), st.sampled_from(["", "    ", "\t", "            "]), st.sampled_from(["}", "    }  # }"]))
def test_statements_come_out_as_they_went_in(lines: list[Line], indent: str, end: str) -> None:
    (trigger,) = parse_triggers(f"[t]\nexpr = {{ True }}\ncmd = {{\n{_text(_deeper(lines, indent))}\n{end}\nticks = 7\n")
    assert trigger.cmd is not None
    assert _shape(tree(trigger.cmd, "cmd"), 3) == _shape(ast.parse(_text(lines)))
    assert trigger.ticks == 7


@given(st.text(st.sampled_from("{}()[]'\"#\\ab:=,\n\t f%!“”é"), max_size=40))
def test_any_text_between_braces_is_python_or_a_fault_with_its_line(text: str) -> None:
    lines = ["expr = {" + part if not at else part for at, part in enumerate(text.split("\n"))]
    block = read_block(lines, 0, 7)
    assert -1 <= block.end_row < len(lines)
    assert all(0 <= row < len(lines) for row, _ in block.faults)
    said = _faults("[t]\n" + "\n".join(lines))
    assert all(1 <= one.where.line <= len(lines) + 1 for one in said)


def _faults(text: str) -> tuple[Fault, ...]:
    try:
        parse_triggers(text)
    except ConfigurationError as fault:
        return fault.faults
    return ()


def test_code_behind_the_brace_and_below_it() -> None:
    (trigger,) = parse_triggers("[t]\nexpr = { True }\ncmd = { if a:\n           b = 1\n           c = 2 }\n")
    assert trigger.cmd is not None
    assert trigger.cmd.text == "if a:\n    b = 1\n    c = 2"
    assert trigger.cmd.where.line == 3


def test_what_stands_in_a_string_is_not_indented_anew() -> None:
    (trigger,) = parse_triggers('[t]\nexpr = { True }\ncmd = {\n    x = """\n  as it stands\n"""\n    }\n')
    assert trigger.cmd is not None
    assert trigger.cmd.text == '\nx = """\n  as it stands\n"""'


@pytest.mark.parametrize("rows", [1, 50])
def test_python_nested_beyond_reason_is_a_fault(rows: int) -> None:
    opening, closing = "\n".join(["(" * 1000] * rows), "\n".join([")" * 1000] * rows)
    with pytest.raises(ConfigurationError, match="Python does not understand this"):
        parse_triggers(f"[t]\nexpr = {{ {opening}1{closing} }}\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("print x", "print(x)"),
        ("print 'a', b, 3", "print('a', b, 3)"),
        ("print x,", 'print(x, end=" ")'),
        ("print >>log, x", "print(x, file=log)"),
        ("print >>log", "print(file=log)"),
        ("if a: print x", "if a: print(x)"),
        ("x = 1; print x; y = 2", "x = 1; print(x); y = 2"),
        ("print x; print y", "print(x); print(y)"),
        ("print (a), b", "print((a), b)"),
        ("print ('%s') % x  # so", "print(('%s') % x)  # so"),
        ("print -1", "print(-1)"),
        ("print [x for x in y], {1: 2}", "print([x for x in y], {1: 2})"),
        ("print 'a # b', x # c", "print('a # b', x) # c"),
        ("print not x", "print(not x)"),
        ("print f(1,\n   2), 3", "print(f(1, 2), 3)"),
    ],
)
def test_print_of_python_2_is_shown_as_python_3(old: str, new: str) -> None:
    assert old_prints(old) == [(0, new)]
    ast.parse(new)


@pytest.mark.parametrize(
    "line",
    [
        "print(x)",
        "print",
        "print()",
        "print (x)",
        "print(x) if a else b",
        "print = 3",
        "f(print)",
        "x.print",
        "{'a': print}",
        "# print x",
        "'print x'",
        "print.flush",
        "a = [print, x]",
        "f(key=print)",
        "x[1:print]",
        "print(a) or print(b)",
    ],
)
def test_what_is_right_in_python_3_is_left_alone(line: str) -> None:
    assert old_prints(line) == []
