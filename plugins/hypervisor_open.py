"""The back end that this client's own file names ([hypervisor] of vmclient.ini). Loads no other one."""

from __future__ import annotations

from functools import lru_cache

from common.config.model import HypervisorConfig
from common.hypervisor import Hypervisor, Unavailable, Unsupported
from common.plugin import Site

MARGIN_SHARE = 0.1  # of `timeout`: a listing is given up so much earlier, so that the reason can still be said
CALL_S_MAX = 20.0


def open_hypervisor(site: Site) -> Hypervisor:
    """Kept for the life of the worker process, for the sake of libvirt's connection. Raises HypervisorError."""
    return _open(site.client, site.hypervisor)


@lru_cache(maxsize=1)
def _open(host: str, config: HypervisorConfig) -> Hypervisor:
    if config.engine == "xl":
        return _xl(host, config)
    if config.engine == "libvirt":
        return _libvirt(host, config)
    if config.engine == "sim":
        return _sim(host, config)
    raise Unsupported(host, "", "no hypervisor is configured (engine of [hypervisor] is none)")


def _xl(host: str, config: HypervisorConfig) -> Hypervisor:
    from plugins import bridges
    from plugins.hypervisor_xl import CONSOLE, XlHypervisor

    return XlHypervisor(
        host,
        xl=config.xl,
        remote_shell=config.remote_shell,
        remote_xl=config.remote_xl,
        shared=config.shared,
        console_folder=config.console or CONSOLE,
        check_networks=bridges.fault,
        call_s=min(CALL_S_MAX, config.timeout_s * (1 - MARGIN_SHARE)),
    )


def _libvirt(host: str, config: HypervisorConfig) -> Hypervisor:
    from plugins.hypervisor_libvirt import LibvirtHypervisor

    return LibvirtHypervisor(host, config.uri, config.target_uri, shared=config.shared, console_folder=config.console)


def _sim(host: str, config: HypervisorConfig) -> Hypervisor:
    from plugins.hypervisor_sim import SimHypervisor
    from plugins.sim_world import SimHost, SimWorld

    assert config.farm is not None  # common/config/hypervisors.py
    wanted = SimHost(
        memory_bytes=config.sim_memory_bytes,
        cpus=config.sim_cpus,
        boot_s=config.sim_boot_s,
        shutdown_s=config.sim_shutdown_s,
        bridges=list(config.sim_bridges),
        hook=config.sim_hook,
    )
    try:
        SimWorld(config.farm).set_host(host, wanted)
    except OSError as fault:
        raise Unavailable(host, "", f"the simulated farm in {config.farm} cannot be used: {fault.strerror}") from None
    return SimHypervisor(host, config.farm)
