"""Every sentence that the daemons can log, read from their source by the shape of the calls. Knows no meaning.

A sentence is a pattern: what the code fills in is `<>`. A text that is put together beforehand is followed to where its
variable is assigned in the same function. A call whose text is made in another function stands in `MADE_IN`, one that passes on
what stands in no source (a fault of the operating system) in `PASSED_ON`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("common", "vmmanager", "vmclient", "plugins")
LEVELS = ("debug", "info", "warning", "error", "critical")
HOLE = "<>"
UNKNOWN = "?"  # a level that the code computes


@dataclass(frozen=True, slots=True)
class Talk:
    """Where a call has its texts and its level: positions (the level may be a keyword). `frame` is put around the text."""

    texts: tuple[int, ...] = (0,)
    level: int | None = None
    default: str = "info"
    frame: str = HOLE


SILENT = Talk(())
# What logs, by the name called; `file:name` where that name means something else in that file.
TALKS: dict[str, Talk] = {
    "Note": Talk((0,), 1),
    "Said": Talk((0,), 1),
    "note": Talk((0,), 1),
    "LogRecord": Talk((4,), 1),
    "vmmanager/context.py:Note": SILENT,  # passes on what note() was given, as the others marked so
    "vmmanager/triggers/board.py:Note": SILENT,
    "vmmanager/wiring.py:log": SILENT,
    "vmclient/client.py:log": SILENT,
    "vmclient/threads.py:log": SILENT,
    "vmclient/guard.py:log": SILENT,
    "vmclient/guard.py:_note": SILENT,
    "common/logs.py:note": SILENT,
    "common/logs.py:log": SILENT,
    "common/bus/vmbus/notices.py:log": SILENT,
    "common/daemon.py:_stop": Talk((0,), 2, frame="stopping: <>"),
    "common/daemon.py:stop": Talk((0,), frame="stopping: <>"),
    "common/daemon.py:_end_now": Talk((0,), default="error", frame="ended at once: <>"),
    "common/bus/vmbus/server.py:_say": Talk((1,), 0),
    "common/bus/vmbus/server.py:_doom": Talk((1,), 2, "warning", "<> was cut: <>"),
    "vmmanager/embedded.py:_say": Talk((1,), 0, frame="vmbus: <>"),
    "vmmanager/leadership.py:_say": Talk(),
    "vmmanager/keybook.py:_say": Talk(default="warning"),
    "vmmanager/threads.py:log": Talk((1, 2), 3, "warning"),
    "vmmanager/control.py:log": Talk((1, 2), 3, "warning"),
    "vmmanager/triggers/pipeline.py:say": Talk((1,), 2),
    "vmmanager/triggers/pipeline.py:_finish": SILENT,
    "vmmanager/triggers/watch.py:say": Talk((1,), 2),
    "vmmanager/vms/machines.py:note": SILENT,
    **{f"vmmanager/vms/{name}.py:say": Talk((1,), 2) for name in ("machines", "dispatch", "emptying", "answers")},
    "vmmanager/environments/keeping.py:note": SILENT,
    **{f"vmmanager/environments/{name}.py:say": Talk((1,), 2) for name in ("keeping", "answers")},
    "vmmanager/failover/watch.py:note": SILENT,
    **{f"vmmanager/failover/{name}.py:say": Talk((1,), 2) for name in ("watch", "claiming", "fences", "answers")},
    "vmclient/client.py:say(...)": Talk((0,), 1),
    "vmclient/client.py:stop": Talk((0,), frame="stopping: <>"),
    "vmclient/trust.py:_say": Talk((0,), 1),
    "vmclient/threads.py:_drop": Talk((2,), 3, "warning", "dropped ({0}) {1}: <>"),
    "vmclient/threads.py:note": Talk((1, 2), None, UNKNOWN),  # what _drop makes of it
    "vmclient/workers.py:_start_failed": Talk(default="error"),
}

# (file, the text as it stands there) -> (file, function) that makes the sentences.
MADE_IN: dict[tuple[str, str], tuple[str, str]] = {
    ("vmmanager/environments/keeping.py", "sentence"): ("vmmanager/environments/breakers.py", "pause"),
    ("vmmanager/failover/watch.py", "sentence"): ("vmmanager/failover/hosts.py", "become"),
    ("vmclient/host.py", "sentence"): ("vmclient/properties.py", "_sentence"),
    ("vmclient/client.py", "text"): ("vmclient/client.py", "needs_restart"),
}
PASSED_ON = {
    ("common/daemon.py", "reason"),
    ("common/bus/vmbus/server.py", "reason"),
    ("common/bus/vmbus/server.py", "str(fault)"),
    ("vmclient/client.py", "effect.text"),
    ("vmclient/client.py", "str(warning)"),  # of the configuration, as --check-config says it
    ("vmclient/threads.py", "str(fault)"),
    ("vmclient/threads.py", "text"),  # of a worker, as vmclient/workers.py says it
    ("vmclient/trust.py", "str(fault)"),
    ("vmclient/trust.py", "text"),
    ("vmclient/workers.py", "why"),
    ("vmmanager/embedded.py", "*"),  # whatever vmbus, a process of its own, wrote
    ("vmmanager/keybook.py", "text"),
    ("vmmanager/leadership.py", "text"),
}


@dataclass(frozen=True, slots=True)
class Sentence:
    pattern: str
    levels: frozenset[str]
    where: str


def sentences() -> list[Sentence]:
    """All of them, in the order of the files. Raises LookupError for a call that cannot be read."""
    return [one for path in sources() for one in of_file(path)]


def sources() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def of_file(path: Path) -> Iterator[Sentence]:
    file = str(path.relative_to(ROOT))
    for call, function in _calls(ast.parse(path.read_text(encoding="utf-8"))):
        talk = _talk(call, file)
        if talk is None:
            continue
        arguments, where = dict(enumerate(call.args)), f"{file}:{call.lineno}"
        levels, frame = _levels(call, talk, arguments), _frame(talk, arguments)
        for text in [arguments[position] for position in talk.texts if position in arguments]:
            for pattern in sorted(_patterns(text, function, file, where)):
                if (pattern, frame) != (HOLE, HOLE):
                    yield Sentence(_framed(frame, pattern), levels, where)


def holes(text: str) -> str:
    """The pattern of a sentence as a page shows it: `client <name>: <old> -> <new>`."""
    return _tidy(re.sub(r"<[^<>]*>", HOLE, text))


def squeezed(pattern: str) -> str:
    """To compare: what is filled in may bring its space with it."""
    return re.sub(r"\s*<>\s*", HOLE, pattern)


def _frame(talk: Talk, arguments: dict[int, ast.expr]) -> str:
    """`{0}` in a frame is that argument of the call."""
    said = [one.value if isinstance(one, ast.Constant) else HOLE for one in arguments.values()]
    return talk.frame.format(*said).replace(" :", ":")


def _framed(frame: str, text: str) -> str:
    head, _, tail = frame.rpartition(HOLE)
    return _tidy(head + text + tail)


def _tidy(text: str) -> str:
    return re.sub(r"(<>)+", HOLE, re.sub(r"\s+", " ", text).strip())


Function = ast.FunctionDef | ast.AsyncFunctionDef | None


def _calls(tree: ast.AST, function: Function = None) -> Iterator[tuple[ast.Call, Function]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield node, function
        yield from _calls(node, node if isinstance(node, ast.FunctionDef) else function)


def _talk(call: ast.Call, file: str) -> Talk | None:
    called = call.func
    if isinstance(called, ast.Call):  # say("keys")(text, level)
        return TALKS.get(f"{file}:{ast.unparse(called.func)}(...)")
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    if name != "log" and f"{file}:{name}" in TALKS:
        return TALKS[f"{file}:{name}"]
    if isinstance(called, ast.Attribute) and re.search(r"log$|getLogger\(|logs\.part\(", ast.unparse(called.value)):
        if name == "log":
            limited = TALKS.get(f"{file}:log")
            return limited if limited is not None else Talk((1,), 0)
        if name in LEVELS or name == "exception":
            return Talk((0,), None, "error" if name == "exception" else name)
        return None
    if name == "note" and not re.search(r"(_c|context)\.note$", ast.unparse(called)):
        return None  # not the context's
    return TALKS.get(name)


def _levels(call: ast.Call, talk: Talk, arguments: dict[int, ast.expr]) -> frozenset[str]:
    given = next((keyword.value for keyword in call.keywords if keyword.arg == "level"), None)
    if given is None and talk.level is not None:
        given = arguments.get(talk.level)
    return frozenset({talk.default}) if given is None else _level(given)


def _level(given: ast.expr) -> frozenset[str]:
    if isinstance(given, ast.IfExp):
        return _level(given.body) | _level(given.orelse)
    name = given.value if isinstance(given, ast.Constant) else given.attr if isinstance(given, ast.Attribute) else UNKNOWN
    return frozenset({name.lower() if isinstance(name, str) and name.lower() in LEVELS else UNKNOWN})


def _patterns(text: ast.expr, function: Function, file: str, where: str) -> set[str]:
    shown = ast.unparse(text)
    made_in = MADE_IN.get((file, shown))
    found = set(_returned(*made_in)) if made_in else _read(text, function)
    if not found and not PASSED_ON.isdisjoint({(file, shown), (file, "*")}):
        return {HOLE}
    if not found:
        raise LookupError(
            f"{where}: what `{shown}` says cannot be read from here: build the sentence in the call, or name in MADE_IN of "
            f"tests/docs/sentences.py the function that builds it"
        )
    return found


def _read(text: ast.expr, function: Function) -> set[str]:
    """The patterns of an expression; none where it is made elsewhere."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        return {re.sub(r"%(\.\d+)?[sdfgr]|\{\}", HOLE, text.value)}
    if isinstance(text, ast.JoinedStr):
        parts = [_read_part(part, function) for part in text.values]
        return {"".join(words) for words in product(*parts)}
    if isinstance(text, ast.IfExp):
        return _read(text.body, function) | _read(text.orelse, function)
    if isinstance(text, ast.BinOp) and isinstance(text.op, ast.Add):
        left, right = _read(text.left, function), {HOLE} if isinstance(text.right, ast.IfExp) else _read(text.right, function)
        return {a + b for a, b in product(left, right)}
    if isinstance(text, ast.Name) and function is not None:
        return {pattern for value in _assigned(text.id, function) for pattern in _read(value, function)}
    return set()


def _read_part(part: ast.expr, function: Function) -> set[str]:
    if isinstance(part, ast.Constant):
        return {str(part.value).replace("{}", HOLE)}
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.value.id == "text":
        return _read(part.value, function) or {HOLE}
    return {HOLE}


def _assigned(name: str, function: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    yield node.value
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=False)
                    yield from (value for one, value in pairs if isinstance(one, ast.Name) and one.id == name)


def _returned(file: str, name: str) -> Iterator[str]:
    """What a function of another file returns."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    function = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)
    for node in ast.walk(function):
        if isinstance(node, (ast.Return, ast.ListComp)):
            value = node.value if isinstance(node, ast.Return) else node.elt
            yield from (pattern for pattern in _read(value, function) if " " in pattern) if value is not None else ()
