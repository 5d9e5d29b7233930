"""Finds plugins: imports modules by name and files of a folder, and collects the functions that carry the decorator.

Runs in the worker process only. A module that raises is a fault with its name; the others still load.
"""

from __future__ import annotations

import importlib
import os
import stat
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.parameters import Signature, SignatureFault
from common.plugin import ATTRIBUTE, Plugin
from vmclient.frames import Entry

FILES_MAX = 500  # plugin files looked at in one folder
FILE_BYTES_MAX = 1_048_576


class LoadFault(Exception):
    """A plugin file that must not be loaded, and why."""


@dataclass(frozen=True, slots=True)
class Found:
    """One plugin, ready to be bound and called."""

    entry: Entry
    function: Callable[..., Any]
    signature: Signature
    plugin: Plugin


class Loader:
    """Collects `found` by (kind, name) and `faults` by module or file."""

    def __init__(self, announce: Callable[[str], None], excluded: Mapping[str, str]) -> None:
        self.found: dict[tuple[str, str], Found] = {}
        self.faults: dict[str, str] = dict(excluded)
        self._announce = announce
        self._excluded = excluded

    def load(self, modules: tuple[str, ...], folder: str) -> None:
        """Never raises for what a module does while it is imported, short of ending the process."""
        for name in modules:
            self._try(name, lambda name=name: importlib.import_module(name))  # type: ignore[misc]
        for path in self._files(Path(folder)) if folder else ():
            self._try(str(path), lambda path=path: _run_file(path))  # type: ignore[misc]

    def _files(self, folder: Path) -> list[Path]:
        try:
            fault = others_may_write(os.stat(folder))
            paths = sorted(path for path in folder.iterdir() if path.suffix == ".py" and path.name[0] not in "._")
        except FileNotFoundError:
            return []
        except OSError as error:
            fault = error.strerror or "cannot be read"
        if fault:
            self.faults[str(folder)] = f"the folder is not used: {fault}"
            return []
        return paths[:FILES_MAX]

    def _try(self, where: str, load: Callable[[], types.ModuleType]) -> None:
        if where in self._excluded:
            return
        self._announce(where)
        try:
            module = load()
        except BaseException as fault:  # noqa: BLE001 - whatever a plugin raises, SystemExit included, costs only itself
            self.faults[where] = said(fault)
            return
        for member in list(vars(module).values()):
            self._collect(member, where, module)

    def _collect(self, member: object, where: str, module: types.ModuleType) -> None:
        plugin = getattr(member, ATTRIBUTE, None)
        if not isinstance(plugin, Plugin) or not isinstance(member, types.FunctionType) or member.__module__ != module.__name__:
            return
        key = (plugin.kind, plugin.name)
        if key in self.found:
            first = self.found[key].entry.module
            self.faults[where] = f"{plugin.kind} {plugin.name} is defined by {first} already, which is used"
            return
        try:
            signature = Signature.of(member)
            _check_subject(plugin, signature)
        except SignatureFault as fault:
            self.faults[where] = str(fault)
            return
        self.found[key] = Found(Entry(plugin.kind, plugin.name, where, plugin.subject), member, signature, plugin)


def others_may_write(fact: os.stat_result) -> str:
    """Why this file or folder could hold somebody else's code, or empty."""
    if fact.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {fact.st_uid}, who is neither root nor the user of this daemon"
    if fact.st_mode & 0o022:
        return f"others may write it (mode {stat.S_IMODE(fact.st_mode):04o}); use chmod go-w"
    return ""


def said(fault: BaseException) -> str:
    """One line: the exception, and the line of the file it came from."""
    place = ""
    trace = fault.__traceback__
    while trace is not None:
        place = f" ({Path(trace.tb_frame.f_code.co_filename).name} line {trace.tb_lineno})"
        trace = trace.tb_next
    if isinstance(fault, SyntaxError) and fault.filename:
        place = f" ({Path(fault.filename).name} line {fault.lineno})"
        return f"SyntaxError: {fault.msg}{place}"
    try:
        text = str(fault)
    except Exception:  # noqa: BLE001 - a plugin's own __str__
        text = "(its text cannot be had)"
    return f"{type(fault).__name__}: {text[:1000]}{place}" if text else f"{type(fault).__name__}{place}"


def _run_file(path: Path) -> types.ModuleType:
    """Checks and reads one and the same open file, so that it cannot be exchanged in between."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        fact = os.fstat(descriptor)
        fault = others_may_write(fact) if stat.S_ISREG(fact.st_mode) else "it is no regular file"
        if fault:
            raise LoadFault(f"not loaded: {fault}")
        source = file.read(FILE_BYTES_MAX + 1)
    if len(source) > FILE_BYTES_MAX:
        raise LoadFault(f"not loaded: more than {FILE_BYTES_MAX} bytes")
    module = types.ModuleType(f"vmherd_site_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # get_type_hints and dataclasses look it up
    exec(compile(source, str(path), "exec"), vars(module))
    return module


def _check_subject(plugin: Plugin, signature: Signature) -> None:
    if plugin.subject and plugin.subject not in {parameter.name for parameter in signature.parameters}:
        raise SignatureFault(f"command {plugin.name}: its subject {plugin.subject} is none of its parameters")
