"""One host's own files, laid over the root that all share: name, network, its client's configuration. No secret is among them.

Every machine on the boot network may read them; the host makes its keys itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from provision.tree import Tree
from vmprovision import sshtrust
from vmprovision.model import Host, Inventory

CLIENT_INI = """\
# Made by vmprovision from provision.ini.
[client]
name = {name}
groups = {groups},
plugins = plugins.system, plugins.exec
allow = vm, exec
[bus]
daemon = {daemon}
[log]
target = stderr
[hypervisor]
engine = xl
{images}# what `vmprovision update` and `vmprovision host reboot` ask for
[programs]
[[booted]]
argv = /usr/bin/cat, /proc/cmdline, /proc/sys/kernel/random/boot_id
[[reboot]]
argv = /usr/sbin/vmherd-reboot,
{programs}"""
IMAGES_PLACE = "/srv/images"


def layer(host: Host, inventory: Inventory, client_ini: str, managers: Mapping[str, str]) -> Tree:
    """`client_ini`: the text of its vmclient.ini. `managers`: file name -> public key, as the client reads them."""
    tree = Tree(merged=False)
    tree.file("etc/vmherd-image/host", host_file(host, inventory))
    tree.file("etc/hosts", hosts_file(inventory))
    tree.file("etc/resolv.conf", "".join(f"nameserver {one}\n" for one in inventory.network_of(host).dns))
    tree.folder("etc/vmherd", 0o755)
    tree.file("etc/vmherd/vmclient.ini", client_ini)
    tree.file("etc/vmherd/properties.d/provision.ini", sshtrust.PROPERTIES)
    for name, text in sorted(managers.items()):
        tree.file(f"etc/vmherd-image/managers/{name}", text)
    return tree


def host_file(host: Host, inventory: Inventory) -> str:
    """Read by the root's init as shell (provision/files/dom0-init)."""
    network = inventory.network_of(host)
    values = {
        "NAME": host.name,
        "CARDS": "",  # the card and its bridge are there before the root is (provision/files/boot-init)
        "ADDRESSES": "",
        "GATEWAY": "",
        "TRUNK": network.bridge_name,
        "VLANS": " ".join(f"{one.vlan}={one.bridge_name}" for one in inventory.vlans_of(host)),
        "MOUNTS": " ".join(_mount(one) for one in inventory.profiles[host.profile].mounts),
        "STATE": inventory.state_of(host),
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def _mount(text: str) -> str:
    """`SERVER:/folder=/place=options`."""
    what, place, *options = text.split(" ")
    return f"{what}={place}={options[0] if options else 'ro'}"


def hosts_file(inventory: Inventory) -> str:
    rows = [f"{one.address} {one.name}" for one in inventory.hosts.values()]
    rows += [f"{one.address} {one.name}" for one in inventory.gateways.values()]
    return "".join(f"{row}\n" for row in ("127.0.0.1 localhost", *rows))


def client_ini(host: Host, inventory: Inventory) -> str:
    """Where the profile names no file of the site's own."""
    mounted = any(one.split(" ")[1] == IMAGES_PLACE for one in inventory.profiles[host.profile].mounts)
    return CLIENT_INI.format(
        name=host.name,
        groups=", ".join(host.groups),
        daemon=inventory.server.daemon or f"4803@{inventory.server.address}",
        programs=sshtrust.PROGRAMS,
        images=f"images = {IMAGES_PLACE}\n" if mounted else "",
    )
