"""What the server's own daemons read: DHCP and TFTP (dnsmasq or ISC), NFS (the kernel's or ganesha), HTTP (nginx). Texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vmprovision.bootmenu import nfs_path
from vmprovision.built import NFS, Build
from vmprovision.model import Host, Inventory, Network

HEAD = "# Written by vmprovision; what you change here is lost. "
BIOS, UEFI = "grub/core.0", "grub/core.efi"
UEFI_ARCHITECTURES = (7, 9)  # RFC 4578: EFI byte code and EFI x86-64, by which firmware means the same


def booting(inventory: Inventory) -> list[Network]:
    """The networks that hosts boot from, in the file's order."""
    wanted = {host.network for host in inventory.hosts.values()}
    return [one for one in inventory.networks.values() if one.name in wanted]


def _hosts(inventory: Inventory, network: Network) -> Iterator[Host]:
    return (host for host in inventory.hosts.values() if host.network == network.name)


# --- DHCP -------------------------------------------------------------------------------------------------------------------


def dnsmasq(inventory: Inventory) -> str:
    """For `conf-file=` in /etc/dnsmasq.conf, or a dnsmasq of its own."""
    server = inventory.server
    lines = [HEAD, "port=0  # no DNS", "bind-dynamic", f"listen-address={server.address}", "dhcp-authoritative", "log-dhcp"]
    lines += ["enable-tftp", f"tftp-root={server.folder.absolute()}/boot", "dhcp-match=set:ipxe,175"]
    lines += ["dhcp-match=set:bios,option:client-arch,0"]
    lines += [f"dhcp-match=set:uefi,option:client-arch,{number}" for number in UEFI_ARCHITECTURES]
    rest = ",tag:!ipxe" if server.ipxe else ""
    lines += [f"dhcp-boot=tag:bios{rest},{BIOS},,{server.address}", f"dhcp-boot=tag:uefi{rest},{UEFI},,{server.address}"]
    lines += [f"dhcp-boot=tag:ipxe,{server.url}/boot.ipxe"] if server.ipxe else []
    for network in booting(inventory):
        lines += _dnsmasq_network(inventory, network)
    return "\n".join(lines) + "\n"


def _dnsmasq_network(inventory: Inventory, network: Network) -> Iterator[str]:
    ends = f"{network.range[0]},{network.range[1]}" if network.range else f"{network.subnet.network_address},static"
    yield f"dhcp-range=set:{network.name},{ends},{network.subnet.netmask},12h"
    yield f"dhcp-option=tag:{network.name},option:router" + (f",{network.gateway}" if network.gateway else "")
    if network.dns:
        yield f"dhcp-option=tag:{network.name},option:dns-server,{','.join(map(str, network.dns))}"
    for host in _hosts(inventory, network):
        yield f"dhcp-host={host.mac},{host.address},{host.name},infinite"


def isc(inventory: Inventory) -> str:
    """For `include` in dhcpd.conf. TFTP is another daemon's."""
    server = inventory.server
    lines = [HEAD, "authoritative;", "option arch code 93 = unsigned integer 16;", f"next-server {server.address};"]
    ipxe = 'exists user-class and option user-class = "iPXE"'
    lines += [f"if {ipxe} {{", f'  filename "{server.url}/boot.ipxe";'] if server.ipxe else ["if 1 = 0 {"]
    for number in UEFI_ARCHITECTURES:
        lines += [
            f"}} elsif option arch = 00:{number:02x} {{",
            f'  filename "{UEFI}";',
        ]
    lines += ["} else {", f'  filename "{BIOS}";', "}"]
    for network in booting(inventory):
        lines += _isc_network(network)
        for host in _hosts(inventory, network):
            lines += [f"host {host.name} {{", f"  hardware ethernet {host.mac};", f"  fixed-address {host.address};"]
            lines += [f'  option host-name "{host.name}";', "}"]
    return "\n".join(lines) + "\n"


def _isc_network(network: Network) -> Iterator[str]:
    yield f"subnet {network.subnet.network_address} netmask {network.subnet.netmask} {{"
    if network.range:
        yield f"  range {network.range[0]} {network.range[1]};"
    if network.gateway:
        yield f"  option routers {network.gateway};"
    if network.dns:
        yield f"  option domain-name-servers {', '.join(map(str, network.dns))};"
    yield "}"


# --- NFS and HTTP -----------------------------------------------------------------------------------------------------------


def exports(inventory: Inventory, builds: Iterable[Build]) -> str:
    """For /etc/exports.d. Read-only, for the networks that hosts boot from; root stays root, to read its own files."""
    clients = " ".join(f"{one.subnet}(ro,no_root_squash,no_subtree_check,async)" for one in booting(inventory))
    rows = (f"{nfs_path(inventory, build)} {clients}" for build in builds)
    return "".join(f"{row}\n" for row in (HEAD, *rows))


def ganesha(inventory: Inventory, builds: Iterable[Build]) -> str:
    """A whole ganesha.conf. ganesha follows no symbolic link in a path."""
    server = inventory.server
    clients = ", ".join(str(one.subnet) for one in booting(inventory))
    text = (
        f"{HEAD}\nNFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {server.nfs_port};"
        " Enable_NLM = false; Enable_RQUOTA = false; }\n"
        "NFSv4 { Grace_Period = 10; Lease_Lifetime = 10; Only_Numeric_Owners = true; }\nNFS_KRB5 { Active_krb5 = false; }\n"
    )
    for number, build in enumerate(builds, 1):
        text += (
            f"EXPORT {{\n  Export_Id = {number};\n  Path = {server.folder.resolve()}/{NFS}/{build.profile}/{build.digest};\n"
            f"  Pseudo = {nfs_path(inventory, build)};\n  Protocols = 4;\n  Transports = TCP;\n  SecType = sys;\n"
            f"  Squash = No_Root_Squash;\n  Access_Type = None;\n  FSAL {{ Name = VFS; }}\n"
            f"  CLIENT {{ Clients = {clients or 'none'}; Protocols = 4; Access_Type = RO; }}\n}}\n"
        )
    return text


def nginx(inventory: Inventory) -> str:
    """For sites-enabled; any web server that serves the folder does as well."""
    server = inventory.server
    return (
        f"{HEAD}\nserver {{\n    listen {server.address}:{server.port};\n    root {server.folder.absolute()}/boot;\n"
        "    sendfile on;\n    tcp_nopush on;\n    access_log off;\n}\n"
    )
