"""What a machine is told when it is powered on: GRUB's menu (BIOS and UEFI) and iPXE's script, one for each host. Texts."""

from __future__ import annotations

from collections.abc import Mapping

from vmprovision.built import NFS, Build
from vmprovision.model import Host, Inventory

LOCAL = "the local disk"
IPXE_BYTES_MAX = 512  # MB_MAX_CMDLINE of iPXE's src/arch/x86/image/multiboot.c
EARLY = ("mac", "bridge", "address", "gateway", "server", "image")  # before anything can be fetched; `image`: `update` reads it
NO_DIGEST = "0" * 12
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
    """The kernel's command line: the profile's options, then what the first stage needs (provision/files/boot-init)."""
    return _line(inventory.profiles[host.profile].linux_options, words(host, inventory, build, layer_sum))


def words(host: Host, inventory: Inventory, build: Build, layer_sum: str) -> dict[str, str]:
    """What the first stage needs."""
    server, profile, network = inventory.server, inventory.profiles[host.profile], inventory.network_of(host)
    held = {
        "mac": host.mac,
        "bridge": network.bridge_name,
        "address": f"{host.address}/{network.subnet.prefixlen}",
        "gateway": str(network.gateway or ""),
        "server": server.url,
        "image": f"{build.place}/root",
        "host": host.name,
        "root": profile.root,
        "sum": build.sums.get("root", ""),
        "layer": f"hosts/{host.name}.cpio",
        "layersum": layer_sum,
    }
    if profile.root != "ram":
        held["nfs"] = f"{server.address}:{nfs_path(inventory, build)}"
        held["nfsport"] = str(server.nfs_port)
        held["verify"] = "yes" if profile.verify else "no"
    return {key: value for key, value in held.items() if value}


def _line(options: str, held: Mapping[str, str]) -> str:
    return " ".join([options, *(f"vmherd.{key}={value}" for key, value in held.items())]).strip()


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


def ipxe_lines(host: Host, inventory: Inventory, build: Build) -> tuple[str, str, str]:
    """Of Xen, kernel and first stage: where each lies, and its words. iPXE passes on IPXE_BYTES_MAX of them, so most of the
    first stage's are in a file that it fetches."""
    where = f"{inventory.server.url}/{build.place}"
    early = {key: value for key, value in words(host, inventory, build, "").items() if key in EARLY}
    linux = _line(inventory.profiles[host.profile].linux_options, {**early, "words": words_path(host)})
    return f"{where}/xen {xen_words(host, inventory)}", f"{where}/kernel {linux}", f"{where}/initrd"


def ipxe_bytes(host: Host, inventory: Inventory) -> int:
    """Of these lines, each with its end; the same for every build."""
    return sum(len(line) + 1 for line in ipxe_lines(host, inventory, Build(host.profile, NO_DIGEST, {})))


def ipxe_script(host: Host, inventory: Inventory, build: Build) -> str:
    """Multiboot of the first kind, which Xen has as well."""
    xen, kernel, initrd = ipxe_lines(host, inventory, build)
    return (
        f"#!ipxe\n# Written by vmprovision for {host.name}.\n"
        f"kernel {xen} || goto local\nmodule {kernel} || goto local\nmodule {initrd} || goto local\n"
        f"boot || goto local\n:local\necho {LOCAL} is next\nexit\n"
    )


def words_path(host: Host) -> str:
    return f"hosts/{host.name}.words"


def files(host: Host, inventory: Inventory, build: Build, layer_sum: str) -> Mapping[str, str]:
    """Below the boot folder."""
    made = {f"grub/hosts/{host.mac}.cfg": grub_menu(host, inventory, build, layer_sum)}
    if inventory.server.ipxe:
        made[f"ipxe/{host.mac.replace(':', '-')}.ipxe"] = ipxe_script(host, inventory, build)
        made[words_path(host)] = _line("", words(host, inventory, build, layer_sum)) + "\n"
    return made
