"""One INI file read by ConfigObj and checked against its configspec: sections with checked values, each with its place.

Text in; sections, faults and warnings out. Knows no file system; what the values mean together is for build.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from configobj import ConfigObj, flatten_errors, get_extra_values

from common.config.checks import validator
from common.config.keys import ALIASES, Part, Table
from common.config.model import Code, Fault, Where
from common.config.source import Path, Source, read_source

MANY = "__many__"  # configspec's name for "any name"


@dataclass(slots=True)
class Section:
    """What stands in one section: only keys that are there and are right."""

    name: str
    where: Where
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Where] = field(default_factory=dict)  # every key that is there, right or not
    code: dict[str, Code] = field(default_factory=dict)
    parts: dict[str, Section] = field(default_factory=dict)

    def at(self, key: str) -> Where:
        """The place of a key, or of the section where the key is missing."""
        return self.places.get(key, Where(self.where.file, self.where.line, self.where.section, key))


@dataclass(slots=True)
class Tree:
    """A whole file."""

    file: str
    sections: dict[str, Section] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def section(self, name: str) -> Section:
        """An empty one where the file has none."""
        return self.sections.get(name) or Section(name, Where(self.file, 0, name))


@dataclass(frozen=True, slots=True)
class Shape:
    """What a file may hold: `fixed` sections, `many` of one kind at the top, or `below` one of its sections. `checks`: by name,
    functions that the tables name besides those of checks.py."""

    fixed: tuple[Table, ...] = ()
    many: Table | None = None
    below: Mapping[str, Table] = field(default_factory=dict)
    code: bool = False
    checks: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


def read_tree(text: str, file: str, shape: Shape) -> Tree:
    source = read_source(text, file, code=shape.code, aliases=ALIASES)
    _rename_parts(source, shape)
    tree = Tree(file, faults=source.faults, warnings=source.warnings)
    config = ConfigObj(source.lines, configspec=_configspec(shape), interpolation=False)
    _take_out_misplaced(source, config, shape, tree)
    result = config.validate(validator(shape.checks), preserve_errors=True)
    wrong = _wrong(source, config, result, shape, tree)
    for name in config.sections:
        if (name,) in source.sections and ((), name) not in wrong:
            tree.sections[name] = _section((name,), config[name], source, wrong)
    return tree


def known_near(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?`, or what there is."""
    names = sorted(known)
    bare = {one.strip("[]"): one for one in names}
    near = difflib.get_close_matches(name.strip("[]").lower(), bare, 1, 0.6)
    if near:
        return f"did you mean {bare[near[0]]}?"
    return f"there are {', '.join(names)}" if names else "there are none"


# --- the configspec ---------------------------------------------------------------------------------------------------------


def _configspec(shape: Shape) -> Any:
    """Nothing is required towards ConfigObj: build.py says what is missing, with the place."""
    lines: list[str] = []
    for table in shape.fixed:
        lines += [f"[{table.name}]", *_spec(table, 1)]
    for name, table in sorted(shape.below.items()):
        lines += [f"[{name}]", f"[[{MANY}]]", *_spec(table, 2)]
    if shape.many:
        lines += [f"[{MANY}]", *_spec(shape.many, 1)]
    return ConfigObj(lines, _inspec=True, interpolation=False, list_values=False)


def _spec(table: Table, depth: int) -> Iterator[str]:
    for key in table.keys:
        yield f"{key.name} = {key.check.removesuffix(')')}{'' if key.check.endswith('()') else ', '}default=None)"
    for part in table.parts:
        yield "[" * (depth + 1) + (part.spec or part.name) + "]" * (depth + 1)
        yield f"{MANY} = {part.check}"


def _rename_parts(source: Source, shape: Shape) -> None:
    """[[parameters]] beside `parameters =`: ConfigObj wants two names for the two."""
    for path, where in list(source.sections.items()):
        part = _part(path, shape)
        if part and part.spec:
            depth = len(path)
            source.lines[where.line - 1] = "[" * depth + part.spec + "]" * depth
            del source.sections[path]
            new = (*path[:-1], part.spec)
            source.sections[new] = where
            source.keys[new] = source.keys.pop(path, {})


def _part(path: Path, shape: Shape) -> Part | None:
    if shape.many is None or len(path) != 2:
        return None
    return next((part for part in shape.many.parts if path[1] == part.name), None)


def _table(path: Path, shape: Shape) -> Table | None:
    """The table that says which keys a section may have; None for parts, where the user names the keys."""
    if len(path) == 1:
        return next((table for table in shape.fixed if table.name == path[0]), None if path[0] in shape.below else shape.many)
    return shape.below.get(path[0]) if len(path) == 2 else None


# --- what is wrong ----------------------------------------------------------------------------------------------------------


def _take_out_misplaced(source: Source, config: Any, shape: Shape, tree: Tree) -> None:
    """Keys where sections belong and the other way round, and code where none does: ConfigObj cannot say, or even fails."""
    for path, name in [(path, name) for path, names in source.keys.items() for name in names]:
        table = _table(path, shape)
        key = table.key(name) if table else None
        if table and any(part.name == name and not part.spec for part in table.parts):
            brackets = "[" * (len(path) + 1) + name + "]" * (len(path) + 1)
            tree.faults.append(Fault(source.keys[path][name], f"is a section (write {brackets}, and below it name = value)"))
        elif key and key.check != "code()" and (path, name) in source.blocks:
            tree.faults.append(Fault(source.keys[path][name], "is no Python: write the value without braces"))
        else:
            continue
        del _inner(config, path)[name]
        source.blocks.pop((path, name), None)
    for path in sorted(source.sections, key=len):
        table = _table(path[:-1], shape) if len(path) > 1 else None
        if table and table.key(path[-1]):
            tree.faults.append(Fault(source.sections[path], f"is a key (write {path[-1]} = ...)"))
            del _inner(config, path[:-1])[path[-1]]


def _inner(config: Any, path: Path) -> Any:
    for step in path:
        config = config[step]
    return config


def _wrong(source: Source, config: Any, result: Any, shape: Shape, tree: Tree) -> set[tuple[Path, str]]:
    """Notes every fault that validation found; (section, key) of each."""
    wrong: set[tuple[Path, str]] = set()
    if result is not True:
        for above, key, fault in flatten_errors(config, result):
            if fault is not False and key is not None:
                path = tuple(above)
                wrong.add((path, key))
                where = source.keys.get(path, {}).get(key) or source.sections.get((*path, key), Where(source.file))
                tree.faults.append(Fault(where, str(fault)))
    for path, name in get_extra_values(config):
        wrong.add((path, name))
        tree.faults.append(_extra(source, path, name, shape))
    return wrong


def _extra(source: Source, path: Path, name: str, shape: Shape) -> Fault:
    table = _table(path, shape) if path else None
    if name in source.keys.get(path, {}):
        known = [key.name for key in table.keys] if table else []
        other = next((each.name for each in shape.fixed if each is not table and each.key(name)), "")
        if other:
            return Fault(source.keys[path][name], f"no such key here (it stands in [{other}])")
        return Fault(source.keys[path][name], f"no such key ({known_near(name, known)})")
    where = source.sections.get((*path, name), Where(source.file, 0, name))
    if path:
        known = [f"[[{part.name}]]" for part in table.parts] if table else []
    else:
        known = [f"[{each.name}]" for each in shape.fixed] + [f"[{each}]" for each in shape.below]
    brackets = len(path) + 1
    return Fault(where, f"no such section ({known_near('[' * brackets + name + ']' * brackets, known)})")


def _section(path: Path, config: Any, source: Source, wrong: set[tuple[Path, str]]) -> Section:
    section = Section(path[-1], source.sections[path], places=source.keys.get(path, {}))
    for key in config.scalars:
        if key in section.places and (path, key) not in wrong and config[key] is not None:
            section.values[key] = config[key]
    section.code = {key: source.blocks[path, key] for key in section.values if (path, key) in source.blocks}
    for name in config.sections:
        if (*path, name) in source.sections and (path, name) not in wrong:
            section.parts[name] = _section((*path, name), config[name], source, wrong)
    return section
