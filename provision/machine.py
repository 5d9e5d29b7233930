"""What makes an image one machine: name, addresses, keys. A small archive laid over the image that everybody may read.

It holds secrets: whoever writes it to disk keeps it for himself (`write`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nacl.signing import SigningKey

from provision import sshkeys
from provision.cpio import archive
from provision.tree import Tree


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of whoever runs the machine, by 9p over virtio. `tag`: as that machine's maker calls it.

    `cached`: written through the kernel's cache, as saved domains need it (without, xl save gets EFAULT: their pages are not
    dom0's own); another host sees what was synced."""

    tag: str
    folder: str
    read_only: bool = False
    cached: bool = False

    @property
    def options(self) -> str:
        return ("ro" if self.read_only else "rw") + (",cache=loose" if self.cached else "")


@dataclass(frozen=True, slots=True)
class Machine:
    """One host. `cards`: network card -> bridge. `addresses`: bridge -> address with its bits. `logs`: folder of the services'
    logs, in RAM where empty."""

    name: str
    cards: Mapping[str, str]
    addresses: Mapping[str, str]
    gateway: str = ""
    shares: tuple[Share, ...] = ()
    logs: str = ""


@dataclass(frozen=True, slots=True)
class Trusted:
    """A host whose root may come in by ssh, and whom this one knows."""

    name: str
    address: str
    host_key: SigningKey
    root_key: SigningKey


def host_file(one: Machine) -> str:
    """Read by the image's init as shell."""
    values = {
        "NAME": one.name,
        "CARDS": _pairs(one.cards),
        "ADDRESSES": _pairs(one.addresses),
        "GATEWAY": one.gateway,
        "SHARES": " ".join(f"{each.tag}={each.folder}={each.options}" for each in one.shares),
        "LOGS": one.logs,
    }
    return "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items())


def layer(one: Machine, hosts: Iterable[Trusted]) -> Tree:
    """`hosts`: this one and all that may migrate domains to it. Private files are for root alone."""
    tree = Tree()
    tree.file("etc/vmherd-image/host", host_file(one))
    everybody = list(hosts)
    lines = "".join(f"{each.address} {each.name}\n" for each in everybody)
    tree.file("etc/hosts", f"127.0.0.1 localhost\n{lines}")
    (own,) = [each for each in everybody if each.name == one.name]
    tree.folder("root", 0o700)
    tree.folder("root/.ssh", 0o700)
    tree.file("etc/dropbear/dropbear_ed25519_host_key", sshkeys.private_file(own.host_key), 0o600)
    tree.file("root/.ssh/id_dropbear", sshkeys.private_file(own.root_key), 0o600)
    admitted = (sshkeys.public_line(each.root_key, f"root@{each.name}") for each in everybody)
    known = (sshkeys.known_host(each.host_key, each.name, each.address) for each in everybody)
    tree.file("root/.ssh/authorized_keys", "".join(f"{line}\n" for line in admitted), 0o600)
    tree.file("root/.ssh/known_hosts", "".join(f"{line}\n" for line in known), 0o600)
    return tree


def write(archives: Iterable[Path], tree: Tree, path: Path) -> None:
    """The image's archives and the machine's own in one file, for the owner alone."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        for one in archives:
            file.write(one.read_bytes())
        file.writelines(archive(tree))


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(values.items()))
