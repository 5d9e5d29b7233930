"""One INI file, line by line: where each section and key stands, blocks of Python taken out, and lines that ConfigObj can read.

Text in, lines and faults out; knows no file system and no meaning. ConfigObj forgets line numbers, merges what a person
wrote twice by mistake, and needs exponential time for a list with one quote missing (20 items: a minute), so it is given only
lines that were found well-formed here, on the same line numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from common.config.blocks import TYPOGRAPHIC, read_block
from common.config.model import Code, Fault, Where
from common.config.values import quoted

UNCLOSED_MAX = 20  # each unclosed brace costs a look at the rest of the file
LINE_CHARS_MAX = 10_000
Path = tuple[str, ...]

_SECTION = re.compile(r"\s*(\[+)\s*([^\[\]#]*?)\s*(\]+)\s*(?:#.*)?")
_SECTION_NAME = re.compile(r"[\w.:/@+-][\w.:/@+ -]*")
_KEY = re.compile(r"\s*(\"[^\"]*\"|'[^']*'|[^\"'=#\[][^=]*?)\s*=\s*(.*?)\s*")
_KEY_NAME = re.compile(r"[\w.-]+")
_ITEM = re.compile(r"\"([^\"]*)\"|'([^']*)'|([^\"',#\s][^,#]*)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_RESERVED = re.compile(r"__.*|DEFAULT")  # ConfigObj gives these a meaning of its own


@dataclass(slots=True)
class Source:
    """`lines` are for ConfigObj. `sections` and `keys` say where each stands; `blocks` holds the
    Python by section and key, unless its braces or quotes are at fault."""

    file: str
    lines: list[str]
    sections: dict[Path, Where] = field(default_factory=dict)
    keys: dict[Path, dict[str, Where]] = field(default_factory=dict)
    blocks: dict[tuple[Path, str], Code] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)


def read_source(text: str, file: str, *, code: bool = False, aliases: Mapping[str, str] | None = None) -> Source:
    """`code`: a value that begins with a brace is a block of Python. `aliases`: other spellings of keys, with a warning."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return _Reader(lines, file, code, aliases or {}).read()


@dataclass(slots=True)
class _Reader:
    """Goes down the lines once. `path` is the section it is in; `left_out` the depth of a faulty one that is skipped."""

    raw: list[str]
    file: str
    code: bool
    aliases: Mapping[str, str]
    row: int = 0
    path: Path = ()
    left_out: int = 0
    unclosed: int = 0
    source: Source = field(init=False)

    def __post_init__(self) -> None:
        self.source = Source(self.file, [""] * len(self.raw))

    def read(self) -> Source:
        while self.row < len(self.raw):
            line = self.raw[self.row]
            if not line.strip() or line.lstrip().startswith("#"):
                pass
            elif _CONTROL.search(line):
                self._fault(f"control character U+{ord(_CONTROL.findall(line)[0]):04X} in the line")
            elif len(line) > LINE_CHARS_MAX:
                self._fault(f"the line has {len(line)} characters, the limit is {LINE_CHARS_MAX}")
            elif line.lstrip().startswith("["):
                self._section(line)
            else:
                self._key(line)
            self.row += 1
        return self.source

    def _where(self, key: str = "", row: int | None = None) -> Where:
        at = self.row if row is None else row
        return Where(self.file, at + 1, self.path[-1] if self.path else "", key)

    def _fault(self, text: str, key: str = "", row: int | None = None) -> None:
        self.source.faults.append(Fault(self._where(key, row), text))

    def _section(self, line: str) -> None:
        found = _SECTION.fullmatch(line)
        depth = len(found[1]) if found else 1
        if self.left_out and depth > self.left_out:
            return
        path, fault = self._section_path(found, line)
        self.left_out = depth if fault else 0
        self.path = path
        where = Where(self.file, self.row + 1, path[-1] if path and (not fault or path in self.source.sections) else "")
        if fault:
            self.source.faults.append(Fault(where, fault))
        else:
            self.source.sections[path] = where
            self.source.lines[self.row] = "[" * depth + path[-1] + "]" * depth

    def _section_path(self, found: re.Match[str] | None, line: str) -> tuple[Path, str]:
        """Where the section stands in the tree, and what is wrong with that."""
        if not found or len(found[1]) != len(found[3]):
            return (), f"is no section: {quoted(line.strip())} (write [name]; what stands below is not looked at)"
        name, depth = found[2], len(found[1])
        if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
            name = name[1:-1]
        above = self.path[: depth - 1]
        if len(above) < depth - 1:
            return above, f"{line.strip()} has no section with one bracket less above it"
        name = self._real(name, self._where()) if above else name
        path = (*above, name)
        if not _SECTION_NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            return path, f"{quoted(name)} cannot be the name of a section"
        if path in self.source.sections:
            first = self.source.sections[path].line
            return path, f"is there twice, first at line {first} (what stands below is not looked at)"
        if name in self.source.keys.get(above, {}):
            return path, f"{name} is both a key, at line {self.source.keys[above][name].line}, and a section"
        return path, ""

    def _key(self, line: str) -> None:
        found = _KEY.fullmatch(line)
        if not found:
            if not self.left_out:
                self._fault(_no_key(line))
            return
        name, value = found[1].strip("\"'"), found[2]
        if self.code and value.startswith("{"):
            self._block(name, line.index("{", found.start(2)))
        elif not self.left_out and self._is_new(name):
            text = self._value(value, name)
            if text is not None:
                self._put(name, self.row, text)

    def _is_new(self, name: str, row: int | None = None) -> bool:
        """Whether a key of this name may stand here; notes where it does."""
        path = self.path
        if not path:
            self._fault(f"{quoted(name)} stands above the first section (which one does it belong to?)", row=row)
            return False
        if not _KEY_NAME.fullmatch(name) or _RESERVED.fullmatch(name):
            self._fault(f"{quoted(name)} cannot be the name of a key", row=row)
            return False
        real = self.aliases.get(name, name)
        where = self._where(name, row)
        keys = self.source.keys.setdefault(path, {})
        if real in keys:
            first = keys[real]
            what = "is there twice, first" if first.key == name else f"is another spelling of {first.key}, which stands"
            self._fault(f"{what} at line {first.line}", name, row)
            return False
        if (*path, real) in self.source.sections:
            self._fault(f"is both a section, at line {self.source.sections[*path, real].line}, and a key", name, row)
            return False
        self._real(name, where)
        keys[real] = where
        return True

    def _real(self, name: str, where: Where) -> str:
        """The name behind another spelling, with a warning."""
        real = self.aliases.get(name, name)
        if real != name:
            self.source.warnings.append(Fault(where, f"{name} is taken for {real}, as the prototype spelt it (write {real})"))
        return real

    def _put(self, name: str, row: int, text: str) -> None:
        self.source.lines[row] = f"{self.aliases.get(name, name)} = {text}"

    def _value(self, value: str, name: str) -> str | None:
        """The value without its comment; None, and a fault, where quotes and commas do not add up."""
        try:
            return _value_text(value)
        except ValueError as fault:
            self._fault(str(fault), name)
            return None

    def _block(self, name: str, column: int) -> None:
        begin = self.row
        block = read_block(self.raw, begin, column)
        if block.end_row < 0:
            self.unclosed += 1
            self._skip_to_section()
        else:
            self.row = block.end_row
        if self.left_out or not self._is_new(name, begin):
            return
        for row, text in block.faults:
            self._fault(text, name, row)
        if block.after.strip() and not block.after.lstrip().startswith("#"):
            self._fault(f"after the closing brace stands {quoted(block.after.strip())}", name)
        if not block.faults:
            where = self._where(name, begin)
            self.source.blocks[self.path, self.aliases.get(name, name)] = Code(block.text, where)
        self._put(name, begin, '"{ }"')

    def _skip_to_section(self) -> None:
        """A brace that is never closed would swallow the rest of the file: go on at what looks like the next section."""
        if self.unclosed == UNCLOSED_MAX:
            self._fault(f"{UNCLOSED_MAX} braces are never closed: the rest of the file is not looked at")
            self.row = len(self.raw)
            return
        for row in range(self.row + 1, len(self.raw)):
            if self.raw[row].startswith("[") and _SECTION.fullmatch(self.raw[row]):
                self.row = row - 1
                return
        self.row = len(self.raw)


def _no_key(line: str) -> str:
    text = line.strip()
    if text.startswith("}"):
        return "a closing brace without one that opens"
    if text.startswith(";"):
        return f"{quoted(text)} is no comment (comments begin with #)"
    return f"is neither a section, a key nor a comment: {quoted(text)}"


def _value_text(value: str) -> str:
    """Items with commas between them, as ConfigObj reads them; raises ValueError. A # outside quotes begins a comment."""
    if value.startswith(('"""', "'''")):
        raise ValueError("triple quotes are not used here (write the value in one line)")
    items: list[str] = []
    at = 0
    while at < len(value) and value[at] != "#":
        if value == "," or (value[at] == "," and not value[at + 1 :].split("#")[0].strip() and not items):
            return ","
        at = _item(value, at, items)
    if not items:
        return '""'
    comma = "," if value[:at].rstrip().endswith(",") else ""
    return ", ".join(items) + comma


def _item(value: str, at: int, items: list[str]) -> int:
    """Adds the item at `at` and gives the place after it and its comma."""
    if value[at] in TYPOGRAPHIC:
        raise ValueError(f"typographic quote {value[at]}: write the straight {TYPOGRAPHIC[value[at]]}")
    found = _ITEM.match(value, at)
    if not found:
        raise ValueError(
            "there is nothing between two commas" if value[at] == "," else f"the quote is never closed: {quoted(value[at:])}"
        )
    items.append(found[0].strip())
    at = found.end()
    at += len(value[at:]) - len(value[at:].lstrip())
    if at < len(value) and value[at] not in ",#":
        raise ValueError(f"after the closing quote stands {quoted(value[at:])}")
    if at < len(value) and value[at] == ",":
        at += 1
        at += len(value[at:]) - len(value[at:].lstrip())
    return at
