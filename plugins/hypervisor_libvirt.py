"""The hypervisor contract by libvirt: qemu, kvm, xen, and libvirt's own test driver. Keeps nothing but its connection.

Domains are transient: what is not running is not in libvirt's list, and its definition is ours. A call of libvirt cannot be
broken off, so a hanging libvirtd is ended by the limit of the worker process that this runs in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from common import hypervisor as hv
from common.hypervisor import Domain, DomainConfig, Progress, silent
from common.render import libvirt as render
from plugins.libvirt_library import load

MIB = 1024 * 1024
POLL_S = 0.5
# virDomainState (libvirt-domain.h)
_STATES: tuple[hv.State, ...] = ("unknown", "running", "running", "paused", "dying", "shutdown", "crashed", "paused")
_NO_DOMAIN = 42  # virErrorNumber (virterror.h)
_NOT_SUPPORTED = (3, 74, 84)  # by the connection; an argument (peer-to-peer migration); the operation
_LIVE_PEER2PEER = 1 | 2  # virDomainMigrateFlags


def connect(uri: str) -> Any:
    """A connection of libvirt. Raises ImportError, libvirtError."""
    library = load()
    library.registerErrorHandler(lambda context, error: None, None)  # else libvirt writes each error to stderr itself
    return library.open(uri)


@dataclass(slots=True)
class LibvirtHypervisor:
    """`target_uri`: how another host's libvirt is reached, with {host} in it. `shared`: a folder that both hosts see at the
    same path, for domains that cannot be moved live. `console_folder`: where consoles are logged; none: they are not."""

    host: str
    uri: str = "qemu:///system"
    target_uri: str = "qemu+ssh://{host}/system"
    shared: Path | None = None
    console_folder: Path | None = None
    connect: Callable[[str], Any] = connect
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    kind: str = field(default="libvirt", init=False)
    _connection: Any = field(default=None, init=False)

    @contextmanager
    def _libvirt(self, vm: str = "") -> Iterator[Any]:
        """The connection, made anew where it was lost; libvirt's errors become ours."""
        try:
            library = load()
        except ImportError as fault:
            raise hv.Unavailable(self.host, vm, str(fault)) from None
        try:
            if self._connection is None or not self._connection.isAlive():
                self._connection = None
                self._connection = self.connect(self.uri)
        except library.libvirtError as fault:
            raise hv.Unavailable(self.host, vm, f"{self.uri}: {_said(fault)}") from None
        try:
            yield self._connection
        except library.libvirtError as fault:
            raise self._failure(vm, fault) from None

    def _failure(self, vm: str, fault: Any) -> hv.HypervisorError:
        if fault.get_error_code() == _NO_DOMAIN:
            return hv.NoSuchDomain(self.host, vm)
        if fault.get_error_code() in _NOT_SUPPORTED:
            return hv.Unsupported(self.host, vm, _said(fault))
        kind = hv.DoesNotFit if "allocate memory" in _said(fault) else hv.HypervisorError
        return kind(self.host, vm, _said(fault))

    # --- what is there ------------------------------------------------------------------------------------------------------

    def domains(self) -> tuple[Domain, ...]:
        with self._libvirt() as connection:
            active = connection.listAllDomains(0)
            found = (self._seen(one) for one in active if one.ID() != 0 or one.name() != "Domain-0")
            return tuple(sorted(found, key=lambda domain: domain.name))

    def _seen(self, one: Any) -> Domain:
        state, _, memory_kib, vcpus, cpu_ns = one.info()
        name, uuid = one.name(), one.UUIDString()
        known: hv.State = _STATES[state] if 0 <= state < len(_STATES) else "unknown"
        number = one.ID() if one.isActive() else None
        return Domain(name, uuid, known, memory_kib * 1024, vcpus, cpu_ns / 1e9, number, hv.is_ours(name, uuid))

    def domain(self, name: str) -> Domain:
        with self._libvirt(name) as connection:
            return self._seen(connection.lookupByName(name))

    def host_info(self) -> hv.HostInfo:
        with self._libvirt() as connection:
            number = connection.getVersion()
            version = f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
            memory, free = connection.getInfo()[1] * MIB, self._free(connection)
            load_1m = round(os.getloadavg()[0], 2)
            return hv.HostInfo(
                self.host, connection.getType().lower(), version, memory, min(free, memory), connection.getInfo()[2], load_1m
            )

    @staticmethod
    def _free(connection: Any) -> int:
        """Bytes. The test driver answers in KiB, for all that libvirt's manual says."""
        free = int(connection.getFreeMemory())
        return free * 1024 if connection.getType() == "TEST" else free

    def kernels(self) -> dict[str, str]:
        with self._libvirt() as connection:
            described = {one.name(): (one.UUIDString(), xml.fromstring(one.XMLDesc(0))) for one in connection.listAllDomains(0)}
        ours = {name: of for name, (uuid, of) in sorted(described.items()) if hv.is_ours(name, uuid)}
        return {hv.plain_name(name): _boots_from(of) for name, of in ours.items()}

    def rendered(self, config: DomainConfig) -> str:
        with self._libvirt(config.name) as connection:
            return self._rendered(connection, config)

    def _owned(self, connection: Any, name: str) -> Any:
        one = connection.lookupByName(name)
        hv.owned(self._seen(one), self.host)
        return one

    def _in_state(self, connection: Any, name: str, state: str, done: str) -> Any:
        one = self._owned(connection, name)
        now = self._seen(one).state
        if now != state:
            raise hv.WrongState(self.host, name, f"it is {now}, and only a {state} domain can be {done}")
        return one

    # --- start and end ------------------------------------------------------------------------------------------------------

    def start(self, config: DomainConfig, *, limit_s: float, progress: Progress = silent) -> Domain:
        hv.check_new(self.domains(), config.name, self.host)
        progress("creating the domain")
        with self._libvirt(config.name) as connection:
            return self._seen(connection.createXML(self._rendered(connection, config), 0))

    def _rendered(self, connection: Any, config: DomainConfig) -> str:
        driver = {"QEMU": "kvm", "Xen": "xen", "TEST": "test"}.get(connection.getType(), connection.getType().lower())
        arch = connection.getInfo()[0]
        log = str(self.console_folder / f"{config.name}.log") if self.console_folder else ""
        try:
            return render.render(config, driver, arch, log)
        except ValueError as fault:
            raise hv.Unsupported(self.host, config.name, f"{fault}; nothing was started") from None

    def shutdown(self, name: str, *, limit_s: float, destroy: bool = False) -> hv.Ended:
        deadline = self.clock() + limit_s
        with self._libvirt(name) as connection:
            one = self._owned(connection, name)
            state = self._seen(one).state
            if state in hv.DEAD:
                one.destroy()
            elif state != "dying":
                one.shutdown()
        while any(each.name == name for each in self.domains()):
            if self.clock() >= deadline:
                break
            self.wait(POLL_S)
        else:
            return "shutdown"
        if destroy:
            self.destroy(name, limit_s=limit_s)
            return "destroyed"
        raise hv.TimedOut(self.host, name, f"the guest did not shut down within {limit_s:g} s", left="it was left as it is")

    def destroy(self, name: str, *, limit_s: float) -> None:
        with self._libvirt(name) as connection:
            self._owned(connection, name).destroy()

    def reboot(self, name: str, *, limit_s: float) -> None:
        with self._libvirt(name) as connection:
            self._in_state(connection, name, "running", "rebooted").reboot(0)

    def pause(self, name: str, *, limit_s: float) -> None:
        with self._libvirt(name) as connection:
            if self._seen(self._owned(connection, name)).state != "paused":
                self._in_state(connection, name, "running", "paused").suspend()

    def unpause(self, name: str, *, limit_s: float) -> None:
        with self._libvirt(name) as connection:
            if self._seen(self._owned(connection, name)).state != "running":
                self._in_state(connection, name, "paused", "unpaused").resume()

    # --- elsewhere and later ------------------------------------------------------------------------------------------------

    def save(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> None:
        with self._libvirt(name) as connection:
            one = self._in_state(connection, name, "running", "saved")
            if path.exists():
                raise hv.WrongState(self.host, name, f"{path} exists already; nothing was done")
            progress(f"saving {self._seen(one).memory_bytes // MIB} MiB")
            try:
                one.save(str(path))
            except load().libvirtError as fault:
                raise self._failure(name, fault).leaving(self._after_failed_save(name, path)) from None

    def _after_failed_save(self, name: str, path: Path) -> str:
        """safety: the file is kept unless the domain is still there, for it may be all that is left of it."""
        try:
            state = self.domain(name).state
        except hv.HypervisorError as fault:
            return f"whether it is still there is not known ({fault.why}), so {path} was kept"
        path.unlink(missing_ok=True)
        return f"it is {state}"

    def restore(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> Domain:
        hv.check_new(self.domains(), name, self.host)
        with self._libvirt(name) as connection:
            self._restore(connection, name, path, progress)
        return self.domain(name)

    def _restore(self, connection: Any, name: str, path: Path, progress: Progress) -> None:
        try:
            saved = xml.fromstring(connection.saveImageGetXMLDesc(str(path), 0))
            found = saved.findtext("uuid", "").strip()
        except load().libvirtError as fault:
            raise hv.WrongState(self.host, name, f"{path} is no saved domain: {_said(fault)}; nothing was done") from None
        if found != hv.mark(name):
            raise hv.WrongState(self.host, name, f"{path} holds another domain; nothing was done")
        progress("restoring")
        connection.restore(str(path))

    def migrate(self, name: str, target: str, *, limit_s: float, progress: Progress = silent) -> hv.Moved:
        uri = self.target_uri.format(host=target)
        progress(f"moving live to {target}")
        with self._libvirt(name) as connection:
            one = self._in_state(connection, name, "running", "migrated")
            try:
                one.migrateToURI3(uri, {}, _LIVE_PEER2PEER)
                return "live"
            except load().libvirtError as fault:
                failure = self._failure(name, fault)
        if not isinstance(failure, hv.Unsupported) or self.shared is None:
            raise failure.leaving(self._where(name))
        self._move_saved(name, target, uri, self.shared / f"{name}.save", progress)
        return "saved"

    def _where(self, name: str) -> str:
        try:
            return f"it is {self.domain(name).state} here"
        except hv.HypervisorError as fault:
            return f"it is not here: {fault.why}"

    def _move_saved(self, name: str, target: str, uri: str, path: Path, progress: Progress) -> None:
        there = LibvirtHypervisor(target, uri, self.target_uri, connect=self.connect, clock=self.clock, wait=self.wait)
        hv.check_new(there.domains(), name, target)
        self.save(name, path, limit_s=0, progress=progress)
        progress(f"restoring on {target}")
        try:
            there.restore(name, path, limit_s=0)
            path.unlink(missing_ok=True)
        except hv.HypervisorError as fault:
            raise fault.leaving(self._take_back(name, path, there)) from None

    def _take_back(self, name: str, path: Path, there: LibvirtHypervisor) -> str:
        """safety: restored here only when the target itself says that it has no such domain, so that it never runs twice."""
        try:
            if any(one.name == name for one in there.domains()):
                return f"{there.host} has a domain of this name, so it was not restored here; its memory is in {path}"
        except hv.HypervisorError:
            return f"{there.host} does not say whether it runs there, so it was not restored here; its memory is in {path}"
        try:
            self.restore(name, path, limit_s=0)
            path.unlink(missing_ok=True)
            return "it runs here again"
        except hv.HypervisorError as fault:
            return f"it could not be restored here either ({fault.why}); its memory is in {path}"

    # --- the rest -----------------------------------------------------------------------------------------------------------

    def set_memory(self, name: str, memory_bytes: int, *, limit_s: float) -> None:
        with self._libvirt(name) as connection:
            one = self._owned(connection, name)
            ceiling = one.maxMemory() * 1024
            if memory_bytes > ceiling:
                raise hv.WrongState(self.host, name, f"its memory cannot be more than {ceiling // MIB} MiB while it runs")
            one.setMemory(memory_bytes // 1024)

    def console_log(self, name: str, *, bytes_max: int) -> str:
        with self._libvirt(name) as connection:
            self._owned(connection, name)
        if self.console_folder is None:
            return ""
        try:
            with (self.console_folder / f"{name}.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - bytes_max))
                return file.read(bytes_max).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        except OSError as fault:
            raise hv.HypervisorError(self.host, name, f"console log: {fault.strerror}") from None


def _boots_from(domain: xml.Element) -> str:
    """The kernel, else the first disk, else nothing."""
    source = domain.find("devices/disk/source")
    disk = "" if source is None else source.get("file") or source.get("dev") or ""
    return domain.findtext("os/kernel") or disk


def _said(fault: Any) -> str:
    return str(fault.get_error_message() or fault)
