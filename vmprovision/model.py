"""What provision.ini says, as frozen dataclasses. Knows no file and no parser. Defaults stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Literal

from common.config.model import Where

NOWHERE = IPv4Address(0)  # where the file gives no address, which is a fault
LOOPBACK = IPv4Address("127.0.0.1")
TRUNK_BRIDGE = "xenbr0"
NO_NETWORK = IPv4Network("0.0.0.0/0")

RootKind = Literal["ram", "nfs-flash", "nfs-overlay"]


@dataclass(frozen=True, slots=True)
class Server:
    """[server]: the machine that others boot from. `folder`: all that is written lies below it; TFTP and HTTP serve `boot`
    in it. `managers`: public keys of the managers that hosts believe."""

    address: IPv4Address = LOOPBACK
    folder: Path = Path("/srv/vmherd-boot")
    port: int = 80
    dhcp: Literal["dnsmasq", "isc"] = "dnsmasq"
    nfs: Literal["kernel", "ganesha"] = "kernel"
    nfs_port: int = 2049
    transfer: Literal["http", "tftp"] = "http"
    menu_s: float = 3.0
    release: str = ""
    daemon: str = ""
    managers: Path | None = None
    images: Path | None = None
    ipxe: bool = False

    @property
    def url(self) -> str:
        return f"http://{self.address}" + (f":{self.port}" if self.port != 80 else "")


@dataclass(frozen=True, slots=True)
class Network:
    """[networks] [[NAME]]. `vlan` 0: untagged. `range`: first and last address that a gateway or the server lends."""

    name: str
    where: Where
    subnet: IPv4Network = NO_NETWORK
    vlan: int = 0
    bridge: str = ""
    gateway: IPv4Address | None = None
    dns: tuple[IPv4Address, ...] = ()
    range: tuple[IPv4Address, ...] = ()

    @property
    def bridge_name(self) -> str:
        return self.bridge or (f"{TRUNK_BRIDGE}.{self.vlan}" if self.vlan else TRUNK_BRIDGE)


@dataclass(frozen=True, slots=True)
class Profile:
    """[profiles] [[NAME]]: what a host is made of. `kernel`, `xen`, `from_`: files given, where they are not Debian's packages.

    `start`: a script that each host runs once, when all is there. `state`: a device for the little that must outlive a boot."""

    name: str
    where: Where
    root: RootKind = "ram"
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    overlay: Path | None = None
    start: Path | None = None
    from_: Path | None = None
    kernel: Path | None = None
    xen: Path | None = None
    xen_options: str = "dom0_mem=1G,max:1G"
    linux_options: str = "console=hvc0"
    serial: bool = False
    verify: bool = True
    state: str = ""
    mounts: tuple[str, ...] = ()
    client: Path | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """[hosts] [[NAME]]. `networks`: those it has a bridge for; empty: all. `state`: as in its profile, for this host alone."""

    name: str
    where: Where
    mac: str = ""
    address: IPv4Address = NOWHERE
    network: str = ""
    profile: str = ""
    groups: tuple[str, ...] = ("dom0",)
    networks: tuple[str, ...] = ()
    state: str = ""


@dataclass(frozen=True, slots=True)
class Gateway:
    """[gateways] [[NAME]]: a diskless VM. Its address inside is each network's own `gateway`."""

    name: str
    where: Where
    outside: str = ""
    address: IPv4Address = NOWHERE
    inside: tuple[str, ...] = ()
    nat: bool = True
    dhcp: bool = True
    dns: bool = True
    protect: bool = True
    memory: int = 192 * 1024**2  # its files take 18 MB, unpacked beside what is packed; 128M are too few


@dataclass(frozen=True, slots=True)
class Image:
    """[images] [[NAME]]: a diskless VM's kernel and initramfs, published under this name."""

    name: str
    where: Where
    packages: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    overlay: Path | None = None
    start: Path | None = None
    cmdline: str = "console=hvc0 quiet"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """The whole file; everything by name, in the file's order."""

    server: Server
    networks: Mapping[str, Network] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    hosts: Mapping[str, Host] = field(default_factory=dict)
    gateways: Mapping[str, Gateway] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)

    def network_of(self, host: Host) -> Network:
        """The one it boots from."""
        return self.networks[host.network]

    def vlans_of(self, host: Host) -> tuple[Network, ...]:
        """The tagged networks that it has a bridge for."""
        return tuple(one for one in self.networks.values() if one.vlan and (not host.networks or one.name in host.networks))

    def state_of(self, host: Host) -> str:
        return host.state or self.profiles[host.profile].state
