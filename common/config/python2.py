"""Python 2 in a trigger's code: finds it and says what the Python 3 line is. Text in, text out."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Sequence
from io import StringIO
from tokenize import TokenInfo

_BEGINS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.NL, tokenize.COMMENT}
_ENDS = {tokenize.NEWLINE, tokenize.COMMENT, tokenize.ENDMARKER, tokenize.NL}
_OPERANDS = {
    ">>",
    "-",
    "+",
    "~",
    "[",
    "{",
}  # what may begin what is printed, besides a name or literal
_INFIX = {"if", "and", "or", "in", "is", "else", "for"}

# what stood in a line that Python 3 refuses -> what it is now
_OLD = (
    (re.compile(r"\bexcept\s+(?:[\w.]+|\([^)]*\))\s*,\s*\w+\s*:"), "write `except X as e:`"),
    (re.compile(r"\braise\s+[\w.]+\s*,"), 'write `raise X("...")`'),
    (re.compile(r"\bexec\s+[^(=\s]"), "exec is a function, `exec(...)`"),
    (re.compile(r"<>"), "write `!=` for `<>`"),
    (re.compile(r"`[^`]+`"), "write `repr(...)` for backticks"),
    (re.compile(r"\b(?:0[xX][0-9a-fA-F]+|\d+)[lL]\b"), "integers have no `L`"),
    (re.compile(r"\b[uU][rR]['\"]"), "strings have no prefix `ur`"),
    (re.compile(r"\bprint\s+[^(=\s]"), "print is a function, `print(...)`"),
    (re.compile(r"\b0[0-7]+\b"), "octal numbers begin with `0o`"),
)


def old_syntax(line: str) -> str:
    """What Python 3 wants in place of this line's Python 2; empty when nothing of that kind is seen."""
    return next((now for pattern, now in _OLD if pattern.search(line)), "")


def old_prints(text: str) -> list[tuple[int, str]]:
    """Every print statement of Python 2: (line within text from 0, the whole line as Python 3 has it)."""
    tokens = list(_tokens(text))
    lines = text.split("\n")
    found: dict[int, list[tuple[int, int, str]]] = {}
    for at, token in enumerate(tokens):
        if token.string == "print" and token.type == tokenize.NAME and _begins_statement(tokens, at):
            rest = _statement(tokens, at + 1)
            if _is_old(rest):
                row, end = token.start[0] - 1, rest[-1].end
                one_row = end[0] - 1 == row
                new = _rewritten(rest, lines)
                found.setdefault(row, []).append((token.start[1], end[1] if one_row else len(lines[row]), new))
    return [(row, _replaced(lines[row], places)) for row, places in sorted(found.items())]


def _tokens(text: str) -> Iterator[TokenInfo]:
    """As many as there are before the text makes no sense any more."""
    try:
        yield from tokenize.generate_tokens(StringIO(text + "\n").readline)
    except (tokenize.TokenError, SyntaxError):
        return


def _begins_statement(tokens: Sequence[TokenInfo], at: int) -> bool:
    depth = 0
    for token in reversed(tokens[:at]):  # a colon within brackets is a slice or a dict
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            break
        depth += (token.string in ")]}") - (token.string in "([{") if token.type == tokenize.OP else 0
        if depth < 0:
            return False
    before = tokens[at - 1] if at else None
    return before is None or before.type in _BEGINS or (before.type == tokenize.OP and before.string in (";", ":"))


def _statement(tokens: Sequence[TokenInfo], start: int) -> list[TokenInfo]:
    """The tokens up to the end of the statement."""
    rest: list[TokenInfo] = []
    depth = 0
    for token in tokens[start:]:
        if token.type in _ENDS and (depth == 0 or token.type == tokenize.ENDMARKER):
            break
        if token.type == tokenize.OP:
            if token.string == ";" and depth == 0:
                break
            depth += (token.string in "([{") - (token.string in ")]}")
        rest.append(token)
    return rest


def _is_old(rest: Sequence[TokenInfo]) -> bool:
    if not rest:
        return False
    first = rest[0]
    if first.type == tokenize.OP and first.string == "(":
        after = _after_bracket(rest)
        return after is not None and after.type == tokenize.OP and after.string in (",", "%")
    if first.type == tokenize.OP:
        return first.string in _OPERANDS
    return first.string not in _INFIX


def _after_bracket(rest: Sequence[TokenInfo]) -> TokenInfo | None:
    """What follows the closing of the bracket that `rest` begins with."""
    depth = 0
    for at, token in enumerate(rest):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            if depth == 0:
                return rest[at + 1] if at + 1 < len(rest) else None
    return None


def _rewritten(rest: Sequence[TokenInfo], lines: Sequence[str]) -> str:
    """print(...) with the same arguments; `>>f,` becomes file=f, a comma at the end becomes end=" "."""
    arguments = [argument for argument in _arguments(rest, lines) if argument]
    options: list[str] = []
    if rest[0].string == ">>":
        options.append(f"file={arguments.pop(0)}" if arguments else "file=...")
    if rest[-1].string == ",":
        options.append('end=" "')
    return f"print({', '.join(arguments + options)})"


def _arguments(rest: Sequence[TokenInfo], lines: Sequence[str]) -> list[str]:
    """The source text between the commas that stand outside of brackets."""
    arguments: list[str] = []
    begin: TokenInfo | None = None
    depth = 0
    last = rest[0]
    for token in rest[1:] if rest[0].string == ">>" else rest:
        is_op = token.type == tokenize.OP
        if is_op and token.string == "," and depth == 0:
            arguments.append(_source(begin, last, lines))
            begin = None
            continue
        depth += (token.string in "([{") - (token.string in ")]}") if is_op else 0
        begin, last = begin or token, token
    return [*arguments, _source(begin, last, lines)]


def _source(begin: TokenInfo | None, end: TokenInfo, lines: Sequence[str]) -> str:
    if begin is None:
        return ""
    (row, column), (end_row, end_column) = begin.start, end.end
    if row == end_row:
        return lines[row - 1][column:end_column]
    parts = [lines[row - 1][column:], *lines[row : end_row - 1], lines[end_row - 1][:end_column]]
    return " ".join(part.strip().removesuffix("\\").rstrip() for part in parts)


def _replaced(line: str, places: Sequence[tuple[int, int, str]]) -> str:
    for begin, end, new in sorted(places, reverse=True):
        line = line[:begin] + new + line[end:]
    return line.strip()
