"""System services: their state as a reader, start and stop as a command, for those the client's file lists in `services`.

systemd (systemctl), OpenRC (rc-service) and SysV scripts (service, or /etc/init.d directly); which one runs is found out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.plugin import CommandFailed, Refused, Site, Unknown, command, reader
from common.program import Finished, NotStarted, run_program
from common.value import Value

Manager = Literal["systemd", "openrc", "sysv"]
Action = Literal["start", "stop", "restart", "reload", "status"]
MARGIN_S = 0.5
_NAME = re.compile(r"[A-Za-z0-9_@:.\\-]{1,128}")
_OPENRC = {0: "active", 3: "inactive", 32: "failed", 8: "inactive", 16: "inactive", 4: "active"}
_LSB = {0: "active", 1: "failed", 2: "failed", 3: "inactive"}  # LSB: status of init scripts


@dataclass(frozen=True, slots=True)
class Places:
    """Where the service managers of this machine are; handed in by tests."""

    systemd: Path = Path("/run/systemd/system")
    openrc: Path = Path("/run/openrc")
    scripts: Path = Path("/etc/init.d")
    path: tuple[Path, ...] = tuple(
        Path(folder) for folder in ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    )

    def which(self, program: str) -> str | None:
        """Where the program is; not by $PATH, which whoever starts a daemon by hand may have set."""
        return next((str(folder / program) for folder in self.path if os.access(folder / program, os.X_OK)), None)


@reader("service")
def service_state(site: Site, name: str) -> str:
    """`active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`; unknown where there is no such service."""
    well_formed(name)
    finished = _call(site, status_argv(name, Places()), Unknown)
    return state(detect(Places()), finished)


@command("service", subject="name")
def service(site: Site, name: str, action: Action) -> dict[str, Value]:
    """Does it and waits for it; the result holds the `state` afterwards and the `output`."""
    checked(site, name)
    places = Places()
    if action != "status":
        finished = _call(site, action_argv(name, action, places), CommandFailed)
        if finished.status != 0:
            said = (finished.errors.strip() or finished.output.strip() or finished.why).splitlines()
            why = finished.why or f"exit status {finished.status}"
            result: dict[str, Value] = {"output": finished.output, "errors": finished.errors}
            raise CommandFailed(f"{action} of {name}: {why}{f': {said[-1][:200]}' if said else ''}", result=result)
    after = _call(site, status_argv(name, places), CommandFailed)
    try:
        now = state(detect(places), after)
    except Unknown as fault:
        raise CommandFailed(str(fault)) from None
    return {"state": now, "output": after.output[-4000:]}


def checked(site: Site, name: str) -> None:
    """safety: only services the client's own file lists. Raises Refused."""
    if name not in site.services:
        raise Refused(f"service {name} is not listed in `services` of this client")
    well_formed(name)


def well_formed(name: str) -> None:
    """Raises Refused."""
    if not _NAME.fullmatch(name) or name.startswith(("-", ".")):
        raise Refused(f"{name!r} is no name of a service")


def detect(places: Places) -> Manager:
    """systemd and OpenRC say so themselves under /run; else there are init scripts."""
    if places.systemd.is_dir() and places.which("systemctl"):
        return "systemd"
    if places.openrc.is_dir() and places.which("rc-service"):
        return "openrc"
    return "sysv"


def action_argv(name: str, action: Action, places: Places) -> list[str]:
    """What to run. Raises Unknown: there is no such script."""
    manager = detect(places)
    if manager == "systemd":
        return [_found("systemctl", places), "--no-ask-password", action, "--", name]
    if manager == "openrc":
        return [_found("rc-service", places), "--", name, action]
    script = places.scripts / name
    if not os.access(script, os.X_OK):
        raise Unknown(f"there is no service {name}: {script} is not there")
    if helper := places.which("service"):  # it gives the script a clean environment
        return [helper, name, action]
    return [str(script), action]


def status_argv(name: str, places: Places) -> list[str]:
    if detect(places) == "systemd":
        properties = "--property=LoadState,ActiveState,SubState"
        return [_found("systemctl", places), "show", "--no-pager", properties, "--", name]
    return action_argv(name, "status", places)


def state(manager: Manager, finished: Finished) -> str:
    """Raises Unknown."""
    if finished.status is None:
        raise Unknown(f"its status program: {finished.why}")
    if manager == "systemd":
        return systemd_state(finished)
    known = _OPENRC if manager == "openrc" else _LSB
    if finished.status not in known:
        raise Unknown(f"status gave {finished.status}: {(finished.errors or finished.output).strip()[:200]}")
    return known[finished.status]


def systemd_state(finished: Finished) -> str:
    """From `systemctl show`: ActiveState, where the unit is loaded at all."""
    facts = dict(line.split("=", 1) for line in finished.output.splitlines() if "=" in line)
    if finished.status != 0 or "ActiveState" not in facts:
        raise Unknown((finished.errors or finished.output).strip()[:200] or "systemctl gave no state")
    if facts.get("LoadState") == "not-found":
        raise Unknown("there is no such unit")
    return facts["ActiveState"]


def _found(program: str, places: Places) -> str:
    return places.which(program) or program


def _call(site: Site, argv: list[str], fault: Callable[[str], Exception]) -> Finished:
    """Detached: what an init script starts must outlive this worker."""
    timeout_s = max(0.1, site.remaining_s() - MARGIN_S)
    try:
        return run_program(argv, timeout_s=timeout_s, detached=True)
    except NotStarted as error:
        raise fault(str(error)) from None
