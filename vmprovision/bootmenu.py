"""What a machine is told when it is powered on: GRUB's menu (BIOS and UEFI) and iPXE's script, one for each host. Texts."""

from __future__ import annotations

from collections.abc import Mapping

from vmprovision.built import NFS, Build
from vmprovision.model import Host, Inventory

LOCAL = "the local disk"
SERIAL = "serial --unit=0 --speed=115200\nterminal_input serial console\nterminal_output serial console\n"
GRUB_START = """\
# Written by vmprovision: each host's menu has the name of its card's address. Who has none starts from its disk.
configfile /grub/hosts/$net_default_mac.cfg
echo "vmprovision: no host in the inventory has the card $net_default_mac; the local disk is next"
sleep 5
exit
"""
IPXE_START = """\
#!ipxe
# Under UEFI, GRUB knows how to start Xen, and iPXE does not.
iseq ${platform} efi && chain grub/core.efi ||
chain ipxe/${mac:hexhyp}.ipxe || echo no host in the inventory has the card ${mac}
exit
"""


def linux_words(host: Host, inventory: Inventory, build: Build, layer_sum: str) -> str:
    """The kernel's command line: what the first stage needs (provision/files/boot-init), then the profile's."""
    server, profile, network = inventory.server, inventory.profiles[host.profile], inventory.network_of(host)
    words = {
        "host": host.name,
        "mac": host.mac,
        "bridge": network.bridge_name,
        "address": f"{host.address}/{network.subnet.prefixlen}",
        "gateway": str(network.gateway or ""),
        "server": server.url,
        "root": profile.root,
        "image": f"{build.place}/root",
        "sum": build.sums["root"],
        "layer": f"hosts/{host.name}.cpio",
        "layersum": layer_sum,
    }
    if profile.root != "ram":
        words["nfs"] = f"{server.address}:{nfs_path(inventory, build)}"
        words["nfsport"] = str(server.nfs_port)
        words["verify"] = "yes" if profile.verify else "no"
    ours = " ".join(f"vmherd.{key}={value}" for key, value in words.items() if value)
    return f"{profile.linux_options} {ours}".strip()


def nfs_path(inventory: Inventory, build: Build) -> str:
    """What the server calls a root: the kernel's by the folder, ganesha by the name under which it shows it."""
    folder = str(inventory.server.folder.absolute()) if inventory.server.nfs == "kernel" else ""
    return f"{folder}/{NFS}/{build.profile}/{build.digest}"


def xen_words(host: Host, inventory: Inventory) -> str:
    profile = inventory.profiles[host.profile]
    return f"console=com1 com1=115200,8n1 {profile.xen_options}".strip() if profile.serial else profile.xen_options


def grub_menu(host: Host, inventory: Inventory, build: Build, layer_sum: str) -> str:
    """Without the initramfs nothing is started, and the local disk is next. GRUB unpacks badly what comes by HTTP."""
    server, profile = inventory.server, inventory.profiles[host.profile]
    where = f"(http,{server.address})/{build.place}" if server.transfer == "http" else f"/{build.place}"
    return (
        f"# Written by vmprovision for {host.name}.\n"
        + (SERIAL if profile.serial else "")
        + f"set timeout={server.menu_s:.0f}\nset default=0\nset fallback=1\n"
        + f'menuentry "{host.name}: {profile.name} {build.digest}" {{\n'
        + f"  if multiboot2 {where}/xen {xen_words(host, inventory)}; then\n"
        + f"  if module2 {where}/kernel {linux_words(host, inventory, build, layer_sum)}; then\n"
        + f"  if module2 --nounzip {where}/initrd; then\n    boot\n  fi; fi; fi\n"
        + f'  echo "{host.name}: not all of it could be had; {LOCAL} is next"\n  sleep 5\n  exit\n'
        + f'}}\nmenuentry "{LOCAL}" {{\n  exit\n}}\n'
    )


def ipxe_script(host: Host, inventory: Inventory, build: Build, layer_sum: str) -> str:
    """Multiboot of the first kind, which Xen has as well."""
    where = f"{inventory.server.url}/{build.place}"
    return (
        f"#!ipxe\n# Written by vmprovision for {host.name}.\n"
        f"kernel {where}/xen {xen_words(host, inventory)} || goto local\n"
        f"module {where}/kernel {linux_words(host, inventory, build, layer_sum)} || goto local\n"
        f"module {where}/initrd || goto local\n"
        f"boot || goto local\n:local\necho {LOCAL} is next\nexit\n"
    )


def files(host: Host, inventory: Inventory, build: Build, layer_sum: str) -> Mapping[str, str]:
    """Below the boot folder."""
    return {
        f"grub/hosts/{host.mac}.cfg": grub_menu(host, inventory, build, layer_sum),
        f"ipxe/{host.mac.replace(':', '-')}.ipxe": ipxe_script(host, inventory, build, layer_sum),
    }
