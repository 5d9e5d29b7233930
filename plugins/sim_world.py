"""The simulated farm on disk: hosts and their domains in one folder, shared by any number of processes.

`HOST.json` is a host with its domains, `failures.json` what is to fail next. Every change is made under one lock and replaces
its file whole, so a process that is killed leaves the farm as it was before or after. Knows no operation.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from common.hypervisor import Unavailable

GIB = 1024**3
LOCK = ".lock"
FAILURES = "failures.json"
CONSOLE_LINES_MAX = 200


class SimDomain(msgspec.Struct):
    """Times are seconds of the clock that all processes share. `ends_at`: a shutdown is under way."""

    name: str
    uuid: str
    memory_bytes: int
    ceiling_bytes: int
    vcpus: int
    type: Literal["pv", "pvh", "hvm"]
    boots_at: float
    boots_from: str = ""  # the kernel, or the first disk
    bridges: list[str] = []
    ends_at: float | None = None
    stopped: Literal["", "paused", "shutdown", "crashed"] = ""
    watched: bool = True  # no longer after a failed save: once halted, it stays there
    console: list[str] = []


class SimHost(msgspec.Struct):
    """`boot_s`, `shutdown_s`: time that a guest needs. `bridges`: those that there are; empty: any will do. `hook`: a program
    that is run when a guest begins and ends."""

    memory_bytes: int = 16 * GIB
    cpus: int = 8
    boot_s: float = 0.0
    shutdown_s: float = 0.0
    bridges: list[str] = []
    hook: str = ""
    domains: dict[str, SimDomain] = {}

    @property
    def memory_free_bytes(self) -> int:
        return self.memory_bytes - sum(one.memory_bytes for one in self.domains.values())


class Failure(msgspec.Struct):
    """What is to fail: the operation by its name, `*` for any host, VM or operation. Used up after `times`."""

    operation: str
    host: str = "*"
    vm: str = "*"
    how: Literal["error", "hang", "unavailable"] = "error"
    why: str = "it was told to fail"
    times: int = 1

    def concerns(self, host: str, vm: str, operation: str) -> bool:
        wanted = ((self.operation, operation), (self.host, host), (self.vm, vm))
        return all(pattern in ("*", actual) for pattern, actual in wanted)


class SimWorld:
    """A folder with the farm in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_host(self, name: str, host: SimHost) -> None:
        """Does nothing where there is a host of this name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not self._file(name).exists():
                self._write(self._file(name), host)

    def set_host(self, name: str, wanted: SimHost) -> None:
        """The host as it is wanted, with the domains it has."""
        self.add_host(name, wanted)
        with self.changed(name) as (host,):
            for field in ("memory_bytes", "cpus", "boot_s", "shutdown_s", "bridges", "hook"):
                setattr(host, field, getattr(wanted, field))

    def hosts(self) -> tuple[str, ...]:
        return tuple(sorted(path.stem for path in self.folder.glob("*.json") if path.name != FAILURES))

    def read(self, name: str) -> SimHost:
        """As it is now. Raises Unavailable."""
        with self.changed(name) as (host,):
            return host

    @contextlib.contextmanager
    def changed(self, *names: str) -> Iterator[tuple[SimHost, ...]]:
        """Hosts to change, all in one step; nothing is written when the body raises, or when nothing changed."""
        try:
            with self._locked():
                before = [self._file(name).read_bytes() for name in names]
                hosts = tuple(msgspec.json.decode(data, type=SimHost) for data in before)
                yield hosts
                for name, data, host in zip(names, before, hosts, strict=True):
                    if msgspec.json.decode(data, type=SimHost) != host:
                        self._write(self._file(name), host)
        except FileNotFoundError:
            raise Unavailable(" or ".join(names), "", f"there is no such simulated host in {self.folder}") from None
        except (msgspec.DecodeError, OSError) as fault:
            raise Unavailable(names[0], "", f"the simulated farm in {self.folder} cannot be used: {fault}") from None

    def add_failure(self, failure: Failure) -> None:
        with self._locked():
            self._write(self.folder / FAILURES, [*self._failures(), failure])

    def take_failure(self, host: str, vm: str, operation: str) -> Failure | None:
        """The first that concerns this operation, and one time less of it."""
        if not (self.folder / FAILURES).exists():
            return None
        try:
            with self._locked():
                failures = self._failures()
                found = next((one for one in failures if one.times > 0 and one.concerns(host, vm, operation)), None)
                if found:
                    found.times -= 1
                    self._write(self.folder / FAILURES, [one for one in failures if one.times > 0])
                return found
        except (msgspec.DecodeError, OSError) as fault:
            raise Unavailable(host, vm, f"{self.folder / FAILURES}: {fault}") from None

    def _failures(self) -> list[Failure]:
        path = self.folder / FAILURES
        return msgspec.json.decode(path.read_bytes(), type=list[Failure]) if path.exists() else []

    def _file(self, host: str) -> Path:
        return self.folder / f"{host}.json"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, path: Path, value: object) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1))
        os.replace(new, path)
