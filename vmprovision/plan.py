"""All files that a boot needs, from the inventory and what was built: path -> bytes. Pure; target.py writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from common.config.model import Where
from provision.cpio import archive
from vmprovision import bootmenu, gateways, layer, services, sshtrust
from vmprovision.built import Build, Builds
from vmprovision.model import Host, Inventory

BOOT = "boot"  # served by TFTP and HTTP
Files = Mapping[str, bytes]


class NothingBuilt(Exception):
    """A host's profile has no build yet: one sentence."""

    def __init__(self, host: Host) -> None:
        self.where: Where = host.where
        super().__init__(f"{host.where} profile {host.profile} was never built (run vmprovision build)")


def files(inventory: Inventory, builds: Builds, clients: Mapping[str, str], managers: Mapping[str, str]) -> Files:
    """Below the target folder. `clients`: host -> its vmclient.ini, where its profile names one. Raises NothingBuilt."""
    made: dict[str, str | bytes] = {
        f"{BOOT}/grub/grub.cfg": bootmenu.GRUB_START,
        f"{BOOT}/boot.ipxe": bootmenu.IPXE_START,
        "nginx.conf": services.nginx(inventory),
        "triggers/hosts.ini": sshtrust.triggers(inventory),
        "vms-gateways.ini": gateways.vms_ini(inventory),
    }
    made |= (
        {"dnsmasq.conf": services.dnsmasq(inventory)}
        if inventory.server.dhcp == "dnsmasq"
        else {"dhcpd.conf": services.isc(inventory)}
    )
    roots = nfs_roots(inventory, builds)
    made |= (
        {"exports": services.exports(inventory, roots)}
        if inventory.server.nfs == "kernel"
        else {"ganesha.conf": services.ganesha(inventory, roots)}
    )
    for host in inventory.hosts.values():
        build = builds.of(host)
        if build is None:
            raise NothingBuilt(host)
        own = b"".join(
            archive(layer.layer(host, inventory, clients.get(host.name) or layer.client_ini(host, inventory), managers))
        )
        made[f"{BOOT}/hosts/{host.name}.cpio"] = own
        menus = bootmenu.files(host, inventory, build, hashlib.sha256(own).hexdigest())
        made |= {f"{BOOT}/{path}": text for path, text in menus.items()}
    return {path: text.encode() if isinstance(text, str) else text for path, text in sorted(made.items())}


def nfs_roots(inventory: Inventory, builds: Builds) -> list[Build]:
    """Every build that a host may have mounted, not only the newest: what is mounted must not go."""
    kinds = {name for name, profile in inventory.profiles.items() if profile.root != "ram"}
    return [build for (profile, _), build in sorted(builds.all.items()) if profile in kinds]
