"""The hypervisor contract on Xen, by `xl`. Keeps nothing: every operation first reads Xen's own list.

What `xl` prints is for xl_output.py, how it is called for xl_program.py, what a domain's file says for common/render/xl.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from common import hypervisor as hv
from common.hypervisor import Domain, DomainConfig, HypervisorError, Network, Progress, silent
from common.render import xl as render
from plugins import xl_output
from plugins.xl_program import Xl

MIB = 1024 * 1024
CALL_S = 20.0  # a list or a small order takes a fraction of a second, unless xenstored hangs
POLL_S = 0.5
LINGER_S = 5.0  # after a guest has halted, xl's own watcher clears the domain within a moment; past this nobody will
HEAD_BYTES = 65_536
CONSOLE = Path("/var/log/xen/console")  # where xenconsoled logs guests


@dataclass(frozen=True, slots=True)
class XlHypervisor:
    """`remote_shell`: how a target host is reached for migration, as one line for `xl migrate -s`. `shared`: a folder that both
    hosts see at the same path, for domains that cannot be moved live. `call_s`: for a list or a small order.
    `check_networks`: why a domain would not get its networks here, before it is started. `clock` and
    `wait`: seconds."""

    host: str
    xl: tuple[str, ...] = ("xl",)
    remote_shell: tuple[str, ...] = ("ssh", "-o", "BatchMode=yes")
    remote_xl: str = "xl"
    shared: Path | None = None
    console_folder: Path = CONSOLE
    call_s: float = CALL_S
    check_networks: Callable[[Iterable[Network]], str] = lambda networks: ""
    clock: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep
    kind: str = field(default="xl", init=False)

    @property
    def _xl(self) -> Xl:
        return Xl(self.host, self.xl)

    def domains(self) -> tuple[Domain, ...]:
        return self._xl.read("", xl_output.parse_list, "list", "-v", limit_s=self.call_s)

    def domain(self, name: str) -> Domain:
        for domain in self.domains():
            if domain.name == name:
                return domain
        raise hv.NoSuchDomain(self.host, name)

    def host_info(self) -> hv.HostInfo:
        found = self._xl.read("", xl_output.parse_info, "info", limit_s=self.call_s)
        load = os.getloadavg()[0]
        return hv.HostInfo(
            self.host, "xen", found.version, found.memory_bytes, found.memory_free_bytes, found.cpus, round(load, 2)
        )

    def kernels(self) -> dict[str, str]:
        details = self._xl.read("", xl_output.parse_details, "list", "-l", limit_s=self.call_s)
        ours = {one.name: hv.plain_name(one.name) for one in self.domains() if one.ours}
        return {ours[name]: xl_output.boots_from(one) for name, one in sorted(details.items()) if name in ours}

    def rendered(self, config: DomainConfig) -> str:
        if not config.native:
            return render.render(config)
        return f"# {config.native} as it stands there, but for\n" + "".join(f"{one}\n" for one in render.overrides(config))

    def start(self, config: DomainConfig, *, limit_s: float, progress: Progress = silent) -> Domain:
        deadline = self.clock() + limit_s
        hv.check_new(self.domains(), config.name, self.host)
        if why := self.check_networks(config.networks):
            raise HypervisorError(self.host, config.name, f"{why}; nothing was started")
        progress("creating the domain")
        with tempfile.NamedTemporaryFile("w", prefix="vmherd-", suffix=".cfg") as file:
            file.write("" if config.native else render.render(config))
            file.flush()
            more = render.overrides(config) if config.native else ()
            try:
                self._xl.do(config.name, "create", config.native or file.name, *more, limit_s=deadline - self.clock())
            except (hv.Unavailable, hv.AlreadyThere):  # safety: what is there was not started here
                raise
            except HypervisorError as fault:
                raise fault.leaving(self._clear(config.name)) from None
        return self.domain(config.name)

    def _clear(self, name: str) -> str:
        """Nothing half started stays behind. safety: what is destroyed carries our mark, and was not there before."""
        try:
            if not any(one.name == name and one.ours for one in self.domains()):
                return "nothing of it stayed behind"
            self._xl.do(name, "destroy", name, limit_s=self.call_s)
            return "what was half started has been destroyed"
        except HypervisorError as fault:
            return f"whether something of it stayed behind is not known: {fault.why}"

    def _owned(self, name: str) -> Domain:
        return hv.owned(self.domain(name), self.host)

    def shutdown(self, name: str, *, limit_s: float, destroy: bool = False) -> hv.Ended:
        domain = self._owned(name)
        deadline = self.clock() + limit_s
        if domain.state not in ("shutdown", "dying", "crashed"):
            self._xl.do(name, "shutdown", "-F", name, limit_s=min(self.call_s, limit_s))
        if self._gone(domain, deadline):
            return "shutdown"
        if destroy:
            self.destroy(name, limit_s=self.call_s)
            return "destroyed"
        raise hv.TimedOut(self.host, name, f"the guest did not shut down within {limit_s:g} s", left="it was left as it is")

    def _gone(self, domain: Domain, deadline: float) -> bool:
        """Waits. A guest that has halted and lingers (its watcher has ended, as after a failed save) is cleared away."""
        halted_at: float | None = None
        while True:
            now = next((one for one in self.domains() if one.number == domain.number), None)
            if now is None:
                return True
            late = self.clock() >= deadline
            if now.state in ("shutdown", "crashed"):
                halted_at = self.clock() if halted_at is None else halted_at
                if late or self.clock() - halted_at >= LINGER_S:
                    # on a slow host its watcher is at it still: then it has lost its name, and goes by itself
                    with contextlib.suppress(hv.NoSuchDomain):
                        self.destroy(domain.name, limit_s=self.call_s)
                        return True
            if late:
                return False
            self.wait(POLL_S)

    def destroy(self, name: str, *, limit_s: float) -> None:
        number = self._owned(name).number
        try:
            self._xl.do(name, "destroy", name, limit_s=limit_s)
        except HypervisorError:
            # of a domain that is dying already xl complains of what is gone before it; whether the domain is gone counts
            if any(one.number == number for one in self.domains()):
                raise

    def reboot(self, name: str, *, limit_s: float) -> None:
        self._in_state(name, "running", "rebooted")
        self._xl.do(name, "reboot", "-F", name, limit_s=limit_s)

    def pause(self, name: str, *, limit_s: float) -> None:
        if self._owned(name).state != "paused":
            self._in_state(name, "running", "paused")
            self._xl.do(name, "pause", name, limit_s=limit_s)

    def unpause(self, name: str, *, limit_s: float) -> None:
        if self._owned(name).state != "running":
            self._in_state(name, "paused", "unpaused")
            self._xl.do(name, "unpause", name, limit_s=limit_s)

    def _in_state(self, name: str, state: str, done: str) -> Domain:
        domain = self._owned(name)
        if domain.state != state:
            raise hv.WrongState(self.host, name, f"it is {domain.state}, and only a {state} domain can be {done}")
        return domain

    def save(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> None:
        domain = self._in_state(name, "running", "saved")
        if path.exists():
            raise hv.WrongState(self.host, name, f"{path} exists already; nothing was done")
        self._check_room(domain, path)
        progress(f"saving {domain.memory_bytes // MIB} MiB")
        try:
            self._xl.do(name, "save", name, str(path), limit_s=limit_s)
        except HypervisorError as fault:
            raise fault.leaving(self._after_failed_save(name, path)) from None

    def _check_room(self, domain: Domain, path: Path) -> None:
        """A save onto a full disk harms the domain (see below): refused before it begins."""
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError as fault:
            raise hv.WrongState(self.host, domain.name, f"{path.parent}: {fault.strerror}; nothing was done") from None
        if free < domain.memory_bytes:
            why = f"{path.parent} has {free // MIB} MiB free, the domain needs {domain.memory_bytes // MIB}; nothing was done"
            raise hv.DoesNotFit(self.host, domain.name, why)

    def _after_failed_save(self, name: str, path: Path) -> str:
        """safety: the file is kept unless the domain is still there, for it may be all that is left of it.

        Xen resumes the domain, but its watcher has ended: when the guest halts or reboots, it stays as `---s--`."""
        try:
            state = self.domain(name).state
        except HypervisorError as fault:
            return f"whether it is still there is not known ({fault.why}), so {path} was kept"
        path.unlink(missing_ok=True)
        return f"it is {state}, but nothing watches it any more: it will not reboot, and once halted only destroy clears it"

    def restore(self, name: str, path: Path, *, limit_s: float, progress: Progress = silent) -> Domain:
        hv.check_new(self.domains(), name, self.host)
        self._check_saved(name, path)
        progress("restoring")
        try:
            self._xl.do(name, "restore", str(path), limit_s=limit_s)
        except (hv.Unavailable, hv.AlreadyThere):  # safety: what is there was not started here
            raise
        except HypervisorError as fault:
            raise fault.leaving(f"{self._clear(name)}; {path} is as it was") from None
        return self.domain(name)

    def _check_saved(self, name: str, path: Path) -> None:
        try:
            with path.open("rb") as file:
                found = xl_output.saved_uuid(file.read(HEAD_BYTES))
        except OSError as fault:
            raise hv.WrongState(self.host, name, f"{path}: {fault.strerror}; nothing was done") from None
        if found != hv.mark(name):
            what = "is no saved domain" if not found else "holds another domain"
            raise hv.WrongState(self.host, name, f"{path} {what}; nothing was done")

    def migrate(self, name: str, target: str, *, limit_s: float, progress: Progress = silent) -> hv.Moved:
        domain = self._in_state(name, "running", "migrated")
        deadline = self.clock() + limit_s
        progress(f"moving live to {target}")
        try:
            done = self._xl.run(name, "migrate", "-s", " ".join(self.remote_shell), name, target, limit_s=limit_s)
        except HypervisorError as fault:
            raise fault.leaving(self._where(name)) from None
        if done.status == 0:
            return "live"
        if "logdirty" not in done.errors + done.output:
            raise self._xl.failure(name, "migrate", done).leaving(self._where(name))
        if self.shared is None:
            why = "it cannot be moved live, and no folder is shared with the target"
            raise hv.Unsupported(self.host, name, why, left=self._where(name))
        self._move_saved(name, target, self._place(domain), deadline, progress)
        return "saved"

    def _where(self, name: str) -> str:
        try:
            return f"it is {self.domain(name).state} here"
        except HypervisorError as fault:
            return f"it is not here: {fault.why}"

    def _place(self, domain: Domain) -> Path:
        """A name of its own for each move: the target may remember an older file by that name."""
        assert self.shared is not None
        return self.shared / f"{domain.name}.{self.host}.{domain.number}.save"

    def _move_saved(self, name: str, target: str, path: Path, deadline: float, progress: Progress) -> None:
        self.save(name, path, limit_s=deadline - self.clock(), progress=progress)
        _sync(path)
        progress(f"restoring on {target}")
        remote = Xl(target, (*self.remote_shell, target, self.remote_xl))
        try:
            remote.do(name, "restore", str(path), limit_s=deadline - self.clock())
            path.unlink(missing_ok=True)
        except HypervisorError as fault:
            raise fault.leaving(self._take_back(name, path, remote)) from None

    def _take_back(self, name: str, path: Path, remote: Xl) -> str:
        """safety: restored here only when the target itself says that it has no such domain, so that it never runs twice."""
        try:
            there = remote.read(name, xl_output.parse_list, "list", "-v", limit_s=self.call_s)
        except HypervisorError:
            return f"{remote.host} does not say whether it runs there, so it was not restored here; its memory is in {path}"
        if any(hv.plain_name(one.name) == name for one in there):
            return f"{remote.host} has a domain of this name, so it was not restored here; its memory is in {path}"
        try:
            self.restore(name, path, limit_s=self.call_s * 6)
            path.unlink(missing_ok=True)
            return "it runs here again"
        except HypervisorError as fault:
            return f"it could not be restored here either ({fault.why}); its memory is in {path}"

    def set_memory(self, name: str, memory_bytes: int, *, limit_s: float) -> None:
        self._owned(name)
        details = self._xl.read(name, xl_output.parse_details, "list", "-l", name, limit_s=self.call_s)
        ceiling = xl_output.ceiling_bytes(details.get(name, {})) if name in details else 0
        if memory_bytes > ceiling:
            raise hv.WrongState(self.host, name, f"its memory cannot be more than {ceiling // MIB} MiB while it runs")
        self._xl.do(name, "mem-set", name, f"{memory_bytes // MIB}m", limit_s=limit_s)

    def console_log(self, name: str, *, bytes_max: int) -> str:
        """What xenconsoled logs, where it was started with --log=guest. The file is named once, when the domain is made: of one
        that came by a live migration it has the name in motion. What was here before has left older files."""
        self._owned(name)
        endings = ("", *hv.NAMES_IN_MOTION)
        found = [path for ending in endings if (path := self.console_folder / f"guest-{name}{ending}.log").exists()]
        if not found:
            return ""
        try:
            with max(found, key=lambda path: path.stat().st_mtime).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - bytes_max))
                return file.read(bytes_max).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        except OSError as fault:
            raise HypervisorError(self.host, name, f"console log: {fault.strerror}") from None


def _sync(path: Path) -> None:
    """All of it is where another host sees it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
