"""The hypervisor contract on a simulated host: capacity, boot times, domains of others, failures on request.

A full back end, chosen by conf like the others; the farm stands on disk (sim_world.py), so domains outlive the client as they
do on Xen. What the guests of Xen do to an administrator, these do too: one that halts after a failed save stays there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from common import hypervisor as hv
from common.hypervisor import Domain, DomainConfig, Progress, silent
from common.program import NotStarted, run_program
from common.render import xl as render
from plugins.sim_world import CONSOLE_LINES_MAX, Failure, SimDomain, SimHost, SimWorld

MIB = 1024 * 1024
POLL_S = 0.1
VERSION = "1"
HOOK_S_MIN = 1.0
HOOK_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class SimHypervisor:
    """One host of the farm in `folder`. `clock`: the time that all processes share; `wait`: seconds."""

    host: str
    folder: Path
    clock: Callable[[], float] = time.time
    wait: Callable[[float], None] = time.sleep
    kind: str = field(default="sim", init=False)

    @property
    def world(self) -> SimWorld:
        return SimWorld(self.folder)

    # --- what is there ------------------------------------------------------------------------------------------------------

    def domains(self) -> tuple[Domain, ...]:
        self._obey("list", "", 0.0)
        with self._changed() as host:
            return tuple(self._seen(one) for _, one in sorted(host.domains.items()))

    def domain(self, name: str) -> Domain:
        with self._changed() as host:
            return self._seen(self._get(host, name))

    def host_info(self) -> hv.HostInfo:
        self._obey("info", "", 0.0)
        with self._changed() as host:
            busy = sum(one.vcpus for one in host.domains.values() if not one.stopped)
            free = host.memory_free_bytes
            return hv.HostInfo(self.host, "sim", VERSION, host.memory_bytes, free, host.cpus, float(busy))

    def kernels(self) -> dict[str, str]:
        self._obey("list", "", 0.0)
        with self._changed() as host:
            return {name: one.boots_from for name, one in sorted(host.domains.items()) if hv.is_ours(name, one.uuid)}

    def rendered(self, config: DomainConfig) -> str:
        return config.native or render.render(config)

    def _seen(self, one: SimDomain) -> Domain:
        note = "" if one.stopped != "shutdown" else "halted, but still there: only destroy clears it"
        state: hv.State = one.stopped or ("starting" if self.clock() < one.boots_at else "running")
        ours = hv.is_ours(one.name, one.uuid)
        return Domain(one.name, one.uuid, state, one.memory_bytes, one.vcpus, ours=ours, note=note)

    @contextmanager
    def _changed(self) -> Iterator[SimHost]:
        """The host, with what time has done to it."""
        with self.world.changed(self.host) as (host,):
            self._pass_time(host)
            yield host

    def _pass_time(self, host: SimHost) -> None:
        for name, one in list(host.domains.items()):
            if one.ends_at is not None and one.ends_at <= self.clock():
                one.ends_at = None
                one.stopped = "shutdown"
                if one.watched:
                    del host.domains[name]

    def _get(self, host: SimHost, name: str) -> SimDomain:
        if name not in host.domains:
            raise hv.NoSuchDomain(self.host, name)
        return host.domains[name]

    def _owned(self, host: SimHost, name: str) -> SimDomain:
        one = self._get(host, name)
        hv.owned(self._seen(one), self.host)
        return one

    def _running(self, host: SimHost, name: str, done: str) -> SimDomain:
        one = self._owned(host, name)
        if one.stopped:
            raise hv.WrongState(self.host, name, f"it is {one.stopped}, and only a running domain can be {done}")
        return one

    def _obey(self, operation: str, vm: str, limit_s: float) -> None:
        """Fails where failures.json says so."""
        failure = self.world.take_failure(self.host, vm, operation)
        if failure:
            self._fail(failure, vm, limit_s)

    def _fail(self, failure: Failure, vm: str, limit_s: float) -> None:
        if failure.how == "unavailable":
            raise hv.Unavailable(self.host, vm, failure.why)
        if failure.how == "hang":
            self.wait(limit_s)
            raise hv.TimedOut(self.host, vm, f"no end within {limit_s:g} s")
        raise hv.HypervisorError(self.host, vm, failure.why)

    # --- start and end ------------------------------------------------------------------------------------------------------

    def start(self, config: DomainConfig, *, limit_s: float, progress: Progress = silent) -> Domain:
        hv.check_new(self.domains(), config.name, self.host)
        progress("creating the domain")
        self._obey("start", config.name, limit_s)
        with self._changed() as host:
            one = SimDomain(
                name=config.name,
                uuid=config.uuid,
                memory_bytes=config.memory_bytes,
                ceiling_bytes=config.ceiling_bytes,
                vcpus=config.vcpus,
                type=config.type,
                boots_at=self.clock() + host.boot_s,
                boots_from=config.kernel or config.native or next((disk.path for disk in config.disks), ""),
                bridges=[network.bridge_name for network in config.networks],
            )
            self._place(host, one, f"{config.name} started")
            seen = self._seen(one)
        self._begin(config.name, limit_s)
        return seen

    def _begin(self, name: str, limit_s: float) -> None:
        try:
            self._tell("start", name, limit_s)
        except hv.HypervisorError:
            with self._changed() as host:
                host.domains.pop(name, None)
            raise

    def _tell(self, what: str, name: str, limit_s: float) -> None:
        """Runs the hook: what this guest does beyond being listed."""
        hook = self.world.read(self.host).hook
        if not hook:
            return
        try:
            done = run_program([hook, what, name, self.host], timeout_s=max(HOOK_S_MIN, limit_s), detached=True)
        except NotStarted as fault:
            raise hv.HypervisorError(self.host, name, f"sim_hook: {fault}") from None
        if done.status != 0:
            said = done.why or f"exit status {done.status}: {(done.errors or done.output).strip()[-HOOK_CHARS_MAX:]}"
            raise hv.HypervisorError(self.host, name, f"sim_hook {what}: {said}")

    def _place(self, host: SimHost, one: SimDomain, line: str) -> None:
        """Once more under the lock, for two processes may have asked at once."""
        hv.check_new(tuple(self._seen(each) for each in host.domains.values()), one.name, self.host)
        for bridge in one.bridges:
            if host.bridges and bridge not in host.bridges:
                raise hv.HypervisorError(self.host, one.name, f"Could not find bridge device {bridge}; nothing was started")
        if one.memory_bytes > host.memory_free_bytes:
            why = (
                f"it needs {one.memory_bytes // MIB} MiB, and {host.memory_free_bytes // MIB} MiB are free; nothing was started"
            )
            raise hv.DoesNotFit(self.host, one.name, why)
        host.domains[one.name] = one
        _say(one, line)

    def shutdown(self, name: str, *, limit_s: float, destroy: bool = False) -> hv.Ended:
        deadline = self.clock() + limit_s
        failure = self.world.take_failure(self.host, name, "shutdown")
        with self._changed() as host:
            running = failure is None and not self._owned(host, name).stopped
        if running:
            self._tell("stop", name, limit_s)
        with self._changed() as host:
            if running and name in host.domains:
                host.domains[name].ends_at = self.clock() + host.shutdown_s
                _say(host.domains[name], "going down")
        if failure is not None and failure.how != "hang":
            self._fail(failure, name, limit_s)
        if self._gone(name, deadline):
            return "shutdown"
        if destroy:
            self.destroy(name, limit_s=limit_s)
            return "destroyed"
        raise hv.TimedOut(self.host, name, f"the guest did not shut down within {limit_s:g} s", left="it was left as it is")

    def _gone(self, name: str, deadline: float) -> bool:
        """Waits. What has halted and stays is cleared away."""
        while True:
            with self._changed() as host:
                one = host.domains.get(name)
                if one is not None and one.stopped in ("shutdown", "crashed"):
                    del host.domains[name]
                if name not in host.domains:
                    return True
            if self.clock() >= deadline:
                return False
            self.wait(POLL_S)

    def destroy(self, name: str, *, limit_s: float) -> None:
        self._obey("destroy", name, limit_s)
        with self._changed() as host:
            stopped = self._owned(host, name).stopped
        if stopped in ("", "paused"):
            self._tell("destroy", name, limit_s)
        with self._changed() as host:
            host.domains.pop(name, None)

    def reboot(self, name: str, *, limit_s: float) -> None:
        self._obey("reboot", name, limit_s)
        with self._changed() as host:
            one = self._running(host, name, "rebooted")
            one.boots_at = self.clock() + host.boot_s
            _say(one, "rebooting")
        self._tell("stop", name, limit_s)
        self._tell("start", name, limit_s)

    def pause(self, name: str, *, limit_s: float) -> None:
        self._obey("pause", name, limit_s)
        with self._changed() as host:
            if self._owned(host, name).stopped != "paused":
                self._running(host, name, "paused").stopped = "paused"

    def unpause(self, name: str, *, limit_s: float) -> None:
        self._obey("unpause", name, limit_s)
        with self._changed() as host:
            one = self._owned(host, name)
            if one.stopped not in ("", "paused"):
                raise hv.WrongState(self.host, name, f"it is {one.stopped}, and only a paused domain can be unpaused")
            one.stopped = ""

    # --- elsewhere and later ------------------------------------------------------------------------------------------------

    def save(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> None:
        with self._changed() as host:
            one = self._running(host, name, "saved")
        if path.exists():
            raise hv.WrongState(self.host, name, f"{path} exists already; nothing was done")
        progress(f"saving {one.memory_bytes // MIB} MiB")
        try:
            self._obey("save", name, limit_s)
            path.write_bytes(msgspec.json.encode(one))
        except (hv.HypervisorError, OSError) as fault:
            raise self._unsaved(name, path, fault) from None
        self._tell("stop", name, limit_s)
        with self._changed() as host:
            host.domains.pop(name, None)

    def _unsaved(self, name: str, path: Path, fault: hv.HypervisorError | OSError) -> hv.HypervisorError:
        path.unlink(missing_ok=True)
        with self._changed() as host:
            self._get(host, name).watched = False
        error = (
            fault if isinstance(fault, hv.HypervisorError) else hv.HypervisorError(self.host, name, f"{path}: {fault.strerror}")
        )
        return error.leaving("it is running, but nothing watches it any more: once halted only destroy clears it")

    def restore(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> Domain:
        hv.check_new(self.domains(), name, self.host)
        one = self._saved(name, path)
        progress("restoring")
        self._obey("restore", name, limit_s)
        with self._changed() as host:
            self._place(host, one, "restored")
            seen = self._seen(one)
        self._begin(name, limit_s)
        return seen

    def _saved(self, name: str, path: Path) -> SimDomain:
        try:
            one = msgspec.json.decode(path.read_bytes(), type=SimDomain)
        except OSError as fault:
            raise hv.WrongState(self.host, name, f"{path}: {fault.strerror}; nothing was done") from None
        except msgspec.DecodeError:
            raise hv.WrongState(self.host, name, f"{path} is no saved domain; nothing was done") from None
        if one.name != name or one.uuid != hv.mark(name):
            raise hv.WrongState(self.host, name, f"{path} holds another domain; nothing was done")
        return one

    def migrate(self, name: str, target: str, *, limit_s: float, progress: Progress = silent) -> hv.Moved:
        with self._changed() as host:
            kind = self._running(host, name, "migrated").type
        if target == self.host or target not in self.world.hosts():
            raise hv.Unsupported(self.host, name, f"{target} is no other host of this farm; nothing was done")
        progress(f"moving {'live ' if kind != 'pv' else ''}to {target}")
        self._obey("migrate", name, limit_s)
        there = SimHypervisor(target, self.folder, self.clock, self.wait)
        with self.world.changed(self.host, target) as (host, other):
            there._pass_time(other)
            one = self._running(host, name, "migrated")
            there._place(other, one, f"moved from {self.host}")
            del host.domains[name]
        self._tell("stop", name, limit_s)
        there._begin(name, limit_s)
        return "saved" if kind == "pv" else "live"

    # --- the rest -----------------------------------------------------------------------------------------------------------

    def set_memory(self, name: str, memory_bytes: int, *, limit_s: float) -> None:
        self._obey("set_memory", name, limit_s)
        with self._changed() as host:
            one = self._owned(host, name)
            if memory_bytes > one.ceiling_bytes:
                raise hv.WrongState(
                    self.host, name, f"its memory cannot be more than {one.ceiling_bytes // MIB} MiB while it runs"
                )
            if memory_bytes - one.memory_bytes > host.memory_free_bytes:
                raise hv.DoesNotFit(self.host, name, f"only {host.memory_free_bytes // MIB} MiB are free; nothing was done")
            one.memory_bytes = memory_bytes

    def console_log(self, name: str, *, bytes_max: int) -> str:
        with self._changed() as host:
            text = "".join(f"{line}\n" for line in self._owned(host, name).console)
            return os.fsencode(text)[-bytes_max:].decode("utf-8", "replace") if bytes_max > 0 else ""

    # --- what happens to a host by itself -----------------------------------------------------------------------------------

    def crash(self, name: str) -> None:
        """The guest, of anybody, dies of its own accord."""
        with self._changed() as host:
            one = self._get(host, name)
            one.stopped = "crashed"
            _say(one, "kernel panic")
        self._tell("destroy", name, HOOK_S_MIN)

    def add_foreign(self, name: str, memory_bytes: int) -> None:
        """Somebody else starts a domain by hand."""
        with self._changed() as host:
            uuid = "00000000-0000-4000-8000-000000000001"
            host.domains[name] = SimDomain(name, uuid, memory_bytes, memory_bytes, 1, "pvh", self.clock())


def _say(one: SimDomain, line: str) -> None:
    one.console = [*one.console, line][-CONSOLE_LINES_MAX:]
