"""Python between braces: where a block ends, and its text without the indentation. Lines in, text out; knows no file.

Python's own tokenizer finds the closing brace, so braces in strings, comments, f-strings and dicts do not count.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

OPENING = {"(": ")", "[": "]", "{": "}"}
CLOSING = {closing: opening for opening, closing in OPENING.items()}
TYPOGRAPHIC = {"“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "‚": "'", "‛": "'"}
INDENT = "    "
_HEADER = re.compile(r"\[[^\[\]]+\]\s*(#.*)?")
_ASSIGNMENT = re.compile(r"\s*\w+\s*=(?!=)")
_SILENT = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT}
_STRINGS = {"STRING", "FSTRING_MIDDLE"}  # the second from Python 3.12 on


@dataclass(slots=True)
class Block:
    """One block. Rows count from 0 in the lines given; `end_row` is -1 where it is never closed. `faults`: (row, sentence).

    `text` begins on the row of the brace, with an empty line where nothing stands behind the brace."""

    row: int
    text: str = ""
    end_row: int = -1
    after: str = ""  # what follows the closing brace on its line
    faults: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Scan:
    """What is noted on the way to the closing brace. Rows as in Block."""

    stack: list[tuple[str, int]] = field(default_factory=list)
    inside_string: set[int] = field(default_factory=set)  # rows that begin within a string
    continued: set[int] = field(default_factory=set)  # rows that begin within brackets or after a backslash
    last_row: int = -1  # of the last token that is not a comment
    commented: set[int] = field(default_factory=set)  # rows with a comment
    hidden: int = 0  # line of a comment that holds a closing brace
    first_row_opens: bool = False  # the first row ends with a colon: what follows is deeper
    quotes: list[tuple[int, str]] = field(default_factory=list)
    brackets: list[tuple[int, str]] = field(default_factory=list)


def read_block(lines: Sequence[str], row: int, column: int) -> Block:
    """The block whose opening brace stands at `lines[row][column]`. Lines have no line ends."""
    block, scan = Block(row), _Scan()
    try:
        end = _scan(_tokens(lines, row, column), lines, row, scan)
    except (tokenize.TokenError, SyntaxError) as fault:  # IndentationError is a SyntaxError; 3.12 and later raise more
        end = None
        block.faults.append((row, _never_closed(fault, scan)))
    else:
        if end is None:
            block.faults.append((row, _never_closed(None, scan)))
    if scan.quotes:
        block.faults = scan.quotes
    else:
        block.faults += scan.brackets
    if end is not None:
        block.end_row, end_column = end
        if block.end_row == row:
            end_column += column
        block.after = lines[block.end_row][end_column + 1 :]
        inner = [lines[row][column + 1 :], *lines[row + 1 : block.end_row + 1]]
        inner[-1] = inner[-1][: end_column - (column + 1 if block.end_row == row else 0)]
        block.text = _dedent(inner, row, scan)
    return block


def _tokens(lines: Sequence[str], row: int, column: int) -> Iterator[tokenize.TokenInfo]:
    """Begins with the opening brace, so the tokenizer is inside brackets all the time and minds no indentation."""

    def reader() -> Iterator[str]:
        yield lines[row][column:] + "\n"
        for line in lines[row + 1 :]:
            yield line + "\n"

    source = reader()
    return tokenize.generate_tokens(lambda: next(source, ""))


def _scan(tokens: Iterator[tokenize.TokenInfo], lines: Sequence[str], row: int, scan: _Scan) -> tuple[int, int] | None:
    """Row and column of the closing brace; a column in the first row counts from the opening brace."""
    for token in tokens:
        begin, end = row + token.start[0] - 1, row + token.end[0] - 1
        if token.start[1] == 0 and token.string == "[" and _is_section(lines, begin):
            return None
        if token.type == tokenize.COMMENT:
            scan.commented.add(begin)
        if token.type in _SILENT:
            scan.hidden = scan.hidden or (token.type == tokenize.COMMENT and "}" in token.string and begin + 1) or 0
            continue
        if begin > scan.last_row >= 0 and (len(scan.stack) > 1 or _continues(lines, begin - 1, scan)):
            scan.continued.add(begin)
        if tokenize.tok_name[token.type] in _STRINGS:
            scan.inside_string.update(range(begin + 1, end + 1))
        elif token.type == tokenize.ERRORTOKEN and token.string in TYPOGRAPHIC:
            scan.quotes.append((begin, f"typographic quote {token.string}: write the straight {TYPOGRAPHIC[token.string]}"))
        elif token.type == tokenize.OP and token.string in OPENING:
            scan.stack.append((token.string, begin))
        elif token.type == tokenize.OP and token.string in CLOSING:
            _close(token.string, begin, scan)
            if not scan.stack:
                return begin, token.start[1]
        scan.last_row = end
        if end == row:
            scan.first_row_opens = token.string == ":" and len(scan.stack) == 1
    return None


def _continues(lines: Sequence[str], row: int, scan: _Scan) -> bool:
    """Whether the line after this one belongs to it by a backslash; one that ends a comment means nothing."""
    return lines[row].endswith("\\") and row not in scan.commented


def _is_section(lines: Sequence[str], row: int) -> bool:
    """`[name]` and then `key = ...`: never what Python means within braces, so the closing brace was forgotten above."""
    after = next((line for line in lines[row + 1 :] if line.strip() and not line.lstrip().startswith("#")), "")
    return bool(_HEADER.fullmatch(lines[row]) and _ASSIGNMENT.match(after))


def _close(closing: str, row: int, scan: _Scan) -> None:
    """Where an inner bracket was forgotten, the outer ones still find their own."""
    opening = CLOSING[closing]
    nearest = next(bracket for bracket, _ in reversed(scan.stack) if bracket in (opening, "{"))
    if nearest != opening:
        scan.brackets.append((row, f"'{closing}' closes nothing: no '{opening}' is open here"))
        return
    while scan.stack[-1][0] != opening:
        left, left_row = scan.stack.pop()
        scan.brackets.append((left_row, f"'{left}' is never closed"))
    scan.stack.pop()


def _never_closed(fault: Exception | None, scan: _Scan) -> str:
    text = "the brace that opens here is never closed"
    if isinstance(fault, tokenize.TokenError) and "string" in str(fault.args[0]) and len(fault.args) > 1:
        below = fault.args[1][0] - 1
        return f"{text}: a string that begins {f'{below} lines further down' if below else 'in this line'} has no end"
    return f"{text} (a # hides the closing brace after it)" if scan.hidden else text


def _dedent(inner: list[str], row: int, scan: _Scan) -> str:
    """The common indentation goes; a row that begins within a string stays as it is."""
    head = inner[0].strip()
    if head.startswith("#"):
        head = ""
    own = [
        line
        for at, line in enumerate(inner[1:], row + 1)
        if at not in scan.inside_string and at not in scan.continued and line.strip() and not line.lstrip().startswith("#")
    ]
    margin = _common_indent(own)
    deeper = INDENT if head and scan.first_row_opens else ""
    text = [inner[0].lstrip() if head else ""]
    for at, line in enumerate(inner[1:], row + 1):
        if at in scan.inside_string:
            text.append(line)
        elif not line.strip():
            text.append("")
        else:
            text.append(deeper + line[len(_common_indent([line, margin + "."])) :])
    return "\n".join(text).rstrip()


def _common_indent(lines: Sequence[str]) -> str:
    """The white space that all of these begin with."""
    indents = [line[: len(line) - len(line.lstrip())] for line in lines]
    shortest = min(indents, key=len, default="")
    while not all(indent.startswith(shortest) for indent in indents):
        shortest = shortest[:-1]
    return shortest
