"""provision.ini to a checked inventory: what stands in one section, and what all of them mean together. No disk but `load`.

Everything that is wrong is added to what was found, and the rest is built nevertheless, so that all faults come at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from common.config.build import Findings
from common.config.keys import Table
from common.config.load import load_tree
from common.config.model import ConfigurationError, Fault, Where
from common.config.tree import Section, Tree, known_near
from common.config.values import quoted
from common.config.vms import name_fault
from vmprovision import keys
from vmprovision.bootmenu import IPXE_BYTES_MAX, ipxe_bytes
from vmprovision.model import NOWHERE, Gateway, Host, Image, Inventory, Network, Profile, Server

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)  # RFC 1123: these become names of hosts
HOSTS_MAX = 10_000
_Made = TypeVar("_Made", Network, Profile, Host, Gateway, Image)


def load(path: Path) -> Inventory:
    """Raises ConfigurationError with every fault."""
    found = Findings()
    tree = load_tree(path, keys.SHAPE, found)
    inventory = build(tree, found)
    if found.faults:
        raise ConfigurationError(found.faults)
    return inventory


def build(tree: Tree, found: Findings) -> Inventory:
    """What cannot be built is left out; only a tree without faults gives the whole."""
    server = Server(**_fields(tree.section("server"), keys.SERVER, tree.file, found))
    networks = _all(tree, "networks", keys.NETWORK, Network, found)
    profiles = _all(tree, "profiles", keys.PROFILE, Profile, found)
    hosts = _all(tree, "hosts", keys.HOST, Host, found)
    gateways = _all(tree, "gateways", keys.GATEWAY, Gateway, found)
    images = _all(tree, "images", keys.IMAGE, Image, found)
    hosts = {one.name: _completed(one, networks, profiles) for one in hosts.values()}
    inventory = Inventory(server, networks, profiles, hosts, gateways, images)
    checker = _Together(tree, inventory)
    told = {fault.where for fault in found.faults}
    found.faults += [fault for fault in checker.faults() if fault.where not in told]
    return inventory


def _fields(section: Section, table: Table, file: str, found: Findings) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key in table.keys:
        value = section.values.get(key.name)
        if value is not None:
            made[key.targets[0]] = Path(file).parent / value if isinstance(value, Path) else value
        elif key.required and key.name not in section.places:
            found.fault(section.at(key.name), f"is missing ({key.what})")
    return made


def _all(tree: Tree, kind: str, table: Table, model: type[_Made], found: Findings) -> dict[str, _Made]:
    made: dict[str, _Made] = {}
    for name, section in tree.section(kind).parts.items():
        if not _NAME.fullmatch(name):
            found.fault(section.where, f"{quoted(name)} is no name of a host (letters, digits, -, 63 at most)")
        made[name] = model(name=name, where=section.where, **_fields(section, table, tree.file, found))
    return made


def _completed(host: Host, networks: dict[str, Network], profiles: dict[str, Profile]) -> Host:
    """With the network and profile that go without saying."""
    untagged = [one.name for one in networks.values() if not one.vlan]
    network = host.network or (untagged[0] if untagged else "")
    profile = host.profile or (next(iter(profiles)) if len(profiles) == 1 else "")
    return Host(
        host.name, host.where, host.mac, host.address, network, profile, host.groups, host.networks, host.state
    )  # fmt: skip


class _Together:
    """What the sections mean together."""

    def __init__(self, tree: Tree, inventory: Inventory) -> None:
        self.tree = tree
        self.all = inventory

    def faults(self) -> Iterator[Fault]:
        if not self.all.networks:
            yield Fault(self.tree.section("networks").where, "there is no network (write [networks], and [[NAME]] below it)")
        yield from self._twice()
        yield from self._networks()
        yield from self._profiles()
        for host in self.all.hosts.values():
            yield from self._host(host)
        for gateway in self.all.gateways.values():
            yield from self._gateway(gateway)
        yield from self._images()

    def at(self, kind: str, name: str, key: str) -> Where:
        return self.tree.section(kind).parts[name].at(key)

    def _wrong(self, kind: str, name: str, key: str) -> bool:
        """It is there, and was told already."""
        section = self.tree.section(kind).parts[name]
        return key in section.places and key not in section.values

    def _twice(self) -> Iterator[Fault]:
        macs = (("hosts", one.name, "mac", one.mac) for one in self.all.hosts.values())
        vlans = (("networks", one.name, "vlan", str(one.vlan)) for one in self.all.networks.values() if one.vlan)
        known = [one for one in self.all.networks.values() if not self._wrong("networks", one.name, "vlan")]
        bridges = (("networks", one.name, "bridge", one.bridge_name) for one in known)
        for what, rows in (("MAC", macs), ("VLAN id", vlans), ("bridge", bridges)):
            yield from self._shared(what, rows)
        yield from self._shared("address", self._addresses())
        names: dict[str, str] = {}
        for kind, held in (("hosts", self.all.hosts), ("gateways", self.all.gateways), ("images", self.all.images)):
            for name, one in held.items():
                if name in names:
                    yield Fault(one.where, f"is the name of one of [{names[name]}] as well")
                names.setdefault(name, kind)

    def _addresses(self) -> Iterator[tuple[str, str, str, str]]:
        for host in self.all.hosts.values():
            if host.address != NOWHERE:
                yield "hosts", host.name, "address", str(host.address)
        for gateway in self.all.gateways.values():
            if gateway.address != NOWHERE:
                yield "gateways", gateway.name, "address", str(gateway.address)

    def _shared(self, what: str, rows: Iterable[tuple[str, str, str, str]]) -> Iterator[Fault]:
        seen: dict[str, str] = {}
        for kind, name, key, value in rows:
            if value and value in seen:
                yield Fault(self.at(kind, name, key), f"the {what} {value} belongs to {seen[value]} already")
            seen.setdefault(value, name)

    def _networks(self) -> Iterator[Fault]:
        for one in self.all.networks.values():
            listed = (("gateway", [one.gateway] if one.gateway else []), ("range", list(one.range)))
            for key, values in listed:
                for value in values:
                    if value not in one.subnet:
                        yield Fault(self.at("networks", one.name, key), f"{value} lies outside {one.subnet}")
            for other in self.all.networks.values():
                if other is one:
                    break
                if other.subnet.overlaps(one.subnet):
                    yield Fault(self.at("networks", one.name, "subnet"), f"{one.subnet} overlaps {other.name}, {other.subnet}")

    def _profiles(self) -> Iterator[Fault]:
        for one in self.all.profiles.values():
            given = {"from": one.from_, "kernel": one.kernel, "xen": one.xen}
            for key in ("kernel", "xen"):
                if one.from_ and not given[key]:
                    yield Fault(self.at("profiles", one.name, key), "is missing: a root that is given needs its kernel and Xen")
                if given[key] and not one.from_:
                    yield Fault(self.at("profiles", one.name, key), "is for a root that is given (write from = ...)")
            if one.from_ and one.packages:
                yield Fault(self.at("profiles", one.name, "packages"), "cannot be added to a root that is given (from)")
            paths = {**given, "overlay": one.overlay, "start": one.start, "client": one.client}
            yield from self._paths("profiles", one.name, paths)

    def _images(self) -> Iterator[Fault]:
        for one in self.all.images.values():
            yield from self._paths("images", one.name, {"overlay": one.overlay, "start": one.start})
        for name in (*self.all.images, *self.all.gateways):
            if fault := name_fault(name):
                yield Fault((self.all.images.get(name) or self.all.gateways[name]).where, fault)
        managers = self.all.server.managers
        if managers and not managers.is_dir():
            yield Fault(self.tree.section("server").at("managers"), f"there is no folder {managers}")

    def _paths(self, kind: str, name: str, paths: dict[str, Path | None]) -> Iterator[Fault]:
        for key, path in paths.items():
            if path and not path.exists():
                yield Fault(self.at(kind, name, key), f"there is no {path}")
            elif path and key == "overlay" and not path.is_dir():
                yield Fault(self.at(kind, name, key), f"{path} is no folder")

    def _host(self, host: Host) -> Iterator[Fault]:
        if len(self.all.hosts) > HOSTS_MAX:
            yield Fault(host.where, f"there are {len(self.all.hosts)} hosts, the limit is {HOSTS_MAX}")
        network = self.all.networks.get(host.network)
        if network is None:
            what = f"{quoted(host.network)}: no such network" if host.network else "is missing, and no network is untagged"
            yield Fault(self.at("hosts", host.name, "network"), f"{what} ({known_near(host.network, self.all.networks)})")
        elif network.vlan:
            yield Fault(self.at("hosts", host.name, "network"), f"{network.name} is tagged, and firmware boots untagged")
        elif host.address != NOWHERE:
            yield from self._address("hosts", host.name, host.address, network)
        if host.profile not in self.all.profiles:
            what = f"{quoted(host.profile)}: no such profile" if host.profile else "is missing"
            yield Fault(self.at("hosts", host.name, "profile"), f"{what} ({known_near(host.profile, self.all.profiles)})")
        elif network and self.all.server.ipxe and (found := ipxe_bytes(host, self.all)) > IPXE_BYTES_MAX:
            text = f"Xen's and the kernel's options are too long for iPXE: with all else {found} bytes, of {IPXE_BYTES_MAX}"
            yield Fault(self.at("hosts", host.name, "profile"), text)
        for name in host.networks:
            if name not in self.all.networks:
                text = f"{quoted(name)}: no such network ({known_near(name, self.all.networks)})"
                yield Fault(self.at("hosts", host.name, "networks"), text)

    def _address(self, kind: str, name: str, address: IPv4Address, network: Network) -> Iterator[Fault]:
        where = self.at(kind, name, "address")
        if address not in network.subnet:
            yield Fault(where, f"{address} lies outside {network.name}, {network.subnet}")
        elif address in (network.subnet.network_address, network.subnet.broadcast_address):
            yield Fault(where, f"{address} is the address of {network.name} itself")
        elif address == network.gateway and name not in self.all.gateways:
            yield Fault(where, f"{address} is the gateway of {network.name}")
        elif network.range and network.range[0] <= address <= network.range[1]:
            yield Fault(where, f"{address} lies in the range that {network.name} lends")
        elif address == self.all.server.address:
            yield Fault(where, f"{address} is the address of the server itself")

    def _gateway(self, one: Gateway) -> Iterator[Fault]:
        for key, names in (("outside", (one.outside,)), ("inside", one.inside)):
            for name in names:
                if name and name not in self.all.networks:
                    text = f"{quoted(name)}: no such network ({known_near(name, self.all.networks)})"
                    yield Fault(self.at("gateways", one.name, key), text)
        for name in one.inside:
            network = self.all.networks.get(name)
            if name == one.outside:
                yield Fault(self.at("gateways", one.name, "inside"), f"{name} is outside already")
            elif network and not network.gateway:
                yield Fault(
                    self.at("gateways", one.name, "inside"), f"{name} has no gateway (which address is this VM's there?)"
                )
        outside = self.all.networks.get(one.outside)
        if outside and one.address != NOWHERE:
            yield from self._address("gateways", one.name, one.address, outside)
