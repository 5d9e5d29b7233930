"""The files of a daemon, read and checked: the edge of common/config, and what the daemons call.

    config = load_client(Path("/etc/vmherd/vmclient.ini"))      raises ConfigurationError with every fault of every file
    for warning in config.warnings: log(warning)

A reload calls the same functions and keeps the running configuration when they raise.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from common.config import build, environments
from common.config.build import Findings
from common.config.failover import secrets
from common.config.model import (
    ClientConfig,
    ConfigurationError,
    Fault,
    FenceConfig,
    ManagerConfig,
    TriggerConfig,
    VmConfig,
    Where,
)
from common.config.tree import Shape, Tree, read_tree

FILE_BYTES_MAX = 1_048_576
FILES_MAX = 1000  # in one folder
EXIT_BAD = 2

_Config = TypeVar("_Config", ClientConfig, ManagerConfig)
ClientCheck = Callable[[ClientConfig], Iterable[Fault]]
ManagerCheck = Callable[[ManagerConfig], Iterable[Fault]]


def load_client(path: Path, *, host_name: Callable[[], str] = socket.getfqdn, also: ClientCheck | None = None) -> ClientConfig:
    """vmclient.ini and the property files. `host_name` is asked where the file gives no name.

    `also` is called with what could be built and adds its faults to ours: what only the plugins know, such as whether the
    reader of a property exists (`Fault(property.where, "no such reader")`)."""
    found = Findings()
    tree = _main(path, build.CLIENT_SHAPE, found)
    folder = _folder(tree, "properties", "properties.d", found)
    made = build.properties(_trees(folder, build.PROPERTY_SHAPE, found), found)
    config = build.client(tree, _name(tree, "client", host_name), made, found)
    return _finish(config, also, found)


def load_manager(
    path: Path, *, host_name: Callable[[], str] = socket.getfqdn, also: ManagerCheck | None = None
) -> ManagerConfig:
    """vmmanager.ini, the trigger files, vms.ini and environments.ini. `host_name` and `also` as for load_client."""
    found = Findings()
    tree = _main(path, build.MANAGER_SHAPE, found)
    folder = _folder(tree, "triggers", "triggers.d", found)
    made = build.triggers(_trees(folder, build.TRIGGER_SHAPE, found), found)
    machines = build.virtual_machines(_trees(_beside(tree, "vms"), build.VMS_SHAPE, found), found)
    fences = build.fence_devices(_trees(_beside(tree, "fences"), build.FENCES_SHAPE, found), found)
    for device in fences:
        _check_secrets(device, found)
    classes = build.environment_classes(_trees(_beside(tree, "environments"), environments.SHAPE, found), machines, found)
    config = build.manager(tree, _name(tree, "manager", host_name), made, machines, fences, found, classes)
    return _finish(config, also, found)


def load_triggers(*paths: Path) -> tuple[TriggerConfig, ...]:
    """The triggers of these files, or of the *.ini files of these folders, together."""
    found = Findings()
    files = [file for path in paths for file in (_files(path, found) if os.path.isdir(path) else [path])]
    made = build.triggers(_trees(files, build.TRIGGER_SHAPE, found), found)
    _raise(found)
    return made


def parse_triggers(text: str, file: str = "triggers") -> tuple[TriggerConfig, ...]:
    """The triggers of a text; `file` is what faults call it."""
    found = Findings()
    made = build.triggers([read_tree(text, file, build.TRIGGER_SHAPE)], found)
    _raise(found)
    return made


def load_vms(path: Path) -> tuple[VmConfig, ...]:
    """The definitions of vms.ini. Raises ConfigurationError with every fault; nothing of a faulty file is used."""
    found = Findings()
    made = build.virtual_machines(_trees([path], build.VMS_SHAPE, found), found)
    _raise(found)
    return made


def load_tree(path: Path, shape: Shape, found: Findings) -> Tree:
    """One file of another program's, as it stands; its faults are added to what was found."""
    return _main(path, shape, found)


def _finish(config: _Config, also: Callable[[_Config], Iterable[Fault]] | None, found: Findings) -> _Config:
    if also:
        told = {fault.where for fault in found.faults}  # one fault is told once, by whom it concerns first
        found.faults += [fault for fault in also(config) if fault.where not in told]
    _raise(found)
    return replace(config, warnings=tuple(sorted(found.warnings, key=lambda one: (one.where.file, one.where.line))))


def _raise(found: Findings) -> None:
    if found.faults:
        raise ConfigurationError(found.faults)


def _name(tree: Tree, section: str, host_name: Callable[[], str]) -> str:
    """Asking for the full name of the host may take the time of a name server: only where it is needed."""
    return "" if tree.section(section).values.get("name") else host_name()


def _main(path: Path, shape: Shape, found: Findings) -> Tree:
    text = _read(path, found, code=False)
    tree = read_tree(text or "", str(path), shape)
    found.faults += tree.faults
    found.warnings += tree.warnings
    return tree


def _folder(tree: Tree, key: str, default: str, found: Findings) -> list[Path]:
    """The files of the folder that [paths] names; only a folder that is named must be there."""
    paths = tree.section("paths")
    folder = Path(tree.file).parent / (paths.values.get(key) or default)
    if not os.path.isdir(folder):
        if paths.values.get(key):
            found.fault(paths.at(key), f"there is no folder {folder}")
        return []
    return _files(folder, found)


def _beside(tree: Tree, key: str) -> list[Path]:
    """vms.ini, fences.ini, environments.ini: only a file that is named must be there."""
    named = tree.section("paths").values.get(key)
    path = Path(tree.file).parent / (named or f"{key}.ini")
    return [path] if named or path.exists() else []


def _files(folder: Path, found: Findings) -> list[Path]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".ini" and not path.name.startswith("."))
    except OSError as fault:
        found.fault(Where(str(folder)), f"cannot be read: {fault.strerror}")
        return []
    if len(files) > FILES_MAX:
        found.fault(Where(str(folder)), f"holds {len(files)} files, the limit is {FILES_MAX}")
    return files[:FILES_MAX]


def _trees(files: Iterable[Path], shape: Shape, found: Findings) -> list[Tree]:
    texts = [(path, _read(path, found, code=shape.code)) for path in files]
    return [read_tree(text, str(path), shape) for path, text in texts if text is not None]


def _read(path: Path, found: Findings, *, code: bool) -> str | None:
    """The text; None, and a fault, where it cannot be used. `code`: it holds Python that will be run."""
    try:
        status, data = _bytes(path)
        refused = _writable_by_others(status)
        if refused and code:
            raise _Unusable(f"is refused, because it holds code and {refused}")
        if refused:
            found.warn(Where(str(path)), refused)
        return data.decode("utf-8")
    except UnicodeDecodeError as fault:
        line = fault.object.count(b"\n", 0, fault.start) + 1
        found.fault(Where(str(path), line), f"is not UTF-8: byte 0x{fault.object[fault.start]:02x}")
    except OSError as fault:
        found.fault(Where(str(path)), f"cannot be read: {fault.strerror}")
    except (ValueError, _Unusable) as fault:  # ValueError: a NUL byte in the name
        found.fault(Where(str(path)), str(fault))
    return None


def _check_secrets(device: FenceConfig, found: Findings) -> None:
    if device.secrets is None:
        return
    where = Where(device.where.file, device.where.line, device.name, "secrets")
    try:
        read_secrets(device.secrets)
    except OSError as fault:
        found.fault(where, f"{device.secrets} cannot be read: {fault.strerror}")
    except ValueError as fault:
        found.fault(where, f"{device.secrets} {fault}")


def read_secrets(path: Path) -> dict[str, str]:
    """Options of a fence agent, one `key=value` a line. Raises OSError, or ValueError with why the file is refused."""
    try:
        status, data = _bytes(path)
    except _Unusable as fault:
        raise ValueError(str(fault)) from None
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in (0, os.geteuid()):
        mode = stat.S_IMODE(status.st_mode)
        raise ValueError(f"is refused: others may read it (mode {mode:04o}; chmod 600, chown to this user)")
    return secrets(data.decode("utf-8"))


class _Unusable(Exception):
    """Why a file that can be read is not taken."""


def _bytes(path: Path) -> tuple[os.stat_result, bytes]:
    """The owner and mode are those of the very file that is read; a pipe in its place makes nobody wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _Unusable("cannot be read: it is no regular file")
        if status.st_size > FILE_BYTES_MAX:
            raise _Unusable(f"is larger than {FILE_BYTES_MAX} bytes")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return status, file.read(FILE_BYTES_MAX)
    finally:
        os.close(descriptor)


def _writable_by_others(status: os.stat_result) -> str:
    """Why others than its owner, root or us, could have written it; empty where they could not."""
    if status.st_uid not in (0, os.geteuid()):
        return f"it belongs to user {status.st_uid}, neither to root nor to this daemon's user (chown it)"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others than its owner may write it (mode {stat.S_IMODE(status.st_mode):04o}; chmod go-w)"
    return ""


def check_client(path: Path, **options: Any) -> tuple[str, int]:
    """What `vmclient --check-config` prints, and its exit code: 0 good, 2 not. `options` as for load_client."""
    try:
        config = load_client(path, **options)
    except ConfigurationError as fault:
        return _refusal(fault), EXIT_BAD
    counts = f"{_count(config.properties, 'property', 'properties')}, {_count(config.programs, 'program', 'programs')}"
    return _approval(path, counts, config.warnings), 0


def check_manager(path: Path, **options: Any) -> tuple[str, int]:
    """What `vmmanager --check-config` prints, and its exit code: 0 good, 2 not. `options` as for load_manager."""
    try:
        config = load_manager(path, **options)
    except ConfigurationError as fault:
        return _refusal(fault), EXIT_BAD
    counts = f"{_count(config.triggers, 'trigger', 'triggers')}, {_count(config.vms, 'VM', 'VMs')}"
    if config.environments.defined:
        counts += f", {_count(config.environments.defined, 'environment', 'environments')}"
    return _approval(path, counts, config.warnings), 0


def _refusal(error: ConfigurationError) -> str:
    files = {fault.where.file for fault in error.faults}
    return f"{error}\n{_count(error.faults, 'fault', 'faults')} in {_count(files, 'file', 'files')}"


def _approval(path: Path, counts: str, warnings: tuple[Fault, ...]) -> str:
    lines = [*(f"{warning} (warning)" for warning in warnings), f"{path}: good: {counts}"]
    return "\n".join(lines)


def _count(things: Collection[object], one: str, many: str) -> str:
    return f"{len(things)} {one if len(things) == 1 else many}"
