"""Virtual machines of this host: their list as a reader, what can be done to one as commands (docs/hypervisors.md).

Each command does one thing once, on the VM it names, and only where the domain is ours. It keeps nothing and decides nothing:
what is wanted is the manager's to know.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from common import hypervisor as hv
from common.hypervisor import Domain, Hypervisor
from common.plugin import CommandFailed, Refused, Site, Unknown, command, reader
from common.value import Value
from plugins.hypervisor_open import open_hypervisor
from plugins.vm_saves import Saves

if TYPE_CHECKING:
    from common.config.model import VmConfig
    from common.config.vms import ImageFiles

MIB = 1024 * 1024
AFTER_S = 20.0  # of the time of a command: to clear away what was broken off, and to say so, before the process is killed
AFTER_SHARE = 0.25  # but no more of it than that
START_S_MIN = 1.0  # a start that has less time left is not begun
CONSOLE_BYTES_MAX = 1024 * 1024

# --- what is there ----------------------------------------------------------------------------------------------------------


@reader("domains")
def domains(site: Site) -> list[Value]:
    """All domains but dom0, whoever made them."""
    with _or_unknown():
        return [_shown(one) for one in open_hypervisor(site).domains()]


@reader("hypervisor")
def hypervisor(site: Site) -> dict[str, Value]:
    """What the host has, and has left."""
    with _or_unknown():
        found = open_hypervisor(site).host_info()
    return {
        "kind": found.hypervisor,
        "version": found.version,
        "memory_bytes": found.memory_bytes,
        "memory_free_bytes": found.memory_free_bytes,
        "cpus": found.cpus,
        "load": found.load,
    }


@reader("images_used")
def images_used(site: Site) -> dict[str, Value]:
    """By VM, the NAME@VERSION it runs from."""
    from common.images import image_of

    repository, cache = site.hypervisor.images, site.hypervisor.cache
    if repository is None and cache is None:
        return {}
    with _or_unknown():
        kernels = open_hypervisor(site).kernels()
    found = {vm: image_of(path, repository, cache) for vm, path in kernels.items()}
    return {vm: image for vm, image in found.items() if image}


@contextmanager
def _or_unknown() -> Iterator[None]:
    try:
        yield
    except hv.HypervisorError as fault:
        raise Unknown(str(fault)) from None


# --- start and end ------------------------------------------------------------------------------------------------------------


@command("vm-start", subject="vm")
def vm_start(site: Site, vm: str, definition: dict[str, Value]) -> dict[str, Value]:
    """Clears a dead domain of ours away first. `definition`: see common/definition.py."""
    from common.config.vms import domain_config

    wanted = _defined(vm, definition)
    with _operating(site, vm) as one:
        _dead(one, vm)  # what would be refused is refused before an image is fetched
        with _image(site, wanted) as (files, image):
            config = domain_config(wanted, files)
            if _dead(one, vm):
                site.progress("clearing away the dead domain")
                one.destroy(vm, limit_s=_limit_s(site))
            if _limit_s(site) < START_S_MIN:
                raise CommandFailed(f"{vm} on {one.host}: no time is left for it; nothing was started")
            with Saves(site.hypervisor).aside(one, vm) as saved:
                started = one.start(config, limit_s=_limit_s(site), progress=site.progress)
        if image:
            _trim(site, one)
        if saved:
            site.log(f"{vm}: its saved memory was removed: it has been started without it", "warning")
        return {"domain": _shown(started), "image": image}


def _dead(one: Hypervisor, vm: str) -> bool:
    """A dead domain of ours is in the way. Raises AlreadyThere, NotOurs: it is something else."""
    listed = one.domains()
    dead = [each for each in listed if each.name == vm and each.ours and each.state in hv.DEAD]
    hv.check_new(tuple(each for each in listed if each not in dead), vm, one.host)
    return bool(dead)


@command("vm-stop", subject="vm")
def vm_stop(site: Site, vm: str, limit_s: float = 60.0, destroy: bool = True) -> dict[str, Value]:
    """Asks the guest. After `limit_s`, or a little before the time of the command is over: destroys it where `destroy`."""
    if not (math.isfinite(limit_s) and limit_s >= 0):
        raise Refused(f"limit_s: {limit_s:g} is no time")
    with _operating(site, vm) as one:
        site.progress("waiting for the guest to shut down")
        ended = one.shutdown(vm, limit_s=min(limit_s, _limit_s(site)), destroy=destroy)
        Saves(site.hypervisor).forget(vm)
        return {"ended": ended}


@command("vm-destroy", subject="vm")
def vm_destroy(site: Site, vm: str) -> dict[str, Value]:
    with _operating(site, vm) as one:
        one.destroy(vm, limit_s=_limit_s(site))
        Saves(site.hypervisor).forget(vm)
        return _now(one, vm)


@command("vm-reboot", subject="vm")
def vm_reboot(site: Site, vm: str) -> dict[str, Value]:
    with _operating(site, vm) as one:
        one.reboot(vm, limit_s=_limit_s(site))
        return _now(one, vm)


@command("vm-pause", subject="vm")
def vm_pause(site: Site, vm: str) -> dict[str, Value]:
    with _operating(site, vm) as one:
        one.pause(vm, limit_s=_limit_s(site))
        return _now(one, vm)


@command("vm-unpause", subject="vm")
def vm_unpause(site: Site, vm: str) -> dict[str, Value]:
    with _operating(site, vm) as one:
        one.unpause(vm, limit_s=_limit_s(site))
        return _now(one, vm)


# --- later and elsewhere ------------------------------------------------------------------------------------------------------


@command("vm-save", subject="vm")
def vm_save(site: Site, vm: str) -> dict[str, Value]:
    saves = Saves(site.hypervisor)
    with _operating(site, vm) as one:
        if hv.owned(one.domain(vm), one.host).state in ("starting", "running"):
            saves.forget(vm)  # it was restored, or started anew, since that was saved
        path = saves.prepare(vm)
        one.save(vm, path, limit_s=_limit_s(site), progress=site.progress)
        return {"path": str(path), "bytes": path.stat().st_size}


@command("vm-restore", subject="vm")
def vm_restore(site: Site, vm: str) -> dict[str, Value]:
    with _operating(site, vm) as one:
        hv.check_new(one.domains(), vm, one.host)
        with Saves(site.hypervisor).taken(one, vm) as path:
            restored = one.restore(vm, path, limit_s=_limit_s(site), progress=site.progress)
        return {"domain": _shown(restored)}


@command("vm-migrate", subject="vm")
def vm_migrate(site: Site, vm: str, target: str) -> dict[str, Value]:
    from configobj.validate import ValidateError

    from common.config.checks import host

    try:
        host(target)
    except ValidateError as fault:
        raise Refused(f"target: {fault}") from None
    if not target or target == site.client:
        raise Refused("target: names no other host")
    with _operating(site, vm) as one:
        moved = one.migrate(vm, target, limit_s=_limit_s(site), progress=site.progress)
        Saves(site.hypervisor).forget(vm)
        return {"moved": moved}


# --- the rest -----------------------------------------------------------------------------------------------------------------


@command("vm-memory", subject="vm")
def vm_memory(site: Site, vm: str, memory_bytes: int) -> dict[str, Value]:
    if memory_bytes <= 0 or memory_bytes % MIB:
        raise Refused(f"memory_bytes: {memory_bytes} is no whole number of MiB")
    with _operating(site, vm) as one:
        one.set_memory(vm, memory_bytes, limit_s=_limit_s(site))
        return _now(one, vm)


@command("vm-console", subject="vm")
def vm_console(site: Site, vm: str, bytes_max: int = 16_384) -> str:
    """The last of what the guest wrote."""
    if not 0 < bytes_max <= CONSOLE_BYTES_MAX:
        raise Refused(f"bytes_max: {bytes_max} is not within 1 to {CONSOLE_BYTES_MAX}")
    with _operating(site, vm) as one:
        return one.console_log(vm, bytes_max=bytes_max)


@command("vm-render", subject="vm")
def vm_render(site: Site, vm: str, definition: dict[str, Value]) -> dict[str, Value]:
    """What vm-start would hand to the hypervisor; nothing is started."""
    from common.config.vms import domain_config

    wanted = _defined(vm, definition)
    with _operating(site, vm) as one, _image(site, wanted) as (files, _):
        return {"kind": one.kind, "text": one.rendered(domain_config(wanted, files))}


def _defined(vm: str, definition: dict[str, Value]) -> VmConfig:
    from common.definition import from_wire

    try:
        return from_wire(vm, definition)
    except ValueError as fault:
        raise Refused(str(fault)) from None


def _trim(site: Site, one: Hypervisor) -> None:
    """Copies that no domain uses any more; a failure costs room, not the start."""
    from common.images import Cache, ImageFault, image_of

    repository, cache = site.hypervisor.images, site.hypervisor.cache
    if cache is None:
        return

    def used() -> list[str]:
        return [image_of(path, repository, cache) for path in one.kernels().values()]

    try:
        for gone in Cache.ready(cache).trim(used):
            site.log(f"image {gone}: its copy is cleared away, no domain uses it", "info")
    except (ImageFault, hv.HypervisorError) as fault:
        site.log(f"the copies of images are not cleared away: {fault}", "warning")


@contextmanager
def _image(site: Site, wanted: VmConfig) -> Iterator[tuple[ImageFiles | None, str]]:
    """The files of its image and NAME@VERSION; kept from being cleared away as long as this lasts."""
    from common.images import ImageFault, resolve

    if not wanted.image:
        yield None, ""
        return
    repository, cache = site.hypervisor.images, site.hypervisor.cache
    try:
        found = resolve(repository, cache, wanted.image, site.progress, limit_s=_limit_s(site))
    except ImageFault as fault:
        raise CommandFailed(f"{wanted.name} on {site.client}: {fault}; nothing was started") from None
    with found:
        yield found.files, found.image


@contextmanager
def _operating(site: Site, vm: str) -> Iterator[Hypervisor]:
    """The hypervisor; whatever it cannot do becomes the answer's one sentence."""
    from common.config.vms import name_fault

    if fault := name_fault(vm):  # safety: the name becomes an argument of programs and the name of a file
        raise Refused(fault)
    try:
        yield open_hypervisor(site)
    except hv.HypervisorError as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        raise CommandFailed(f"{vm} on {site.client}: {error.filename or 'the host'}: {error.strerror or error}") from None


def _limit_s(site: Site) -> float:
    """What an operation may take now, in seconds, so that it ends before the process that it runs in is killed."""
    left_s = site.remaining_s()
    return max(0.0, left_s - min(AFTER_S, left_s * AFTER_SHARE))


def _now(one: Hypervisor, vm: str) -> dict[str, Value]:
    try:
        return {"domain": _shown(one.domain(vm))}
    except hv.NoSuchDomain:
        return {"domain": None}


def _shown(domain: Domain) -> Value:
    return asdict(domain)
